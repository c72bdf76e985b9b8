//! The five tools together: the chain, the scripts, the tutorial.

#[path = "pipeline/container.rs"]
mod container;
#[path = "pipeline/options.rs"]
mod options;
#[path = "pipeline/readme.rs"]
mod readme;
#[path = "pipeline/tutorial.rs"]
mod tutorial;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use support::{Ran, Skip, TempDir, Test, archive, need_root, project, run, scratch};

support::tests!(
    build_prints_the_folder_of_the_five_tools,
    the_chain_is_a_container,
    the_chain_ends_what_eats_too_much,
    the_chain_passes_every_status_on,
    the_chain_leaves_the_root_file_system_as_it_was,
    the_classic_line_with_our_tools,
    readme::fetch_rootfs,
    readme::bindmount,
    readme::nsenter_lite,
    readme::chrootx,
    readme::cgset,
    tutorial::it_holds_on_the_embedded_default,
    tutorial::it_holds_on_published_archives,
    tutorial::it_shows_a_single_step,
    tutorial::it_needs_no_path_of_the_callers,
    tutorial::interactive_takes_a_terminal,
    tutorial::a_failed_fetch_ends_it,
    tutorial::what_it_shows_can_be_typed,
    tutorial::interrupted_leaves_nothing,
    tutorial::interrupted_at_its_start_leaves_nothing,
    tutorial::interrupted_while_namespaces_are_kept_leaves_nothing,
    tutorial::it_refuses_wrong_usage,
    container_runs_with_limits_and_a_name,
    container_leaves_root_little_power,
    container_binds_read_write_and_read_only,
    container_shows_its_pipeline,
    container_refuses_wrong_usage,
    container::words_behind_the_root_are_the_commands,
    container::another_user_and_folder,
    container::a_folder_with_a_colon_in_its_name,
    container::the_tools_are_found_beside_it,
    container::without_a_path_the_tools_find_each_other,
    options::a_value_may_stand_behind_an_equals_sign,
    options::of_several_values_the_last_counts,
    options::a_bind_shows_what_is_mounted_below,
    options::a_root_that_is_none,
    options::names_that_begin_with_a_dash,
    options::a_name_that_ends_in_a_newline,
    options::a_shell_that_ends_is_a_tool_that_fails,
);

/// The folder that `scripts/build` prints. Built once.
fn tools() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // Not `support::run`: the first build takes longer than a test may.
        let out = Command::new(project().join("scripts/build")).output().expect("a shell script");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let folder = PathBuf::from(String::from_utf8(out.stdout).expect("a path").trim_end());
        support::deny_tools(&folder);
        folder
    })
}

/// A program with our tools first in its PATH.
fn with_tools(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    let rest = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([tools().to_owned()].into_iter().chain(env::split_paths(&rest)));
    command.env("PATH", path.expect("no colon in the project's path"));
    command
}

fn sh(script: &str) -> Command {
    let mut command = with_tools("sh");
    command.args(["-e", "-c", script, "sh"]);
    command
}

fn script(name: &str) -> Command {
    with_tools(project().join("scripts").join(name))
}

const ALPINE: &str = "alpine-minirootfs-3.20.3-x86_64.tar.gz";
const BUSYBOX: &str = "busybox-stable-musl-x86_64.tar.xz";

/// A root file system by our own fetch-rootfs: Alpine's mini root where that archive is, else the
/// embedded default.
fn rootfs() -> Result<(TempDir, PathBuf), Skip> {
    need_root()?;
    let folder = scratch();
    let root = folder.path().join("rootfs");
    let source = archive(ALPINE).unwrap_or_else(|_| "host".into());
    let printed = run(with_tools("fetch-rootfs").arg(source).arg(&root)).silent();
    assert_eq!(Path::new(printed.trim_end()), root);
    Ok((folder, root))
}

/// Some look at what is left on the machine, and others make mounts there: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What must be the same before and after: this process's mounts, and the groups that are named
/// after a process that has ended. Those of a live one belong to a test that runs beside this.
fn traces() -> Vec<String> {
    let names = ["(", "-name", "cgset-*", "-o", "-name", "container_cgroup.*", ")"];
    let groups = run(Command::new("find").args(["/sys/fs/cgroup", "-type", "d"]).args(names));
    let over = |group: &&str| {
        let name = group.rsplit('/').next().unwrap_or_default();
        let pid = name.split(['-', '.']).nth(1).unwrap_or_default();
        !Path::new("/proc").join(pid).exists()
    };
    let mounts = fs::read_to_string("/proc/self/mounts").expect("a mount table");
    mounts.lines().chain(groups.stdout.lines().filter(over)).map(str::to_owned).collect()
}

const CHAIN: &str = "cgset mem 10M pids 64 -- nsenter-lite --pid --mount --uts --ipc -- \
    bindmount --std \"$1\" -- chrootx \"$1\" /bin/sh -c \"$2\"";

fn chain(root: &Path, command: &str) -> Ran {
    run(sh(&format!("exec {CHAIN}")).arg(root).arg(command))
}

fn build_prints_the_folder_of_the_five_tools() -> Test {
    for tool in ["fetch-rootfs", "bindmount", "nsenter-lite", "chrootx", "cgset"] {
        let version = run(Command::new(tools().join(tool)).arg("--version")).silent();
        assert_eq!(version, format!("{tool} {}\n", env!("CARGO_PKG_VERSION")));
    }
    let chrootx = fs::read(tools().join("chrootx")).expect("it was just run");
    let loader = b"/ld-linux";
    let dynamic = chrootx.windows(loader.len()).any(|bytes| bytes == loader);
    assert!(!dynamic, "the tools of the chain are static");
    Ok(())
}

fn the_chain_is_a_container() -> Test {
    let (_folder, root) = rootfs()?;
    let _alone = alone();
    let before = traces();
    let look = "echo $$; hostname inside; hostname; ls -d /proc/[0-9]*; ls /dev/null
        cat /proc/self/mountinfo | grep -c .; cat /etc/resolv.conf; cat /proc/1/comm";
    let seen = chain(&root, look).silent();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!((lines[0], lines[1]), ("1", "inside"), "{seen}");
    assert!(seen.contains("\n/proc/1\n") && seen.contains("\n/dev/null\n"), "{seen}");
    assert!(!seen.contains(&format!("/proc/{}\n", std::process::id())), "{seen}");
    let resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert!(seen.contains(&resolver), "{seen}");
    assert_ne!(fs::read_to_string("/proc/sys/kernel/hostname").expect("a name"), "inside\n");
    assert_eq!(traces(), before);
    Ok(())
}

fn the_chain_ends_what_eats_too_much() -> Test {
    let (_folder, root) = rootfs()?;
    let _alone = alone();
    let before = traces();
    let ran = chain(&root, "exec dd if=/dev/zero of=/dev/null bs=64M count=1");
    assert_eq!(ran.status, 137, "{ran:?}");
    assert!(ran.stderr.contains("killed by the memory limit"), "{ran:?}");
    // Fewer than fit into the memory, so that it is the other limit that is met.
    let forks = "for i in $(seq 20); do sleep 5 & done 2>&1; true";
    let line = CHAIN.replace("pids 64", "pids 8");
    let refused = run(sh(&format!("exec {line}")).arg(&root).arg(forks));
    assert!(format!("{refused:?}").contains("fork"), "8 processes and no more: {refused:?}");
    assert_eq!(traces(), before);
    Ok(())
}

fn the_chain_passes_every_status_on() -> Test {
    let (_folder, root) = rootfs()?;
    let _alone = alone();
    assert_eq!(chain(&root, "exit 42").status, 42);
    let status = |words: &str| {
        let line = CHAIN.replace("/bin/sh -c \"$2\"", words);
        run(sh(&format!("exec {line}")).arg(&root))
    };
    status("/bin/nope").fails(127, "chrootx", &["run \"/bin/nope\"", "(ENOENT)"]);
    status("/etc/passwd").fails(126, "chrootx", &["run \"/etc/passwd\"", "(EACCES)"]);
    let missing = run(sh(&format!("exec {CHAIN}")).arg("/nowhere").arg("true"));
    missing.fails(125, "bindmount", &["\"/nowhere\"", "(ENOENT)"]);
    Ok(())
}

/// Path, type, mode, owner, size, times and content of everything.
fn fingerprint(root: &Path) -> String {
    let list = "cd \"$1\" && find . -printf '%p %y %m %U %G %s %T@ %l\\n' | sort
        find . -type f -exec sha256sum {} + | sort";
    run(support::sh(list).arg(root)).silent()
}

fn the_chain_leaves_the_root_file_system_as_it_was() -> Test {
    let (_folder, root) = rootfs()?;
    let _alone = alone();
    let before = fingerprint(&root);
    chain(&root, "cat /etc/resolv.conf; ls /dev /proc /sys >/dev/null").ok();
    assert_eq!(fingerprint(&root), before);
    Ok(())
}

/// `unshare -f -p --mount-proc=rootfs/proc chroot rootfs`, word for word.
fn the_classic_line_with_our_tools() -> Test {
    let (_folder, root) = rootfs()?;
    let _alone = alone();
    let line =
        "nsenter-lite -f -p --mount-proc=\"$1/proc\" chrootx \"$1\" /bin/sh -c 'echo $$; ps -ef'";
    let seen = run(sh(line).arg(&root)).silent();
    assert!(seen.starts_with("1\n"), "{seen}");
    assert!(seen.lines().count() <= 5, "the header, the shell, ps, and no more: {seen}");
    Ok(())
}

fn container(args: &[&str], root: &Path, command: &[&str]) -> Ran {
    run(script("container").arg("run").args(args).arg(root).args(command))
}

fn container_runs_with_limits_and_a_name() -> Test {
    let (_folder, root) = rootfs()?;
    let _alone = alone();
    let before = traces();
    let name = container(&["--hostname", "it's me"], &root, &["/bin/hostname"]);
    assert_eq!((name.status, name.stdout.as_str()), (0, "it's me\n"), "{name:?}");
    assert_eq!(container(&[], &root, &["/bin/hostname"]).silent(), "container\n");
    let words = ["/bin/echo", "a  b", "$HOME", "'", "-n"];
    assert_eq!(container(&[], &root, &words).silent(), "a  b $HOME ' -n\n");
    let limits = ["--mem", "10M", "--cpu", "50%", "--pids", "20"];
    let eat = ["/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"];
    assert_eq!(container(&limits, &root, &eat).status, 137);
    assert_eq!(container(&limits, &root, &["/bin/sh", "-c", "exit 7"]).status, 7);
    container(&[], &root, &["nope"]).fails(127, "chrootx", &["run \"nope\""]);
    assert_eq!(traces(), before);
    Ok(())
}

fn container_leaves_root_little_power() -> Test {
    support::need_no_filter("it looks whether there is one")?;
    let (_folder, root) = rootfs()?;
    let _alone = alone();
    let look = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; env | sort";
    let look = |options: &[&str]| container(options, &root, &["/bin/sh", "-c", look]).silent();
    let usual = look(&["-e", "MY=own"]);
    assert!(usual.starts_with("CapEff:\t00000000800405fb\nCapBnd:\t00000000800405fb\n"), "{usual}");
    assert!(usual.contains("NoNewPrivs:\t1\nSeccomp:\t2\nHOME=/root\nMY=own\nPATH=/"), "{usual}");
    let kept = look(&["--cap-drop", "all", "--cap-keep", "net_raw", "--seccomp", "none"]);
    assert!(kept.starts_with("CapEff:\t0000000000002000\n"), "{kept}");
    assert!(kept.contains("NoNewPrivs:\t1\nSeccomp:\t0\n"), "{kept}");
    let privileged = look(&["--privileged"]);
    assert!(privileged.contains("NoNewPrivs:\t0\nSeccomp:\t0\n"), "{privileged}");
    for named in [["--privileged", "--seccomp=default"], ["--seccomp=default", "--privileged"]] {
        assert!(look(&named).contains("Seccomp:\t2\n"), "a filter that is named holds");
    }
    assert!(look(&["--privileged", "--seccomp=none"]).contains("NoNewPrivs:\t0\nSeccomp:\t0\n"));
    let mount = ["/bin/mount", "-t", "tmpfs", "t", "/mnt"];
    let refused = container(&[], &root, &mount);
    assert!(refused.status != 0 && refused.stderr.contains("ermi"), "{refused:?}");
    assert_eq!(container(&["--privileged"], &root, &mount).silent(), "");
    let touch = ["/bin/touch", "/file"];
    let refused = container(&["--read-only"], &root, &touch);
    assert!(refused.status != 0 && refused.stderr.contains("Read-only"), "{refused:?}");
    Ok(())
}

fn container_binds_read_write_and_read_only() -> Test {
    let (folder, root) = rootfs()?;
    let _alone = alone();
    let data = folder.path().join("my data");
    fs::create_dir(&data).expect("our own folder");
    fs::write(data.join("in"), "hello\n").expect("our own folder");
    let script = "cat /mnt/in; echo back >/mnt/out";
    let shared = format!("{}:/mnt", data.display());
    assert_eq!(container(&["-v", &shared], &root, &["/bin/sh", "-c", script]).silent(), "hello\n");
    assert_eq!(fs::read_to_string(data.join("out")).expect("it was written"), "back\n");
    let refused = container(&["-v", &format!("{shared}:ro")], &root, &["/bin/sh", "-c", script]);
    assert!(refused.status != 0 && refused.stderr.contains("Read-only"), "{refused:?}");
    let options = ["--read-only", "--tmpfs", "/tmp:size=1M,mode=1777", "--network", "none"];
    let script = "touch /tmp/x && ls /tmp; touch /x 2>/dev/null || echo no; cat /proc/net/dev";
    let seen = container(&options, &root, &["/bin/sh", "-c", script]).silent();
    let mut lines = seen.lines();
    assert_eq!((lines.next(), lines.next()), (Some("x"), Some("no")), "{seen}");
    assert!(seen.contains("lo:") && seen.matches(':').count() == 1, "{seen}");
    Ok(())
}

fn container_shows_its_pipeline() -> Test {
    let root = scratch();
    let shown = container(&["-n", "--mem", "10M"], root.path(), &["/bin/sh", "-c", "echo  $$"]);
    let path = root.path().display();
    assert_eq!(
        shown.silent(),
        format!(
            "cgset mem 10M -- nsenter-lite --init --mount --uts --ipc --cgroup \
             --hostname=container --fd 9=/proc/self/ns/mnt -- bindmount --mkdir --std {path} -- \
             chrootx --in-place 9 --seccomp default --nodev --cap-default --no-new-privs --new-keyring \
             --clear-env -e HOME=/root -- {path} /bin/sh -c 'echo  $$'\n"
        )
    );
    let line = |options: &[&str]| container(options, root.path(), &["true"]).silent();
    assert!(
        line(&["-n", "--seccomp", "none"])
            .contains("chrootx --in-place 9 --nodev --cap-default --no-new-privs")
    );
    let privileged = line(&["-n", "--privileged", "--read-only", "-e", "A=it's"]);
    let options = "chrootx --in-place 9 --new-keyring --clear-env -e HOME=/root -e 'A=it'\\''s' --read-only -- /";
    assert!(privileged.contains(options), "{privileged}");
    let newlines = container(&["-n"], root.path(), &["echo", "it's\n\n"]).silent();
    assert!(newlines.ends_with(" echo 'it'\\''s\n\n'\n"), "{newlines}");
    Ok(())
}

fn container_refuses_wrong_usage() -> Test {
    let fails = |args: &[&str], parts: &[&str]| {
        run(script("container").args(args)).fails(125, "container", parts);
    };
    fails(&[], &["no command given", "hint: "]);
    fails(&["start"], &["no command is called \"start\""]);
    fails(&["run"], &["no ROOTFS given", "hint: make one"]);
    fails(&["run", "--mem"], &["--mem: it needs a value"]);
    fails(&["run", "--mem", "", "/"], &["its value is empty"]);
    fails(&["run", "--bogus", "/"], &["no option is called \"--bogus\""]);
    fails(&["run", "/nowhere"], &["open \"/nowhere\": no such directory"]);
    need_root()?;
    let _alone = alone();
    let root = scratch();
    container(&["--mem", "10X"], root.path(), &["true"]).fails(125, "cgset", &["\"10X\""]);
    Ok(())
}

//! The tests that have to see other control group layouts than this machine's: run by a virtual
//! machine that has them, with Debian's kernel, see `vm/run`. The programs are the very same, but
//! for being linked statically.

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock, PoisonError};

use support::{Skip, Test, project, run, scratch, skip};

support::tests!(
    cgset_on_pure_v2,
    cgset_on_pure_v1,
    cgset_on_memory_in_v2_and_cpu_in_v1,
    network_limits_where_a_device_sends_by_the_clock,
    a_context_is_followed_where_selinux_is_on,
    the_pipeline_on_pure_v2,
    the_pipeline_on_pure_v1,
    the_pipeline_on_aarch64,
);

/// Runs a program in the machine; skips where that can't be started. One at a time: it is emulated,
/// and some of the tests in it measure rates.
fn in_machine(
    layout: &str,
    machine: &str,
    command: &[&str],
    files: &str,
    trees: &str,
) -> Result<Output, Skip> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut run = Command::new(project().join("tests/vm/run"));
    let run = run.arg(layout).args(command).env("VM_FILES", files).env("VM_TREES", trees);
    let output = run.env("VM_MACHINE", machine).output().expect("a shell script");
    match output.status.code() {
        Some(3) => Err(skip(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        _ => Ok(output),
    }
}

/// The test program of cgset and cgset itself, as cargo builds them statically.
fn cgset_tests() -> &'static (PathBuf, PathBuf) {
    static PROGRAMS: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let host = run(Command::new("rustc").arg("-vV")).silent();
        let host =
            host.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc says it");
        let folder = project().canonicalize().expect("it is there").join("target/vm/build");
        let built = Command::new(env!("CARGO"))
            .args(["test", "--no-run", "-p", "cgset", "--test", "cgset", "--target", host])
            .args(["--message-format", "json", "--target-dir"])
            .arg(&folder)
            .env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols")
            .current_dir(project())
            .output()
            .expect("cargo runs");
        let messages = String::from_utf8_lossy(&built.stdout);
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let named =
            |line: &str| Some(line.split(r#""executable":""#).nth(1)?.split('"').next()?.into());
        let mut tests = messages.lines().filter(|line| line.contains(r#""kind":["test"]"#));
        let test = tests.find_map(named).expect("cargo names the program");
        (test, folder.join(host).join("debug/cgset"))
    })
}

fn cgset_on(layout: &str, least: usize, only: &[&str]) -> Test {
    let (test, cgset) = cgset_tests();
    let path = |path: &Path| path.display().to_string();
    let test = path(test);
    let command = [&[&*test, "--test-threads", "1", "--color", "never"], only].concat();
    let output = in_machine(layout, ARCH, &command, &path(cgset), "")?;
    let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let problem = String::from_utf8_lossy(&output.stderr);
    let passed = said.matches("... ok\n").count();
    assert!(output.status.success() && passed > least, "{said}\n{problem}");
    eprintln!("{layout}: {}", said.lines().last().unwrap_or_default());
    // Each stands behind the name of its test, for the machine has one line for both outputs.
    for line in said.lines().filter_map(|line| line.find("skipped ").map(|at| &line[at..])) {
        eprintln!("{layout}: {line}");
    }
    Ok(())
}

fn cgset_on_pure_v2() -> Test {
    cgset_on("v2", 20, &[])
}

fn cgset_on_pure_v1() -> Test {
    cgset_on("v1", 20, &[])
}

fn cgset_on_memory_in_v2_and_cpu_in_v1() -> Test {
    cgset_on("mixed", 20, &[])
}

/// A gigabit a second is more than the machine emulates.
fn network_limits_where_a_device_sends_by_the_clock() -> Test {
    cgset_on("fq", 4, &["net::", "--skip", "iperf3"])
}

/// The folder of the tools, as they are released.
fn tools() -> String {
    let built = Command::new(project().join("scripts/build")).output().expect("a shell script");
    String::from_utf8(built.stdout).expect("a path").trim_end().to_owned()
}

const CHAIN: [&str; 4] = ["cgset", "nsenter-lite", "bindmount", "chrootx"];

/// The same for a machine of another kind. Rust's own linker knows all of them.
fn tools_for(machine: &str) -> Result<String, Skip> {
    let target = format!("{machine}-unknown-linux-musl");
    let folder = project().canonicalize().expect("it is there").join("target/vm/build");
    let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--target", &target, "--target-dir"]).arg(&folder);
    cargo.args(CHAIN.iter().flat_map(|tool| ["-p", tool])).env(linker, "rust-lld");
    let output = cargo.current_dir(project()).output().expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("target may not be installed") {
        return Err(skip(format!("needs rustup target add {target}")));
    }
    assert!(output.status.success(), "{said}");
    Ok(folder.join(target).join("release").display().to_string())
}

/// Without a policy the kernel has names for its own threads and for all else; COMMAND is asked for
/// its next one while it waits.
fn a_context_is_followed_where_selinux_is_on() -> Test {
    let tool = format!("{}/nsenter-lite", tools());
    let line = format!(
        "mkfifo gate; exec 3<>gate; cat /proc/2/attr/current; echo
        {tool} -t 2 -Z --fork --pid-file pid --block-fd 3 -- /bin/busybox echo ran &
        until [ -s pid ]; do sleep 0.1; done
        cat /proc/$(cat pid)/attr/exec; echo; echo >&3; wait $!; echo status $?"
    );
    let output = in_machine("selinux", ARCH, &["/bin/busybox", "sh", "-c", &line], &tool, "")?;
    let said = String::from_utf8_lossy(&output.stdout).replace(['\r', '\0'], "");
    let problem = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "kernel\nkernel\nran\nstatus 0\n", "{problem}");
    Ok(())
}

/// The one line of README.md, with a root of busybox alone.
fn the_pipeline_on(layout: &str, machine: &str, tools: &str) -> Test {
    let folder = scratch();
    let root = folder.path().join("rootfs");
    let make = "kernel=$(\"$0\") || exit
        mkdir -p \"$1\"/bin \"$1\"/dev \"$1\"/proc \"$1\"/sys \"$1\"/etc
        cp \"$kernel/busybox\" \"$1\"/bin/busybox
        for name in sh cat dd grep hostname ps uname; do ln -s busybox \"$1/bin/$name\"; done";
    let mut sh = Command::new("sh");
    sh.args(["-e", "-c", make]).arg(project().join("tests/vm/kernel")).arg(&root);
    let built = run(sh.env("VM_MACHINE", machine));
    if built.status != 0 {
        return Err(skip(built.stderr.trim().to_owned()));
    }
    let root = root.display().to_string();
    let line = format!(
        "export PATH={tools}:$PATH; mounts=$(grep -c . /proc/mounts)
        box() {{ cgset mem 10M pids 64 -- nsenter-lite --pid --mount --uts --ipc --hostname box -- \
        bindmount --std {root} -- chrootx --cap-default --seccomp default {root} /bin/sh -c \"$1\"
        echo status $?; }}
        box 'echo I am $$; hostname; cat /etc/resolv.conf; ps | grep -c .
        uname -m; grep Seccomp: /proc/self/status; exit 42'
        box 'exec dd if=/dev/zero of=/dev/null bs=64M count=1'
        [ $mounts = $(grep -c . /proc/mounts) ] && echo mounts gone
        [ -z \"$(find /sys/fs/cgroup -name 'cgset-*')\" ] && echo groups gone"
    );
    let files = CHAIN.map(|tool| format!("{tools}/{tool}")).join(" ");
    let output = in_machine(layout, machine, &["/bin/busybox", "sh", "-c", &line], &files, &root)?;
    let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let said: Vec<&str> = said.lines().filter(|line| !line.starts_with("cgset: killed")).collect();
    let wanted = [
        "I am 1",
        "box",
        "nameserver 192.0.2.53",
        "4",
        machine,
        "Seccomp:\t2",
        "status 42",
        "status 137",
        "mounts gone",
        "groups gone",
    ];
    assert_eq!(said, wanted, "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn the_pipeline_on_pure_v2() -> Test {
    the_pipeline_on("v2", ARCH, &tools())
}

fn the_pipeline_on_pure_v1() -> Test {
    the_pipeline_on("v1", ARCH, &tools())
}

fn the_pipeline_on_aarch64() -> Test {
    the_pipeline_on("v2", "aarch64", &tools_for("aarch64")?)
}

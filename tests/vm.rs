//! The tests that have to see other control group layouts than this machine's: run by a virtual
//! machine that has them, with Debian's kernel, see `vm/run`. The programs are the very same, but
//! for being linked statically.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock, PoisonError};

use support::{Skip, Test, project, run, scratch, skip};

support::tests!(
    cgset_on_pure_v2,
    cgset_on_pure_v1,
    cgset_on_memory_in_v2_and_cpu_in_v1,
    network_limits_where_a_device_sends_by_the_clock,
    the_pipeline_on_pure_v2,
    the_pipeline_on_pure_v1,
);

/// Runs a program in the machine; skips where that can't be started. One at a time: it is emulated,
/// and some of the tests in it measure rates.
fn in_machine(layout: &str, command: &[&str], files: &str, trees: &str) -> Result<Output, Skip> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut run = Command::new(project().join("tests/vm/run"));
    let run = run.arg(layout).args(command).env("VM_FILES", files).env("VM_TREES", trees);
    let output = run.output().expect("a shell script");
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
    let output = in_machine(layout, &command, &path(cgset), "")?;
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

/// The one line of README.md, with a root of busybox alone.
fn the_pipeline_on(layout: &str) -> Test {
    let tools = Command::new(project().join("scripts/build")).output().expect("a shell script");
    let tools = String::from_utf8(tools.stdout).expect("a path");
    let tools = tools.trim_end();
    let folder = scratch();
    let root = folder.path().join("rootfs");
    let make = "mkdir -p \"$1\"/bin \"$1\"/dev \"$1\"/proc \"$1\"/sys \"$1\"/etc
        cp \"$(command -v busybox)\" \"$1\"/bin/busybox; \"$1\"/bin/busybox --install -s \"$1\"/bin 2>&1
        for link in \"$1\"/bin/*; do [ ! -L \"$link\" ] || ln -sfn busybox \"$link\"; done";
    let built = run(support::sh(make).arg(&root));
    if built.status != 0 {
        return Err(skip("needs busybox (Debian: busybox-static)"));
    }
    let root = root.display().to_string();
    let line = format!(
        "export PATH={tools}:$PATH; mounts=$(grep -c . /proc/mounts)
        box() {{ cgset mem 10M pids 64 -- nsenter-lite --pid --mount --uts --ipc --hostname box -- \
        bindmount --std {root} -- chrootx {root} /bin/sh -c \"$1\"; echo status $?; }}
        box 'echo I am $$; hostname; cat /etc/resolv.conf; ps | grep -c .; exit 42'
        box 'exec dd if=/dev/zero of=/dev/null bs=64M count=1'
        [ $mounts = $(grep -c . /proc/mounts) ] && echo mounts gone
        [ -z \"$(find /sys/fs/cgroup -name 'cgset-*')\" ] && echo groups gone"
    );
    let chain = ["cgset", "nsenter-lite", "bindmount", "chrootx"];
    let files = chain.map(|tool| format!("{tools}/{tool}")).join(" ");
    let output = in_machine(layout, &["/bin/busybox", "sh", "-c", &line], &files, &root)?;
    let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let said: Vec<&str> = said.lines().filter(|line| !line.starts_with("cgset: killed")).collect();
    let wanted = [
        "I am 1",
        "box",
        "nameserver 192.0.2.53",
        "4",
        "status 42",
        "status 137",
        "mounts gone",
        "groups gone",
    ];
    assert_eq!(said, wanted, "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn the_pipeline_on_pure_v2() -> Test {
    the_pipeline_on("v2")
}

fn the_pipeline_on_pure_v1() -> Test {
    the_pipeline_on("v1")
}

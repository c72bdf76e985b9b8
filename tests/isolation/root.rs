//! E1, E2, E9, E10: ways to the machine's root directory, programs and terminal.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{Test, eventually, run, sh, wait};

use crate::bed::{Bed, TOOLS, words_of};

pub fn e1_double_chroot(bed: &Bed) -> Test {
    let mark = bed.mark();
    let probe = ["chroot2", mark.to_str().expect("our own name")];
    bed.contains_with_and_without_filter(&probe);
    bed.contains(&["--cap-keep", "sys_chroot"], &probe);
    // There is no way up, whatever power is left.
    bed.contains(&["--privileged"], &probe);
    Ok(())
}

/// With all power there is, PID 1 can be looked into, too.
pub fn e1_no_process_inside_has_another_root(bed: &Bed) -> Test {
    let look = "for process in /proc/[0-9]*; do for way in root cwd; do
            cat $process/$way$0 2>/dev/null && echo by $process/$way
        done; done; echo looked at /proc/[0-9]*";
    let mark = bed.mark();
    let words = ["/bin/sh", "-c", look, mark.to_str().expect("our own name")];
    for options in [&["--privileged"][..], &["--privileged", "--no-init"]] {
        let said = run(&mut bed.container(options, &words)).silent();
        assert!(said.starts_with("looked at ") && said.lines().count() == 1, "{options:?} {said}");
    }
    Ok(())
}

/// The same command with a folder of the machine's open as this descriptor.
fn with_descriptor(command: &Command, number: u32) -> Command {
    let mut outer = sh(format!("exec {number}</; exec {}", words_of(command)));
    for (name, value) in command.get_envs() {
        outer.env(name, value.unwrap_or_default());
    }
    outer
}

pub fn e2_descriptors_and_working_directory(bed: &Bed) -> Test {
    let fds = ["/bin/probe", "fds"];
    bed.is_contained(&run(&mut with_descriptor(&bed.container(&[], &fds), 9)), "fds");
    // `cd /proc/self/fd/0/..` would lead out.
    let input = run(&mut with_descriptor(&bed.container(&["--privileged"], &fds), 0));
    input.fails(125, "chrootx", &["standard input", "is a folder", "hint: "]);
    for place in ["/proc/self/fd/9", "/proc/self/cwd", "/proc/self/root", "/proc/1/cwd"] {
        let workdir = format!("--workdir {place}");
        let command = bed.changed(&[], &[("-- chrootx", &workdir)], &fds);
        let ran = run(&mut with_descriptor(&command, 9));
        match ran.status {
            0 => bed.is_contained(&ran, place),
            _ => ran.fails(125, "chrootx", &[place]),
        }
    }
    Ok(())
}

fn digests(bed: &Bed) -> String {
    let tools = TOOLS.iter().map(|name| bed.path("tools").join(name));
    run(Command::new("sha256sum").args(tools)).silent()
}

/// CVE-2019-5736: the container overwrites the program that enters it.
pub fn e9_the_tools_own_files(bed: &Bed) -> Test {
    let before = digests(bed);
    let script = bed.root().join("bin/loop");
    fs::write(&script, "#!/proc/self/exe\n").expect("ours");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("ours");
    bed.belongs_to_its_user();
    let ran = run(&mut bed.container(&[], &["/bin/loop"]));
    assert!([125, 126].contains(&ran.status), "{ran:?}");

    let file = bed.path("home/pid");
    let pid_file = format!("--pid-file {}", file.display());
    let probe = ["/bin/probe", "exe", "/tmp/stop"];
    let mut watching = bed.changed(&[], &[("nsenter-lite", &pid_file)], &probe);
    watching.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = watching.spawn().expect("it starts");
    let pid = eventually("there is a PID file", || fs::read_to_string(&file).ok());
    eventually("the container has begun", || {
        let root = fs::read_link(format!("/proc/{}/cwd", pid.trim())).ok()?;
        (root == std::path::Path::new("/")).then_some(())
    });
    let enter = "i=0; while [ $i -lt 500 ]; do
        nsenter-lite -t \"$1\" -a -- /bin/true || exit 1; i=$((i + 1)); done";
    let entered = run(bed.as_starter("sh").args(["-c", enter, "sh", pid.trim()]));
    fs::write(bed.root().join("tmp/stop"), "").expect("ours");
    let status = wait(&mut child, Duration::from_secs(10));
    let out = child.wait_with_output().expect("it has ended");
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(entered.status, 0, "{entered:?}");
    assert!(status.is_some_and(|status| status.success()), "{said}");
    assert!(!said.contains("no other process came into sight"), "it must have looked: {said}");
    assert_eq!(digests(bed), before);
    Ok(())
}

pub fn e10_the_callers_terminal(bed: &Bed) -> Test {
    let container = bed.container(&[], &["/bin/probe", "tty"]);
    let seen = bed.on_a_terminal("sleep 0.3", &words_of(&container))?;
    assert!(seen.starts_with("tty: contained"), "{:?}: {seen}", bed.mode);
    Ok(())
}

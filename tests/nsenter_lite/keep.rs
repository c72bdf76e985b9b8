//! Namespaces that files keep, and that are entered again when nobody is in them.

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Test, need_root, private_sh, run, scratch};

use crate::setup::{as_nobody, need_user_namespaces, tool};

const TOOL: &str = env!("CARGO_BIN_EXE_nsenter-lite");

/// In a mount namespace of the test's own: `$1` is a scratch folder, `$2` the tool.
fn kept(folder: &Path, script: &str) -> Command {
    let mut command = private_sh(script);
    command.arg(folder).arg(TOOL);
    command
}

/// On one CPU: a mount namespace can be kept only in an older one, and from Linux 6.18 on each CPU
/// hands out numbers of its own, by which the kernel may take the newer for the older. unshare(1) does
/// not look.
fn kept_by_script(folder: &Path, script: &str) -> Command {
    let shell = kept(folder, script);
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(shell.get_program()).args(shell.get_args());
    command
}

pub fn a_folder_keeps_all_namespaces_that_are_made() -> Test {
    need_root()?;
    let folder = scratch();
    let seen = "for n in mnt uts ipc net cgroup time; do readlink /proc/self/ns/$n; done; hostname";
    let script = format!(
        "cd \"$1\"; mount -t tmpfs here .; cd \"$1\"; mount --make-shared .; seen='{seen}; cat /mnt/mark'
        for made in no yes; do
            [ $made = no ] || mkdir keep
            \"$2\" -muinCT --boottime 7000 --hostname box --persist keep \
                sh -c \"mount -t tmpfs marked /mnt; echo here >/mnt/mark; $seen\" >first
            ls keep | tr '\\n' ' '; ls -a | tr '\\n' ' '; echo
            \"$2\" -t keep -a sh -c \"$seen\" >again
            cmp first again && grep box again
            \"$2\" -t keep -u hostname; \"$2\" -t keep -n sh -c 'hostname; ls /sys/class/net' | tail -n 1
            umount -R keep; rmdir keep; rm first again
        done"
    );
    let ran = run(&mut kept(folder.path(), &script)).silent();
    let names = "cgroup ipc mnt net time uts . .. first keep \n";
    let lines: Vec<&str> = ran.lines().collect();
    assert_eq!(lines.len(), 8, "{ran}");
    for round in lines.chunks(4) {
        assert_eq!(format!("{}\n", round[0]), names);
        assert_eq!(round[1..3], ["box", "box"], "{ran}");
    }
    // The user namespace too; it gives the right to the others.
    let script = "cd \"$1\"; \"$2\" -r -u -n --hostname box --persist keep id -u
        \"$2\" -t keep -a sh -c 'id -u; hostname; cat /proc/self/uid_map' | tr -s ' '";
    let ran = run(&mut kept(folder.path(), script)).silent();
    assert_eq!(ran, "0\n0\nbox\n 0 0 1\n");
    // PID 1 must live for others to be born there.
    let script = "cd \"$1\"; rmdir keep 2>/dev/null || :
        \"$2\" -p -m --mount-proc --persist pids sh -c 'read -r _' <f & exec 8>f
        while ! [ -e pids/pid ]; do sleep 0.01; done
        \"$2\" -t pids -a sh -c 'tr \"\\0\" \" \" </proc/1/cmdline; echo'; exec 8>&-; wait
        \"$2\" -t pids -a true 2>&1 || echo $?";
    run(Command::new("mkfifo").arg(folder.path().join("f"))).silent();
    let ran = run(&mut kept(folder.path(), script)).silent();
    assert!(
        ran.starts_with("sh -c read -r _ \nnsenter-lite: fork: ") && ran.ends_with("\n125\n"),
        "{ran}"
    );
    assert!(ran.contains("PID 1 of that PID namespace has ended"), "{ran}");
    Ok(())
}

pub fn a_file_keeps_one_namespace() -> Test {
    need_root()?;
    let folder = scratch();
    let script = "cd \"$1\"; mount -t tmpfs here .; cd \"$1\"; mount --make-private .; : >old
        \"$2\" --uts=old --net=new -i --hostname box readlink /proc/self/ns/uts /proc/self/ns/ipc >first
        \"$2\" -t $$ --uts=old --net=new sh -c 'hostname; readlink /proc/self/ns/uts; ls /sys/class/net >&2' 2>said || { s=$?; cat said >&2; exit $s; }
        head -n 1 first; \"$2\" -t $$ --uts=new true 2>&1 || :; umount old new; stat -c %s old new";
    let ran = run(&mut kept(folder.path(), script)).silent();
    let lines: Vec<&str> = ran.lines().collect();
    assert_eq!(lines[0], "box");
    assert_eq!(lines[1], lines[2]);
    assert!(lines[3].contains("(EINVAL)") && lines[4].contains("another kind"), "{ran}");
    assert_eq!(lines[5..], ["0", "0"]);
    Ok(())
}

pub fn a_failure_leaves_no_file() -> Test {
    need_root()?;
    let folder = scratch();
    let left = "find . -mindepth 1; findmnt -rno TARGET -t nsfs,tmpfs | grep \"$PWD\" || :";
    for words in [
        "-n -p --persist d no-such-command",
        "-n --persist d --mount-proc=/nowhere true",
        "-u --hostname=a --uts=f --ipc=g no-such-command",
        "-T --boottime -999999999 --persist d true",
        "-u -R /nowhere --persist d true",
        "-u --ipc=nowhere/f --uts=f true",
    ] {
        // What is left may take a moment to go: the keeper hears of it when the tool has ended.
        let script = format!("cd \"$1\"; \"$2\" {words} 2>/dev/null || echo $?; {left}");
        let ran = run(&mut kept(folder.path(), &script)).silent();
        assert!(ran == "125\n" || ran == "127\n", "{words}: {ran}");
    }
    let script = "cd \"$1\"; mkdir full; : >full/file; \"$2\" -u --persist full true 2>&1 || ls full; rm -r full";
    let ran = run(&mut kept(folder.path(), script)).silent();
    assert!(ran.contains("it is not empty") && ran.ends_with("\nfile\n"), "{ran}");
    // A mount namespace on a mount that is shared with another namespace.
    let script = "cd \"$1\"; mount -t tmpfs here .; cd \"$1\"; mount --make-shared .
        unshare --mount --propagation unchanged sh -c 'read -r _' <\"$3\" & exec 8>\"$3\"
        sleep 0.2; \"$2\" --mount=f true 2>&1 || ls; \"$2\" -m --persist d readlink /proc/self/ns/mnt >/dev/null; ls d";
    let fifo = scratch();
    let fifo = fifo.path().join("fifo");
    run(Command::new("mkfifo").arg(&fifo)).silent();
    let ran = run(kept(folder.path(), script).arg(&fifo)).silent();
    assert!(ran.contains("(EINVAL)") && ran.contains("--make-private"), "{ran}");
    assert!(ran.ends_with("\nmnt\n"), "{ran}");
    need_user_namespaces()?;
    let (theirs, nobody) = as_nobody();
    let dir = theirs.path().join("d");
    let ran = run(nobody().args(["-r", "-u", "--persist"]).arg(&dir).arg("true"));
    ran.fails(125, "nsenter-lite", &["(EPERM)", "that takes root where the file is"]);
    assert!(!dir.exists());
    Ok(())
}

/// Root of a user and a mount namespace of one's own keeps others there.
/// Of a process that is killed before COMMAND runs, nobody else can take back what it has made.
pub fn a_command_that_never_ran_keeps_nothing() -> Test {
    need_root()?;
    let folder = scratch();
    let script = "cd \"$1\"; mount -t tmpfs here .; cd \"$1\"; mount --make-private .; mkfifo gate
        \"$2\" --fork -u --persist dir --net=file --pid-file pid --block-fd 3 true 3<>gate & launcher=$!
        until [ -s pid ]; do sleep 0.01; done
        [ -e dir/uts ]; kill -KILL $(cat pid); wait $launcher || echo $?
        n=0; while [ -e dir ] || [ -e file ]; do n=$((n + 1)); [ $n -lt 500 ]; sleep 0.01; done";
    assert_eq!(run(&mut kept(folder.path(), script)).silent(), "137\n");
    Ok(())
}

pub fn an_ordinary_user_keeps_what_is_theirs() -> Test {
    need_user_namespaces()?;
    let (folder, nobody) = as_nobody();
    let script = "cd \"$1\"; \"$0\" -n -u --hostname kept --persist d true; \"$0\" -t d -a hostname
        \"$0\" -t d -n sh -c 'readlink /proc/self/ns/net >in'; readlink d/net || :; umount -R d
        rmdir d; grep -c net: in; rm in";
    let program = nobody().get_program().to_owned();
    let mut command = nobody();
    command.args(["-r", "-m", "sh", "-e", "-c", script]).arg(&program).arg(folder.path());
    assert_eq!(run(&mut command).silent(), "kept\n1\n");
    Ok(())
}

pub fn the_script_keeps_the_same() -> Test {
    need_root()?;
    let folder = scratch();
    let look = "umask; ls keep; findmnt -rno FSTYPE -R keep; \"$2\" -t keep -a hostname; umount -R keep; rmdir keep";
    for letters in ["-muiC", "-rmu", "-mupi"] {
        let options = [letters, "--hostname", "box", "--persist", "keep", "true"];
        let script = run(tool().arg("--dry-run").args(options)).silent();
        let look = look.replace("-a", if letters.contains('p') { "-u" } else { "-a" });
        let by_script = format!("cd \"$1\"; sh -c \"$3\"; {look}");
        let by_tool = format!("cd \"$1\"; \"$2\" {}; {look}", options.join(" "));
        let theirs = run(kept_by_script(folder.path(), &by_script).arg(&script));
        let ours = run(&mut kept(folder.path(), &by_tool));
        assert_eq!(ours, theirs, "{script}");
        assert!(ours.silent().ends_with("\nbox\n"));
    }
    assert_eq!(fs::read_dir(folder.path()).expect("ours").count(), 0);
    let enter = "cd \"$1\"; \"$2\" -uin --hostname box --persist keep true; look='hostname; readlink /proc/self/ns/net'
        \"$2\" -t keep -a sh -c \"$look\"; \"$2\" --dry-run -t keep -a sh -c \"$look\" | sh
        umount -R keep; rmdir keep";
    let ran = run(&mut kept(folder.path(), enter)).silent();
    let lines: Vec<&str> = ran.lines().collect();
    assert!(lines.len() == 4 && lines[..2] == lines[2..], "{ran}");
    let script = run(tool().args(["--dry-run", "--uts=f", "--hostname=box", "true"])).silent();
    let by_script = "cd \"$1\"; sh -c \"$3\"; nsenter --uts=f hostname; umount f";
    assert_eq!(run(kept(folder.path(), by_script).arg(&script)).silent(), "box\n");
    Ok(())
}

//! A process's namespaces entered.

use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Test, eventually, need_root, run, scratch};

use crate::setup::{
    Container, KINDS, LINKS, as_nobody, is_alive, links_of, need_user_namespaces, own_links,
    to_be_entered, with,
};

pub fn a_process_is_entered_in_all_its_namespaces() -> Test {
    need_root()?;
    let container = to_be_entered();
    let pid = container.pid.to_string();
    let script = format!("hostname; grep -c marked /proc/mounts; pwd; cat /proc/1/comm; {LINKS}");
    let inside = with(&["-t", &pid, "-a"], &script).silent();
    let wanted = ["box", "1", "/", "sh"].map(String::from).into_iter();
    let wanted: Vec<String> = wanted.chain(links_of(container.pid)).collect();
    assert_eq!(inside.lines().collect::<Vec<_>>(), wanted);
    assert_eq!(with(&["--target", &pid, "--all"], "exit 42").status, 42);
    assert_eq!(with(&["-t", &pid, "-a"], "kill -TERM $$").status, 143, "it is no PID 1");
    let rootless = Container::start(&["-r", "-u", "-p"], &["sh", "-c", "read line"]);
    let pid = rootless.pid.to_string();
    let script = "id -u; id -G; readlink /proc/self/ns/user";
    let inside = with(&["-t", &pid, "-a"], script).silent();
    assert_eq!(inside, format!("0\n0\n{}\n", links_of(rootless.pid)[5]));
    Ok(())
}

pub fn a_process_is_entered_by_letters() -> Test {
    need_root()?;
    let container = to_be_entered();
    // With the mounts alone, there would be a /proc in which we are not.
    let kinds = KINDS.iter().enumerate().filter(|(_, (_, name))| !["user", "mnt"].contains(name));
    let (ours, theirs) = (own_links(), links_of(container.pid));
    let pid = container.pid.to_string();
    for (index, (letter, name)) in kinds {
        let read = if *letter == "-p" { "-pm" } else { letter };
        let inside = with(&["-t", &pid, read], LINKS).silent();
        for (at, link) in inside.lines().enumerate() {
            let entered = at == index || (*letter == "-p" && at == 0);
            assert_eq!(link, if entered { &theirs[at] } else { &ours[at] }, "{name}");
        }
    }
    assert_eq!(with(&["-t", &pid, "-u"], "hostname").silent(), "box\n");
    let number = with(&["-t", &pid, "-p"], "echo $$").silent();
    assert!(number.trim().parse::<u32>().is_ok_and(|number| number < 100), "{number}");
    let outside = with(&["-t", &pid, "-p", "-F"], "echo $$ $(sh -c 'echo $$')").silent();
    let numbers: Vec<u32> = outside.split_whitespace().flat_map(str::parse).collect();
    assert!(numbers[0] > numbers[1], "only the children are inside: {outside}");
    let own = std::process::id().to_string();
    assert_eq!(with(&["-t", &own, "-a"], "exit 9").status, 9, "all are ours already");
    Ok(())
}

/// kill(0, ...) goes to a whole process group, whatever PID namespaces its members are in.
pub fn who_is_inside_reaches_no_group_outside() -> Test {
    need_root()?;
    let container = to_be_entered();
    let pid = container.pid.to_string();
    for (options, status) in [
        ("-t $1 -a", 137),
        ("-t $1 -p -m", 137),
        ("--join pid=/proc/$1/ns/pid", 137),
        ("--init", 137),
        // Nobody inside kills PID 1.
        ("--pid", 0),
    ] {
        let script = format!("\"$0\" {options} -- sh -c 'kill -KILL 0'; echo survives $?");
        let mut shell = Command::new("setsid");
        shell.args(["--wait", "sh", "-c", &script]).arg(env!("CARGO_BIN_EXE_nsenter-lite"));
        assert_eq!(run(shell.arg(&pid)).ok(), format!("survives {status}\n"), "{options}");
    }
    Ok(())
}

/// Where there is no terminal it need not lead the group that it has, and setsid(1) need not fork: of PID 1
/// all would end by that.
pub fn who_is_inside_makes_a_session() -> Test {
    need_root()?;
    let container = to_be_entered();
    let pid = container.pid.to_string();
    let join = format!("--join=pid=/proc/{pid}/ns/pid");
    let owner = ["--owner=1000:1000", "--map-users=0:1000:1", "--map-groups=0:1000:1", "-p"];
    for options in [&["-p"][..], &["-p", "--detach"], &["-t", &pid, "-a"], &[&join], &owner] {
        let mut shell = Command::new("setsid");
        shell.args(["--wait", env!("CARGO_BIN_EXE_nsenter-lite")]).args(options);
        let ran = run(shell.args(["setsid", "sh", "-c", "sleep 0.1; echo over"]));
        assert_eq!(ran.silent(), "over\n", "{options:?}");
    }
    Ok(())
}

/// Its own process group is not one that is killed with its launcher's.
pub fn who_is_inside_ends_with_the_launchers_group() -> Test {
    need_root()?;
    let container = to_be_entered();
    let pid = container.pid.to_string();
    let entered = Container::start(&["-t", &pid, "-a"], &["sh", "-c", "read line"]);
    let group = i32::try_from(entered.launcher.id()).expect("a PID");
    kill(Pid::from_raw(-group), Signal::SIGKILL).expect("our own child's group");
    eventually("it has ended", || (!is_alive(entered.pid)).then_some(()));
    Ok(())
}

/// The launcher looks for no terminal in there.
pub fn a_false_terminal_inside_keeps_nobody() -> Test {
    need_root()?;
    let folder = scratch();
    let mark = folder.path().join("ready");
    let script =
        format!("mount -t tmpfs t /dev && mkfifo /dev/tty && : >{} && read line", mark.display());
    let container = Container::start(&["-mp", "--mount-proc"], &["sh", "-c", &script]);
    eventually("it is set up", || mark.exists().then_some(()));
    let mut shell = Command::new("timeout");
    shell.args(["-k", "1", "5", "setsid", "--wait", env!("CARGO_BIN_EXE_nsenter-lite")]);
    shell.args(["-t", &container.pid.to_string(), "-a", "echo", "hi"]);
    assert_eq!(run(&mut shell).silent(), "hi\n");
    Ok(())
}

pub fn an_ordinary_user_enters_what_is_theirs() -> Test {
    need_user_namespaces()?;
    let (_folder, nobody) = as_nobody();
    let options = ["-r", "-u", "-p", "-m", "--mount-proc", "--hostname", "box"];
    let container = Container::launch(nobody(), &options, &["sh", "-c", "read line"]);
    let pid = container.pid.to_string();
    eventually("it has its name", || {
        let ran =
            run(nobody().args(["-t", &pid, "-a", "sh", "-c", "hostname; id -u; cat /proc/1/comm"]));
        (ran.stdout == "box\n0\nsh\n").then_some(())
    });
    run(nobody().args(["-t", &pid, "-u", "true"])).fails(125, "nsenter-lite", &["(EPERM)", "-a"]);
    let kept = run(nobody().args(["-t", &pid, "-a", "--preserve-credentials", "id", "-u"]));
    assert_eq!(kept.silent(), "0\n", "the same user, seen from inside");
    let init = run(nobody().args(["-t", "1", "-a", "true"]));
    init.fails(125, "nsenter-lite", &["look at the namespaces of process 1", "(EACCES)"]);
    Ok(())
}

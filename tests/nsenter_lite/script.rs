//! What `--dry-run` prints does the same as the tool, and `--dry-run` itself does nothing.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use support::{Test, need_no_filter, need_program, need_root, run, scratch, sh};

use crate::setup::{
    Container, LINKS, NOBODY, as_nobody, need_user_namespaces, own_links, to_be_entered, tool,
};

/// What the command sees, with what stays the same outside left out.
fn report(ours: &[String]) -> String {
    let ours = ours.join(" ");
    format!(
        "for l in $({LINKS}); do case ' {ours} ' in *\" $l \"*) echo ${{l%:*}} same;; *) echo ${{l%:*}} own;; esac; done
        hostname; id -u; id -g; id -G; echo $(($$ == 1)); cat /proc/self/setgroups /proc/self/uid_map
        set -- /proc/[0-9]*; [ $# -gt 9 ] && echo many; grep -c ' /proc proc' /proc/self/mounts
        sed 's/^[^-]* - //; t; s/^.* - //' /proc/self/mountinfo | sort | head -n 3
        grep -c shared: /proc/self/mountinfo
        grep -E 'Sig[BIC]|Cap' /proc/self/status; exit 42"
    )
}

pub fn the_dry_run_script_does_the_same() -> Test {
    need_user_namespaces()?;
    let (_folder, nobody) = as_nobody();
    let report = report(&own_links());
    let command = ["--", "sh", "-c", &report];
    let root = || tool();
    let both: [(&str, bool); 15] = [
        ("-m", false),
        ("-u --hostname box", false),
        ("-muinpCT", false),
        ("-f", false),
        ("-p --mount-proc", false),
        ("-p --mount-proc --propagation slave", false),
        ("-m --propagation shared", false),
        ("-U", true),
        ("-U --setgroups deny", true),
        ("-U -m -p", true),
        ("-c -u", true),
        ("-r -muipC --mount-proc --hostname box", true),
        ("-r -p --kill-child=TERM", true),
        ("--init -m -u", false),
        ("-r --init --mount-proc", true),
    ];
    for (options, ordinary_too) in both {
        let words: Vec<&str> = options.split(' ').collect();
        let mut runs: Vec<(Command, Command, Command)> = vec![(root(), root(), Command::new("sh"))];
        if ordinary_too {
            let mut shell = Command::new("sh");
            shell.uid(NOBODY).gid(NOBODY).current_dir("/");
            runs.push((nobody(), nobody(), shell));
        }
        for (mut act, mut dry, mut shell) in runs {
            let ours = run(act.args(&words).args(command));
            let script = run(dry.arg("--dry-run").args(&words).args(command)).silent();
            let theirs = run(shell.arg("-c").arg(&script));
            assert_eq!(ours, theirs, "{options}: {script}");
            assert_eq!(ours.status, 42, "{ours:?}");
        }
    }
    Ok(())
}

/// By script(1), which has its own way to end; what COMMAND sees is the same.
pub fn the_dry_run_script_gives_a_terminal() -> Test {
    need_root()?;
    need_program("script")?;
    let look = "tty; ps -o sid= -p $$ | xargs test $$ -eq && echo leads; echo it\\'s; exit 42";
    for options in
        ["--init --pty --mount-proc", "--pty -m", "--init --pty --mount-proc --hostname box"]
    {
        let options: Vec<&str> = options.split(' ').collect();
        let command = ["--", "sh", "-c", look];
        let ours = run(tool().args(&options).args(command));
        let script = run(tool().arg("--dry-run").args(&options).args(command)).silent();
        let mut shell = sh(&script);
        let theirs = run(shell.env("SHELL", "/bin/sh"));
        assert_eq!(theirs.stdout.replace('\r', ""), ours.stdout, "{options:?}: {script}");
        assert_eq!((ours.status, theirs.status), (42, 42), "{ours:?} {theirs:?}");
        assert_eq!(ours.stdout, "/dev/pts/0\nleads\nit's\n");
    }
    Ok(())
}

pub fn the_dry_run_script_writes_the_pid_of_outside() -> Test {
    need_root()?;
    let folder = scratch();
    let file = folder.path().join("it's a pid");
    let look = "cat \"$0\"; readlink /proc/self/ns/pid";
    for options in [&["-p"][..], &["-u"], &["-p", "--mount-proc"], &["--init"]] {
        let mut dry = tool();
        dry.arg("--dry-run").args(options).arg("--pid-file").arg(&file);
        let script = run(dry.args(["sh", "-c", look]).arg(&file)).silent();
        assert!(!file.exists(), "a dry run writes nothing");
        let seen = run(&mut sh(&script)).silent();
        let pid: i32 = seen.lines().next().and_then(|pid| pid.parse().ok()).expect("a PID");
        assert!(pid > 2, "{script}: {seen}");
        fs::remove_file(&file).expect("the script wrote it");
    }
    Ok(())
}

pub fn the_dry_run_script_enters_the_same() -> Test {
    need_root()?;
    need_program("nsenter")?;
    let container = to_be_entered();
    let rootless = Container::start(&["-r", "-u", "-p"], &["sh", "-c", "read line"]);
    let own = std::process::id().to_string();
    let script = format!("{LINKS}; hostname; id -u; id -G; pwd; grep Cap /proc/self/status");
    for (pid, options) in [
        (container.pid.to_string(), &["-a"][..]),
        (container.pid.to_string(), &["-u", "-i"]),
        (container.pid.to_string(), &["-p", "-m"]),
        (rootless.pid.to_string(), &["-a"]),
        (own, &["-a"]),
    ] {
        let command = ["--", "sh", "-c", &script];
        let enter = ["-t", &pid];
        let ours = run(tool().args(enter).args(options).args(command)).silent();
        let dry = run(tool().arg("--dry-run").args(enter).args(options).args(command)).silent();
        assert_eq!(run(&mut sh(&dry)).silent(), ours, "{dry}");
    }
    Ok(())
}

pub fn explain_and_dry_run_say_the_same() -> Test {
    need_root()?;
    let options = ["-r", "-p", "-u", "--mount-proc", "--hostname", "box", "--", "true"];
    let explained = run(tool().arg("-x").args(options));
    let script = run(tool().arg("--dry-run").args(options)).silent();
    explained.explains(4, &script);
    Ok(())
}

pub fn a_dry_run_changes_nothing() -> Test {
    need_no_filter("the filter is one execve(2) more")?;
    need_program("strace")?;
    let folder = scratch();
    let log = folder.path().join("log");
    let own = std::process::id().to_string();
    let create = ["-muinpCTr", "--mount-proc", "--hostname", "box", "--pid-file", "f", "true"];
    let more = "-u --map-users 0:1:1 --map-groups 0:1:1 --boottime 5 --persist d --ipc=f -S 0 true";
    let more: Vec<&str> = more.split(' ').collect();
    let enter = ["-t", &own, "-a", "-r", "-w", "-e", "-c", "true"];
    let join = format!("--join=net=/proc/{own}/ns/net,uts=/proc/{own}/ns/uts");
    let joins =
        [&join, "-p", "--fd=5=/etc/hostname", "--domainname", "a", "--pid-file", "f", "true"];
    let network = ["--loopback", "--ping", "-r", "true"];
    for options in [&create[..], &more, &["-t", &own, "-a", "true"], &enter, &joins, &network] {
        let mut command = Command::new("strace");
        let calls = "trace=unshare,setns,mount,umount2,move_mount,fsopen,fsmount,mount_setattr,\
            sethostname,setdomainname,socket,connect,ioctl,dup3,fork,vfork,clone,clone3,setgroups,setresuid,prctl,rename,renameat,\
            renameat2,unlink,unlinkat,execve,kill,pidfd_send_signal,rt_sigprocmask,write,openat";
        command.args(["-f", "-e", calls, "-o"]).arg(&log).current_dir(folder.path());
        run(command.arg(env!("CARGO_BIN_EXE_nsenter-lite")).arg("--dry-run").args(options))
            .silent();
        let calls = fs::read_to_string(&log).expect("strace wrote it");
        let harmless = |line: &&str| {
            line.contains("O_RDONLY")
                || line.contains("write(1, ")
                || line.contains("rt_sigprocmask(")
        };
        let calls: Vec<&str> =
            calls.lines().filter(|line| line.contains('(') && !harmless(line)).collect();
        assert!(matches!(calls.as_slice(), [start] if start.contains("execve(")), "{calls:?}");
    }
    Ok(())
}

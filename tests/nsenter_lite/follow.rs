//! What COMMAND takes over from the target beside its namespaces.

use std::fs;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use support::{Test, eventually, need_root, run, scratch};

use crate::setup::{Container, NOBODY, as_nobody, links_of, tool, with};

const MAPPED: [&str; 4] =
    ["--map-users=0:100000:1000", "--map-groups=0:200000:1000", "--setuid=5", "--setgid=6"];
const WHO: &str = "id -u; id -g; id -G; grep CapEff /proc/self/status";

pub fn the_targets_user_and_group_are_taken() -> Test {
    need_root()?;
    let container = Container::start(&MAPPED, &["sh", "-c", "read line"]);
    let pid = container.pid.to_string();
    let follow = ["-t", &pid, "-U", "-S", "follow", "-G", "follow"];
    let none = "CapEff:\t0000000000000000\n";
    assert_eq!(with(&follow, WHO).silent(), format!("5\n6\n6\n{none}"));
    assert_eq!(with(&["-t", &pid, "-U", "-S", "follow"], WHO).silent(), format!("5\n0\n0\n{none}"));
    // From outside it has other numbers.
    let outside = with(&["-t", &pid, "-u", "-S", "follow", "-G", "follow"], "id -u; id -g");
    assert_eq!(outside.silent(), "100005\n200006\n");
    let kept = with(&[&follow[..], &["--keep-caps"]].concat(), WHO).silent();
    assert!(kept.starts_with("5\n6\n6\n") && !kept.ends_with(none), "{kept}");
    let line = run(tool().args(follow).args(["--keep-caps", "--dry-run", "true"])).silent();
    let words = " --user --setgid follow --setuid follow --keep-caps true";
    assert!(line.contains(words), "{line}");
    let own = std::process::id().to_string();
    run(tool().args(["-t", &own, "-a", "--keep-caps", "true"])).silent();
    let nobody = run(tool().args(["-t", &pid, "-u", "--keep-caps", "true"]));
    nobody.fails(125, "nsenter-lite", &["no user namespace is entered", "--user"]);
    run(tool().args(["-u", "-S", "follow", "true"])).fails(
        125,
        "nsenter-lite",
        &["--setuid follow", "--target"],
    );
    Ok(())
}

/// Whose program can't be read has a folder in /proc that is root's.
pub fn who_can_not_be_traced_is_no_root() -> Test {
    need_root()?;
    let folder = scratch();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let program = folder.path().join("sleep");
    run(Command::new("cp").args(["-L", "/bin/sleep"]).arg(&program)).silent();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o111)).expect("ours");
    let command = [program.to_str().expect("UTF-8"), "60"];
    let container = Container::start(&MAPPED, &command);
    let pid = container.pid.to_string();
    eventually("it is that program", || {
        let name = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        name.starts_with(command[0].as_bytes()).then_some(())
    });
    let follow = ["-t", &pid, "-U", "-S", "follow", "-G", "follow"];
    assert_eq!(with(&follow, "id -u; id -g").silent(), "5\n6\n");
    Ok(())
}

pub fn a_socket_leads_to_its_network() -> Test {
    need_root()?;
    let made = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("we are root");
        let link = fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
        (UdpSocket::bind("0.0.0.0:0").expect("a socket"), link)
    });
    let (socket, link) = made.join().expect("it does not panic");
    let (pid, number) = (std::process::id().to_string(), socket.as_raw_fd().to_string());
    let look = "readlink /proc/self/ns/net; readlink /proc/self/ns/uts";
    let uts = links_of("self")[1].clone();
    let wanted = format!("{}\n{uts}\n", link.display());
    for options in [&["-N", &number][..], &["-a", "--net-socket", &number]] {
        assert_eq!(with(&[&["-t", &pid][..], options].concat(), look).silent(), wanted);
    }
    let script = run(tool().args(["-t", &pid, "-N", &number, "--dry-run", "true"])).silent();
    assert!(script.contains(&format!(" --net-socket {number} true")), "{script}");
    let file = fs::File::open("/dev/null").expect("it is there");
    let file = file.as_raw_fd().to_string();
    for (words, parts) in [
        (&["-N", "99999"][..], &["descriptor 99999", "(EBADF)", "ls -l"][..]),
        (&["-N", &file], &["(ENOTSOCK)", "ls -l"]),
        (&["-N", "-1"], &["-1"]),
        (&["-N", &number, "-n"], &["--net"]),
    ] {
        run(tool().args(["-t", &pid]).args(words).arg("true")).fails(125, "nsenter-lite", parts);
    }
    let (_folder, nobody) = as_nobody();
    let theirs = run(nobody().args(["-t", &pid, "-N", &number, "true"]));
    theirs.fails(125, "nsenter-lite", &["(EPERM)", "takes root"]);
    Ok(())
}

/// What it does where there is SELinux, a virtual machine shows.
pub fn a_context_needs_selinux() -> Test {
    if fs::read_to_string("/proc/filesystems").expect("proc").contains("selinuxfs") {
        return Err(support::skip("SELinux is enabled here"));
    }
    let pid = std::process::id().to_string();
    let refused = run(tool().args(["-t", &pid, "-Z", "true"]));
    refused.fails(125, "nsenter-lite", &["SELinux not enabled", "--follow-context"]);
    Ok(())
}

pub fn a_user_namespace_is_its_owners() -> Test {
    need_root()?;
    let owner = format!("--owner={NOBODY}:{NOBODY}");
    let maps = ["--map-users=0:100000:1000", "--map-groups=0:100000:1000", "-S0", "-G0", "-u"];
    let (_folder, nobody) = as_nobody();
    for (owner, status) in [(Some(&*owner), 0), (None, 125)] {
        let options: Vec<&str> = owner.into_iter().chain(maps).collect();
        let container = Container::start(&options, &["sh", "-c", "read line"]);
        let pid = container.pid.to_string();
        // The PID is known a moment before it is somebody there.
        eventually("it is root there", || {
            let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).ok()?;
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            (map.contains("100000") && status.contains("Uid:\t100000")).then_some(())
        });
        let entered =
            run(nobody().args(["-t", &pid, "-U", "-u", "sh", "-c", "id -u; hostname box"]));
        assert_eq!(entered.status, status, "{entered:?}");
        assert!(status != 0 || entered.stdout == "0\n", "{entered:?}");
    }
    let look = "id -u; cat /proc/self/uid_map; grep CapEff /proc/self/status; exit 3";
    for options in [&["-r"][..], &["-m"], &maps] {
        let words = [&[&*owner][..], options, &["sh", "-c", look]].concat();
        let ours = run(tool().args(&words));
        assert_eq!(ours.status, 3, "{ours:?}");
        let script = run(tool().arg("--dry-run").args(&words)).silent();
        assert_eq!(run(Command::new("sh").args(["-c", &script])), ours, "{script}");
    }
    // They are kept by root, though made by that user.
    let folder = scratch();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let keep = folder.path().join("keep");
    let keep = keep.to_str().expect("UTF-8");
    let words = [&[&*owner][..], &maps, &["--hostname=box", "--persist", keep, "true"]].concat();
    run(tool().args(&words)).silent();
    assert_eq!(run(nobody().args(["-t", keep, "-a", "hostname"])).silent(), "box\n");
    run(Command::new("umount").args(["-R", keep])).silent();
    let script = run(tool().arg("--dry-run").args(&words));
    script.fails(125, "nsenter-lite", &["write a script of this", "--owner"]);
    let theirs = run(nobody().args(["--owner", "1:1", "true"]));
    theirs.fails(125, "nsenter-lite", &["(EPERM)", "takes root"]);
    Ok(())
}

pub fn no_variables_are_handed_on() -> Test {
    let own = std::process::id().to_string();
    // The shell sets some, env(1) none.
    for options in [&["--fork"][..], &["-t", &own, "-w"]] {
        let mut words = options.to_vec();
        words.extend(["--clear-env", "env"]);
        assert_eq!(run(tool().args(&words)).silent(), "", "{words:?}");
        let script = run(tool().arg("--dry-run").args(&words)).silent();
        assert_eq!(run(Command::new("sh").args(["-c", &script])).silent(), "", "{script}");
    }
    Ok(())
}

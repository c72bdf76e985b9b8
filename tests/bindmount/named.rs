//! What is named one by one, beside --std or without it.

use std::os::unix::fs::symlink;
use std::path::Path;

use support::{Test, alpine, need_program, scratch};

use super::{COUNT, bare_root, fingerprint, in_folder};

pub fn root_makes_what_is_named_and_no_more() -> Test {
    let root = bare_root()?;
    let before = fingerprint(root.path());
    let targets = "sed 's/ - / /' /proc/self/mountinfo | grep -F \" $1/\" | cut -d ' ' -f 5 |
        sed \"s|$1||\" | grep -E '^/[a-z]+(/(pts|shm|mqueue|resolv.conf))?$' | sort | tr '\\n' ' '";
    for (args, seen) in [
        ("--proc", "/proc "),
        ("--dev", "/dev /dev/pts /dev/shm "),
        ("--sys", "/sys "),
        ("--dev --mqueue", "/dev /dev/mqueue /dev/pts /dev/shm "),
        ("--tmpfs etc --proc=plain", "/etc /proc "),
        ("--bind /etc:/sys:ro --tmpfs dev", "/dev /sys "),
        ("--resolv-conf --mkdir", "/etc/resolv.conf "),
    ] {
        let script = format!("$B --root . {args}; {targets}");
        assert_eq!(in_folder(root.path(), &script).silent(), seen, "{args}");
        if args.contains("--mkdir") {
            std::fs::remove_file(root.path().join("etc/resolv.conf")).expect("it was made");
        }
    }
    let names = |text: &str| {
        text.lines().map(|line| line.split(' ').next().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(names(&fingerprint(root.path())), names(&before));
    let nothing = in_folder(root.path(), "$B --root .");
    nothing.fails(2, "bindmount", &["nothing is named", "--std mounts all"]);
    Ok(())
}

pub fn memory_is_as_large_and_as_open_as_asked_for() -> Test {
    let root = bare_root()?;
    let script = "$B --root . --tmpfs dev --tmpfs /sys:size=1M,mode=1777,noexec,ro
        stat -c %a dev sys; grep -F \" $1/\" /proc/self/mountinfo | sed \"s|.* $1||\"
        head -c 2M /dev/zero >dev/x && rm dev/x
        mount -o remount,bind,rw sys; head -c 2M /dev/zero 2>&1 >sys/x || true";
    let seen = in_folder(root.path(), script).silent();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[..2], ["755", "1777"], "{seen}");
    assert!(lines[2].starts_with("/dev rw,nosuid,nodev,relatime"), "{seen}");
    assert!(lines[3].starts_with("/sys ro,nosuid,nodev,noexec,relatime"), "{seen}");
    assert!(lines[4].contains("No space left on device"), "{seen}");
    for (args, parts) in [
        ("--tmpfs /none", &["mount point", "(ENOENT)", "add --mkdir"][..]),
        ("--tmpfs dev --tmpfs none", &["mount point", "(ENOENT)"]),
        ("--tmpfs link", &["(ELOOP)", "a symbolic link is on the way"]),
    ] {
        let victim = scratch();
        let link = root.path().join("link");
        symlink(victim.path(), &link).expect("our own folder");
        let ran = in_folder(root.path(), &format!("$B --root . {args} || s=$?; {COUNT}; exit $s"));
        assert_eq!((ran.status, ran.stdout.as_str()), (1, "0\n"), "{args}: {}", ran.stderr);
        assert!(parts.iter().all(|part| ran.stderr.contains(part)), "{args}: {}", ran.stderr);
        std::fs::remove_file(link).expect("it was made above");
    }
    Ok(())
}

pub fn servers_can_be_named() -> Test {
    let root = bare_root()?;
    let wanted = "nameserver 192.0.2.1\nnameserver 2001:db8::1\n";
    for how in ["--std .", "--root ."] {
        let script = format!("$B {how} --dns 192.0.2.1 --dns 2001:db8::1; cat etc/resolv.conf");
        assert_eq!(in_folder(root.path(), &script).silent(), wanted, "{how}");
    }
    Ok(())
}

/// The stub of systemd-resolved is asked where it is heard, or another service that listens at all
/// addresses, as dnsmasq does; else its servers are.
pub fn a_service_of_the_machine_is_named_where_it_is_heard() -> Test {
    let root = bare_root()?;
    need_program("ip")?;
    need_program("unshare")?;
    need_program("perl")?;
    let stub = "mount -t tmpfs t /run; mkdir -p /run/systemd/resolve
        echo 'nameserver 192.0.2.53' >/run/systemd/resolve/resolv.conf
        echo 'nameserver 127.0.0.53' >stub; mount --bind stub /etc/resolv.conf";
    let script = |listen: &str, end: &str| {
        let script = format!("{stub}\n{listen}\n\"$B\" --std .; cat etc/resolv.conf; {end}\n");
        std::fs::write(root.path().join("script"), script).expect("our own folder");
        in_folder(root.path(), "export B; unshare --net sh -e ./script").silent()
    };
    assert_eq!(script("", ""), "nameserver 192.0.2.53\n");
    for (family, address, seen) in [
        ("PF_INET", r#"sockaddr_in(53, inet_aton("127.0.0.53"))"#, "127.0.0.53"),
        ("PF_INET", "sockaddr_in(53, INADDR_ANY)", "127.0.0.53"),
        ("PF_INET6", "sockaddr_in6(53, IN6ADDR_ANY)", "127.0.0.53"),
        ("PF_INET", r#"sockaddr_in(53, inet_aton("127.0.0.54"))"#, "192.0.2.53"),
        ("PF_INET", "sockaddr_in(54, INADDR_ANY)", "192.0.2.53"),
        ("PF_INET6", "sockaddr_in6(53, IN6ADDR_LOOPBACK)", "192.0.2.53"),
    ] {
        if family == "PF_INET6" && !Path::new("/proc/self/net/udp6").exists() {
            continue;
        }
        let listen = format!(
            ": >up; ip link set lo up
            perl -MSocket=:all -e 'socket(S, {family}, SOCK_DGRAM, 0) or die; bind(S, {address}) or die;
                $| = 1; print \"up\\n\"; sleep 60' >up & listener=$!
            until grep -q up up; do sleep 0.01; done"
        );
        let wanted = format!("nameserver {seen}\n");
        assert_eq!(script(&listen, "kill $listener"), wanted, "{address}");
    }
    Ok(())
}

pub fn their_scripts_do_the_same() -> Test {
    let root = alpine()?;
    for args in [
        "--root . --dev --proc --sys --mqueue",
        "--root . --tmpfs /tmp:mode=1777,size=1M --tmpfs /run --bind /etc:/mnt:ro",
        "--std . --dns 192.0.2.1 --mqueue",
        "--root . --resolv-conf",
    ] {
        super::script::same_tables(root.path(), args);
    }
    Ok(())
}

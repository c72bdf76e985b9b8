//! The lists against the kernel's own, of machines other than this one: linux-raw-sys, a crate that
//! tempfile needs, has them all as text.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use super::*;

fn source(machine: &str) -> BTreeMap<String, c_long> {
    // Crates for other machines alone need not have been downloaded.
    let here = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &here])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo runs");
    let metadata = String::from_utf8_lossy(&metadata.stdout).into_owned();
    let mut paths =
        metadata.split("\"manifest_path\":\"").filter_map(|part| part.split('"').next());
    let manifest = paths.find(|path| path.contains("/linux-raw-sys-")).expect("it is in the lock");
    let path = manifest.replace("Cargo.toml", &format!("src/{machine}/general.rs"));
    let text = fs::read_to_string(path).expect("the crate's source");
    let lines = text.lines().filter_map(|line| line.strip_prefix("pub const __NR_"));
    let pair = |line: &str| {
        let (name, value) = line.split_once(": u32 = ")?;
        Some((name.to_owned(), value.trim_end_matches(';').parse().ok()?))
    };
    let found: BTreeMap<String, c_long> = lines.filter_map(pair).collect();
    assert!(found.len() > 250, "{machine}: {}", found.len());
    found
}

/// The text of the lists, of one `pub const` each.
fn list(name: &str) -> &'static str {
    let text = include_str!("../calls.rs");
    let start = text.split(name).nth(1).expect("the list is there");
    start.split("\n];").next().expect("it has an end")
}

/// What is named in it: SYS_name, and `12, // name`.
fn named(text: &str) -> (Vec<&str>, Vec<(c_long, &str)>) {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let numbered = text.lines().filter_map(|line| {
        let (number, name) = line.trim().split_once(',')?;
        Some((number.parse().ok()?, name.trim().strip_prefix("// ")?))
    });
    (words.filter_map(|word| word.strip_prefix("SYS_")).collect(), numbered.collect())
}

#[test]
fn the_numbers_are_the_kernels() {
    let with = list("pub const WITH").split("#[cfg").next().expect("a text");
    let (x86, arm) = ("pub const OF_THIS_MACHINE", "#[cfg(target_arch = \"aarch64\")]");
    for (machine, own) in [("x86_64", list(x86)), ("aarch64", list(arm))] {
        let kernel = source(machine);
        for text in [list("pub const ALLOWED"), list("pub const NEW"), with, own] {
            let (names, numbers) = named(text);
            assert!(names.len() + numbers.len() > 4, "{machine}");
            for name in names {
                assert!(kernel.contains_key(name), "{machine} has no {name}");
            }
            for (number, name) in numbers {
                assert_eq!(kernel.get(name), Some(&number), "{machine}: {name}");
            }
        }
    }
    let ours = source(std::env::consts::ARCH);
    let newest = ours.values().filter(|number| **number < 1000).max();
    assert!(newest.is_some_and(|newest| *newest <= LAST), "{newest:?} is not looked at");
}

/// A 32-bit program may do what a 64-bit one may, by whatever names.
#[cfg(target_arch = "x86_64")]
#[test]
fn programs_of_32_bits_may_do_the_same() {
    use crate::calls32;
    let (theirs, ours) = (source("x86"), source("x86_64"));
    let may = [ALLOWED, OF_THIS_MACHINE, NEW].concat();
    let looked_at = [SYS_socket, SYS_personality, SYS_ioctl, SYS_clone, SYS_clone3];
    let others = [
        ("_llseek", "lseek"),
        ("_newselect", "select"),
        ("mmap2", "mmap"),
        ("waitpid", "wait4"),
        ("ugetrlimit", "getrlimit"),
        ("fstatat64", "newfstatat"),
        ("umount", "umount2"),
        ("stime", "settimeofday"),
        ("fadvise64_64", "fadvise64"),
        ("sigprocmask", "rt_sigprocmask"),
        ("sigreturn", "rt_sigreturn"),
        ("oldstat", "stat"),
        ("oldfstat", "fstat"),
        ("oldlstat", "lstat"),
        ("nice", "setpriority"),
        ("signal", "rt_sigaction"),
        ("sigaction", "rt_sigaction"),
        ("sgetmask", "rt_sigprocmask"),
        ("ssetmask", "rt_sigprocmask"),
        ("sigsuspend", "rt_sigsuspend"),
        ("sigpending", "rt_sigpending"),
        ("readdir", "getdents"),
        ("olduname", "uname"),
        ("oldolduname", "uname"),
        ("socketcall", "sendto"),
        ("ipc", "semop"),
    ];
    // Numbers that a 64-bit kernel answers ENOSYS to.
    let gone = [
        "break",
        "stty",
        "gtty",
        "ftime",
        "prof",
        "lock",
        "mpx",
        "ulimit",
        "profil",
        "idle",
        "vm86old",
        "vm86",
        "create_module",
        "get_kernel_syms",
        "query_module",
        "afs_syscall",
        "_sysctl",
        "nfsservctl",
        "getpmsg",
        "putpmsg",
        "vserver",
    ];
    for (name, number32) in theirs.iter().filter(|(_, number)| **number < calls32::SAME_FROM) {
        let other = others.iter().find(|(other, _)| other == name).map(|(_, name)| *name);
        let shorter = ["_time64", "64", "32"].iter().find_map(|end| name.strip_suffix(end));
        let mut name64 = [other, Some(name.as_str()), shorter].into_iter().flatten();
        let number64 = name64.find_map(|name| ours.get(name));
        let caps = |with: &[(&'static str, &[c_long])], call: c_long| -> Vec<&str> {
            let named = with.iter().filter(|(_, calls)| calls.contains(&call));
            named.map(|(cap, _)| *cap).collect()
        };
        let refused = calls32::REFUSED.contains(number32);
        match number64 {
            Some(_) if gone.contains(&name.as_str()) => {}
            Some(call) if may.contains(call) || looked_at.contains(call) => {
                assert!(!refused, "{name}");
                let gated = *call == SYS_clone;
                assert_eq!(caps(calls32::WITH, *number32).is_empty(), !gated, "{name}");
            }
            Some(call) => {
                assert_eq!(caps(calls32::WITH, *number32), caps(WITH, *call), "{name}");
                assert_eq!(refused, caps(WITH, *call).is_empty(), "{name}");
            }
            None => assert!(refused || gone.contains(&name.as_str()), "{name} is nobody's"),
        }
    }
    for (name, number) in [
        ("socket", calls32::SOCKET),
        ("personality", calls32::PERSONALITY),
        ("ioctl", calls32::IOCTL),
        ("clone", calls32::CLONE),
    ] {
        assert_eq!(theirs[name], number, "{name}");
    }
    let same = theirs.iter().filter(|(_, number)| **number >= calls32::SAME_FROM);
    assert!(
        same.clone().count() > 30 && same.into_iter().all(|(name, number)| ours[name] == *number)
    );
}

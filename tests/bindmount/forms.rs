//! Every form that mounts into a root file system, and every name in it that may be a link to
//! outside: E4 to E8 of the list that container engines have taught (CVE-2019-19921, 2025-31133,
//! 2025-52565, 2026-41579 and their kin), for bindmount alone.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use support::{Ran, TempDir, Test, need_root, private_sh, run, scratch};

use super::{BINDMOUNT, fingerprint, target::Contained};

/// Its options, the names that are planted, and what is written to where it has worked.
struct Form(&'static str, &'static [&'static str], &'static str);

/// What is in a root's dev is hidden by the mount on it: CVE-2025-31133, 2025-52565.
const IN_DEV: &[&str] = &["dev", "dev/null", "dev/console", "dev/pts", "dev/pts/0", "dev/shm"];
/// CVE-2019-19921, 2025-52881: what looks like proc.
const IN_PROC: &[&str] = &["proc", "proc/sys", "proc/keys", "proc/self"];
const IN_AB: &[&str] = &["a", "a/b"];

const FORMS: [Form; 20] = [
    Form("--root root --dev", IN_DEV, "dev/null"),
    Form("--root root --dev=machine", IN_DEV, "dev/null"),
    Form("--root root --proc", IN_PROC, "proc/keys"),
    Form("--root root --proc=plain", IN_PROC, "proc/none"),
    Form("--root root --sys", &["sys", "sys/firmware"], "sys/none"),
    Form("--root root --resolv-conf", &["etc", "etc/resolv.conf"], "etc/resolv.conf"),
    Form("--root root --dns 192.0.2.1", &["etc", "etc/resolv.conf"], "etc/resolv.conf"),
    Form("--root root --mqueue", &["dev", "dev/mqueue"], "dev/mqueue/probe"),
    Form("--root root --dev --mqueue", &["dev", "dev/mqueue"], "dev/mqueue/probe"),
    Form("--root root --tmpfs /a/b", IN_AB, "a/b/probe"),
    Form("--root root src:/a/b", IN_AB, "a/b/probe"),
    Form("--root root --bind src/file:/a/file:ro", &["a", "a/file"], "a/file"),
    Form("--root root --overlay src:upper:work:/a/b", IN_AB, "a/b/probe"),
    Form("--root root --overlay root:upper:work --bind src:/a/b", IN_AB, "a/b/probe"),
    Form("--root root --overlay src,root:: --tmpfs /a/b", IN_AB, "a/b/probe"),
    Form("--std root --overlay root:upper:work", &["dev", "proc", "sys", "etc"], "dev/null"),
    Form("--std root", &["dev", "proc", "sys", "etc", "etc/resolv.conf"], "etc/resolv.conf"),
    Form("--std root", &["dev/null", "dev/pts/0", "proc/keys"], "proc/keys"),
    Form("--std root --bind src:/a/b", IN_AB, "a/b/probe"),
    Form("--std root --mqueue --tmpfs /a/b --dns 192.0.2.1", IN_AB, "a/b/probe"),
];

/// All that a name in a root may lead to, if it leads outside.
const NAMES: [&str; 8] = ["b", "pts", "shm", "mqueue", "sys", "firmware", "x", "src"];

/// `root/`, where everything has something to be mounted on, and `src/`, `upper/`, `work/`.
fn ground() -> TempDir {
    let folder = scratch();
    for dir in ["sys/firmware", "etc", "a/b", "dev/pts", "dev/shm", "dev/mqueue", "proc/sys"] {
        fs::create_dir_all(folder.path().join("root").join(dir)).expect("our own folder");
    }
    for file in ["etc/resolv.conf", "a/file", "dev/null", "proc/keys"] {
        fs::write(folder.path().join("root").join(file), "").expect("our own folder");
    }
    for dir in ["src", "upper", "work"] {
        fs::create_dir(folder.path().join(dir)).expect("our own folder");
    }
    fs::write(folder.path().join("src/file"), "").expect("our own folder");
    folder
}

/// Something outside that whoever is led there finds all names in.
fn victim() -> TempDir {
    let victim = scratch();
    for dir in NAMES {
        fs::create_dir(victim.path().join(dir)).expect("our own folder");
    }
    for file in ["file", "null", "keys", "resolv.conf", "0"] {
        fs::write(victim.path().join(file), "precious\n").expect("our own folder");
    }
    victim
}

/// Puts a link where something else is.
fn plant(at: &Path, to: &Path) {
    let _ = fs::remove_file(at).or_else(|_| fs::remove_dir_all(at));
    symlink(to, at).expect("its folder is there");
}

/// The ways outside.
fn ways(victim: &Path) -> [PathBuf; 7] {
    let out = victim.strip_prefix("/").expect("an absolute path");
    [
        victim.into(),
        victim.join("file"),
        victim.join("none"),
        Path::new("../../../../../../../..").join(out),
        Path::new("/proc/self/root").join(out),
        Path::new("/proc/self/cwd").join("../../../../../..").join(out),
        "chain".into(),
    ]
}

/// Runs it from the folder; prints each new mount's place. What has worked is then written to.
fn mounts(folder: &Path, line: &str, probe: &str) -> Ran {
    let script = format!(
        "B={BINDMOUNT}; cd \"$1\"; old=$(cut -d' ' -f1 /proc/self/mountinfo); s=0; {line} || s=$?
        cut -d' ' -f1,5 /proc/self/mountinfo | while read -r n at; do
            case \" \"$(echo $old)\" \" in *\" $n \"*) ;; *) echo \"$at\";; esac; done
        [ $s != 0 ] || (echo probe >root/{probe}) 2>/dev/null || :; exit $s"
    );
    run(private_sh(&script).arg(folder))
}

/// It works inside, or fails and leaves nothing.
fn is_contained(ran: &Ran, folder: &Path, what: &str) {
    let inside = |place: &str| Path::new(place).starts_with(folder.join("root"));
    assert!(ran.stdout.lines().all(inside), "{what}: {ran:?}");
    if ran.status != 0 {
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{what}: {ran:?}");
    }
}

/// Names and links, where nothing was to be made.
fn names(folder: &Path) -> String {
    run(support::sh("cd \"$1\"; find . ! -path './w*' -printf '%p %y %l\\n' | sort").arg(folder))
        .silent()
}

pub fn no_link_leads_any_form_outside() -> Test {
    need_root()?;
    let victim = victim();
    let before = (fingerprint(victim.path()), fs::read("/etc/resolv.conf").ok());
    let (mut worked, mut refused) = (0, 0);
    for Form(args, plants, probe) in FORMS {
        for plant_at in plants {
            for way in ways(victim.path()) {
                let folder = ground();
                let at = folder.path().join("root").join(plant_at);
                plant(&at.with_file_name("chain"), victim.path());
                plant(&at, &way);
                let was = names(folder.path());
                for mkdir in ["", "--mkdir"] {
                    let what = format!("{mkdir} {args}: {plant_at} -> {}", way.display());
                    let ran = mounts(folder.path(), &format!("$B {mkdir} {args}"), probe);
                    is_contained(&ran, folder.path(), &what);
                    assert!(
                        before == (fingerprint(victim.path()), fs::read("/etc/resolv.conf").ok()),
                        "{what}: {ran:?}"
                    );
                    if ran.status == 0 {
                        worked += 1;
                        continue;
                    }
                    refused += 1;
                    assert!(ran.stderr.starts_with("bindmount: "), "{what}: {ran:?}");
                    assert_eq!(names(folder.path()), was, "{what}: {ran:?}");
                }
            }
        }
    }
    // Only what is in a folder that a mount hides does no harm; the rest is refused.
    assert!(worked > 100 && refused > 300, "{worked} worked, {refused} refused");
    Ok(())
}

/// Without a root the machine's own links are followed, as mount(8) does: so a test like the above
/// sees what is led outside.
pub fn a_place_of_the_machines_is_followed() -> Test {
    need_root()?;
    let (folder, victim) = (ground(), victim());
    plant(&folder.path().join("root/a"), victim.path());
    let ran = mounts(folder.path(), "$B src root/a/b", "a/b/probe");
    assert_eq!(ran.silent(), format!("{}\n", victim.path().join("b").display()));
    assert!(folder.path().join("src/probe").exists());
    Ok(())
}

/// The mounts of a process that runs already, and what is taken away of them.
pub fn no_link_leads_a_running_container_outside() -> Test {
    let (root, victim, source) = (super::alpine()?, victim(), scratch());
    let before = fingerprint(victim.path());
    let contained = Contained::start(root.path());
    let pid = contained.pid();
    let table = || {
        let table = "nsenter --target \"$1\" --mount cut -d' ' -f1,5 /proc/self/mountinfo";
        run(support::sh(table).arg(&pid)).silent()
    };
    let cover = "nsenter --target \"$1\" --mount mount -t tmpfs precious \"$2\"";
    run(support::sh(cover).arg(&pid).arg(victim.path().join("b"))).silent();
    let was = table();
    let src = source.path().display().to_string();
    for at in ["a", "a/b"] {
        for way in ways(victim.path()) {
            let top = root.path().join("a");
            let _ = fs::remove_file(&top).or_else(|_| fs::remove_dir_all(&top));
            if at == "a/b" {
                fs::create_dir(&top).expect("our own folder");
            }
            let planted = root.path().join(at);
            plant(&planted.with_file_name("chain"), victim.path());
            plant(&planted, &way);
            for args in [&[src.as_str(), "/a/b"][..], &["--mkdir", &src, "/a/b"], &["-u", "a/b"]] {
                let ran = contained.bindmount(args);
                let what = format!("{args:?}: {at} -> {}: {ran:?}", way.display());
                assert!(ran.status == 1 && ran.stderr.starts_with("bindmount: "), "{what}");
                assert_eq!(table(), was, "{what}");
                assert_eq!(fingerprint(victim.path()), before, "{what}");
            }
        }
    }
    Ok(())
}

/// A script has only names: where it would be led outside, none is written.
pub fn no_link_leads_any_script_outside() -> Test {
    need_root()?;
    let victim = victim();
    let before = fingerprint(victim.path());
    for Form(args, plants, probe) in FORMS {
        for plant_at in plants {
            for way in ways(victim.path()).into_iter().take(2) {
                let folder = ground();
                plant(&folder.path().join("root").join(plant_at), &way);
                let line = format!("{{ $B --mkdir -n {args} >script && sh script; }}");
                let ran = mounts(folder.path(), &line, probe);
                let what = format!("{args}: {plant_at} -> {}", way.display());
                is_contained(&ran, folder.path(), &what);
                assert_eq!(fingerprint(victim.path()), before, "{what}: {ran:?}");
            }
        }
    }
    Ok(())
}

//! `fetch-rootfs host DIR`: a root of this machine's own programs, entered and used.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::elf;
use support::{Test, need_program, need_root, private_sh, run, scratch, sh};

support::tests!(
    every_program_finds_its_libraries_inside,
    the_shell_and_its_friends_work_inside,
    both_spellings_of_a_path_work_inside,
    named_programs_come_alone_with_a_shell,
    a_program_that_is_not_there_is_wrong_usage,
    headers_that_lie_are_told,
    a_lost_library_is_named,
    libraries_beside_a_program_come_along,
    a_program_of_musl_runs_inside,
    no_program_is_run_to_find_its_libraries,
    the_dry_run_makes_the_same_tree,
    the_umask_changes_nothing,
    a_user_makes_the_same_tree,
    a_program_that_may_not_be_read_is_named,
);

const NOBODY: u32 = 65534;

fn fetch_rootfs() -> Command {
    Command::new(env!("CARGO_BIN_EXE_fetch-rootfs"))
}

/// Makes a root in the folder.
#[track_caller]
fn make(source: &str, folder: &Path) -> PathBuf {
    let root = folder.join("rootfs");
    let printed = run(fetch_rootfs().arg(source).arg(&root)).silent();
    assert_eq!(printed, format!("{}\n", root.display()));
    root
}

/// Everything in a root but the times of folders and of files that were written for it.
#[track_caller]
fn listing(root: &Path, owners: bool) -> String {
    let owner = if owners { "%U:%G" } else { "" };
    let script = format!(
        r"cd $1; find . -type f -printf '%P %y %m %n {owner} %s\n' -o -printf '%P %y %m {owner} %l\n' | sort
        find usr -type f -printf '%P %T@\n' | sort; find . -type f -exec cksum {{}} + | sort"
    );
    run(sh(script).arg(root)).silent()
}

/// A failed run leaves nothing of the root, nor of what it was made in.
#[track_caller]
fn fails_without_a_trace(source: &str, status: i32, parts: &[&str]) {
    let folder = scratch();
    let root = folder.path().join("rootfs");
    run(fetch_rootfs().arg(source).arg(root)).fails(status, "fetch-rootfs", parts);
    assert_eq!(fs::read_dir(folder.path()).expect("our folder").count(), 0);
}

fn every_program_finds_its_libraries_inside() -> Test {
    need_root()?;
    let folder = scratch();
    let root = make("host", folder.path());
    let found = run(sh("cd $1; find . -type f -size +4").arg(&root)).silent();
    let mut listed = 0;
    for program in found.lines() {
        let file = File::open(root.join(program)).expect("root may read it");
        let Some(elf) = elf::read(&file).expect("a good file") else { continue };
        let Some(loader) = elf.interpreter else { continue };
        let inside = Path::new("/").join(program);
        // It loads the program and its libraries, and does not start it.
        run(Command::new("chroot").arg(&root).arg(loader).arg("--list").arg(inside)).silent();
        listed += 1;
    }
    assert!(listed > 20, "only {listed} programs");
    Ok(())
}

fn the_shell_and_its_friends_work_inside() -> Test {
    need_root()?;
    let folder = scratch();
    let root = make("host", folder.path());
    let script = r#"
        mount -t proc proc "$1/proc"
        exec env -i PATH=/usr/bin:/bin:/usr/sbin chroot "$1" sh -e -c '
            echo hi | grep hi
            echo /*
            cat /etc/passwd | head -n 1
            id -un
            ls -l /etc/passwd | awk "{ print \$1, \$3, \$4 }"
            test "$(ps -ef | grep -c "ps -ef")" -ge 1 && echo ps
            dd if=/etc/group bs=4 count=1 status=none | tail -c 4; echo
            sleep 0.01 & kill $! && echo killed
            for i in b a; do echo $i; done | sort | tr a-z A-Z
            findmnt -n -o FSTYPE /proc
            mktemp -u /tmp/XXX | cut -c 1-5
            stat -c "%a %U" / /tmp /root /etc
            setpriv --reuid nobody --clear-groups id -un
        '
    "#;
    let printed = run(private_sh(script).arg(&root)).silent();
    let lines: Vec<&str> = printed.lines().collect();
    let tops = ["/bin", "/dev", "/etc", "/lib", "/proc", "/root", "/sys", "/tmp", "/usr", "/var"];
    assert!(tops.iter().all(|top| lines[1].split(' ').any(|found| found == *top)), "{printed}");
    let after_tops = "root:x:0:0:root:/root:/bin/sh\nroot\n-rw-r--r-- root root\nps\nroot\nkilled\n\
                      A\nB\nproc\n/tmp/\n755 root\n1777 root\n700 root\n755 root\nnobody";
    assert_eq!((lines[0], lines[2..].join("\n").as_str()), ("hi", after_tops));
    Ok(())
}

fn both_spellings_of_a_path_work_inside() -> Test {
    need_root()?;
    let folder = scratch();
    let root = make("host:awk,ls", folder.path());
    for name in ["/bin", "/lib", "/lib64", "/sbin"] {
        let link = |path: &Path| fs::read_link(path).ok();
        assert_eq!(link(Path::new(name)), link(&root.join(&name[1..])), "{name}");
    }
    for name in ["sh", "ls", "awk"] {
        for path in ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(name)) {
            let inside = run(Command::new("chroot").arg(&root).arg("/bin/ls").arg(&path)).status;
            assert_eq!(inside == 0, path.exists(), "{path:?}");
        }
    }
    Ok(())
}

fn named_programs_come_alone_with_a_shell() -> Test {
    let folder = scratch();
    let root = make("host:cat,/bin/ls", folder.path());
    for (name, is_there) in [("cat", true), ("ls", true), ("sh", true), ("tar", false)] {
        let there = ["bin", "usr/bin"].iter().any(|dir| root.join(dir).join(name).exists());
        assert_eq!(there, is_there, "{name}");
    }
    assert!(root.join("etc/passwd").is_file() && root.join("proc").is_dir());
    Ok(())
}

fn a_program_that_is_not_there_is_wrong_usage() -> Test {
    let folder = scratch();
    let plain = folder.path().join("plain");
    fs::write(&plain, "#!/bin/sh\n").expect("a file");
    let plain = format!("host:{}", plain.display());
    for (source, part) in [
        ("host:nonesuch", "\"nonesuch\""),
        ("host:cat,nonesuch", "\"nonesuch\""),
        ("host:/no/such/program", "(ENOENT)"),
        ("host:bin/ls", "relative"),
        (plain.as_str(), "not an executable file"),
        ("host:/etc", "not an executable file"),
    ] {
        fails_without_a_trace(source, 2, &[part]);
    }
    Ok(())
}

fn headers_that_lie_are_told() -> Test {
    let folder = scratch();
    let program = folder.path().join("liar");
    let good = fs::read("/bin/ls").expect("a program");
    let far = [0xff; 8];
    let mut phoff = good.clone();
    phoff[32..40].copy_from_slice(&far);
    let short = good[..0x100].to_vec();
    let mut endless = b"#!".to_vec();
    endless.extend(program.as_os_str().as_encoded_bytes());
    for (bytes, status) in [(phoff, 1), (short, 1), (endless, 0)] {
        fs::write(&program, bytes).expect("a file");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("our file");
        let source = format!("host:{}", program.display());
        if status == 1 {
            fails_without_a_trace(&source, 1, &["read the ELF headers of", "liar"]);
        } else {
            make(&source, scratch().path());
        }
    }
    Ok(())
}

/// A program with a library of its own, found by `$ORIGIN` or by a link to it.
fn build(compiler: &str, folder: &Path) -> PathBuf {
    let script = r#"
        cd "$2"; mkdir bin lib; ln -s libanswer.so.1 lib/libanswer.so
        echo 'int answer(void) { return 42; }' >answer.c
        echo 'int answer(void); int main(void) { return answer(); }' >main.c
        $1 -shared -fPIC -Wl,-soname,libanswer.so -o lib/libanswer.so.1 answer.c
        $1 -o bin/ask main.c -Llib -lanswer -Wl,-rpath,'$ORIGIN/../lib'
    "#;
    run(sh(script).arg(compiler).arg(folder)).silent();
    folder.join("bin/ask")
}

/// Loaders learn what `$ORIGIN` is from /proc/self/exe.
fn status_inside(root: &Path, program: &Path) -> i32 {
    let script = r#"mount -t proc proc "$1/proc"; exec chroot "$1" "$2""#;
    run(private_sh(script).arg(root).arg(program)).status
}

fn libraries_beside_a_program_come_along() -> Test {
    need_root()?;
    need_program("gcc")?;
    let (folder, made) = (scratch(), scratch());
    let program = build("gcc", folder.path());
    let root = make(&format!("host:{}", program.display()), made.path());
    assert_eq!(status_inside(&root, &program), 42);
    let library = folder.path().join("lib/libanswer.so");
    let copied = root.join(library.strip_prefix("/").expect("an absolute path"));
    assert_eq!(fs::read_link(copied).expect("a link"), Path::new("libanswer.so.1"));
    Ok(())
}

fn a_lost_library_is_named() -> Test {
    need_program("gcc")?;
    let folder = scratch();
    let program = build("gcc", folder.path());
    fs::remove_file(folder.path().join("lib/libanswer.so.1")).expect("it was built");
    let (source, name) = (format!("host:{}", program.display()), format!("{program:?}"));
    fails_without_a_trace(&source, 1, &["\"libanswer.so\"", &name]);
    // What would be a library blocks whoever opens it, or is one for nobody.
    let script = "cd $1/lib; rm libanswer.so; mkfifo libanswer.so";
    run(sh(script).arg(folder.path())).silent();
    fails_without_a_trace(&source, 1, &["\"libanswer.so\"", &name]);
    let script = "cd $1/lib; rm libanswer.so; echo INPUT -lc >libanswer.so";
    run(sh(script).arg(folder.path())).silent();
    fails_without_a_trace(&source, 1, &["\"libanswer.so\"", &name]);
    Ok(())
}

fn a_program_of_musl_runs_inside() -> Test {
    need_root()?;
    need_program("musl-gcc")?;
    let (folder, made) = (scratch(), scratch());
    let program = build("musl-gcc", folder.path());
    let root = make(&format!("host:{}", program.display()), made.path());
    assert_eq!(status_inside(&root, &program), 42);
    Ok(())
}

fn no_program_is_run_to_find_its_libraries() -> Test {
    let strace = need_program("strace")?;
    let folder = scratch();
    let root = folder.path().join("rootfs");
    let calls = "execve,execveat,fork,vfork,mkdir,mkdirat,symlink,symlinkat,link,linkat,rename,\
                 renameat,renameat2,unlink,unlinkat,chmod,fchmod,fchmodat,utimensat,mknodat,mount";
    let mut traced = Command::new(strace);
    traced.args(["-f", "-qq", "-e"]).arg(format!("trace={calls}"));
    traced.arg(env!("CARGO_BIN_EXE_fetch-rootfs")).args(["-n", "host"]).arg(&root);
    let traced = run(&mut traced);
    assert_eq!((traced.status, traced.stderr.lines().count()), (0, 1), "{}", traced.stderr);
    assert!(traced.stderr.starts_with("execve(") && !root.exists());
    Ok(())
}

fn the_dry_run_makes_the_same_tree() -> Test {
    let (folder, by_script) = (scratch(), scratch());
    let root = make("host", folder.path());
    let same = by_script.path().join("rootfs");
    let script = run(fetch_rootfs().args(["-n", "host"]).arg(&same)).silent();
    assert!(!same.exists());
    run(&mut sh(format!("umask 077\n{script}"))).ok();
    assert_eq!(listing(&root, true), listing(&same, true));
    Ok(())
}

fn the_umask_changes_nothing() -> Test {
    let (folder, other) = (scratch(), scratch());
    let root = make("host:ls", folder.path());
    let narrow = other.path().join("rootfs");
    let script = "umask 077; exec \"$@\"";
    let tool = env!("CARGO_BIN_EXE_fetch-rootfs");
    run(sh(script).args([tool, "host:ls"]).arg(&narrow)).ok();
    let mode = fs::metadata(&root).expect("it was made").permissions().mode();
    assert_eq!(mode & 0o7777, 0o755, "all who are in it pass through its top");
    assert_eq!(listing(&root, true), listing(&narrow, true));
    Ok(())
}

/// A folder of nobody's, and the tool where nobody may run it.
fn as_nobody(folder: &Path) -> Command {
    let tool = folder.join("tool");
    fs::copy(env!("CARGO_BIN_EXE_fetch-rootfs"), &tool).expect("a copy");
    let theirs = folder.join("theirs");
    fs::create_dir(&theirs).expect("a folder");
    std::os::unix::fs::chown(&theirs, Some(NOBODY), Some(NOBODY)).expect("root may");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("our folder");
    let mut command = Command::new(tool);
    command.uid(NOBODY).gid(NOBODY).current_dir(theirs);
    command
}

fn a_user_makes_the_same_tree() -> Test {
    need_root()?;
    let (folder, made) = (scratch(), scratch());
    let root = make("host", made.path());
    let printed = run(as_nobody(folder.path()).args(["host", "rootfs"])).silent();
    assert!(printed.ends_with("rootfs\n"), "{printed}");
    let theirs = folder.path().join("theirs/rootfs");
    assert_eq!(listing(&root, false), listing(&theirs, false));
    let strangers = format!("find {theirs:?} ! -uid {NOBODY}");
    assert_eq!(run(&mut sh(strangers)).silent(), "");
    Ok(())
}

fn a_program_that_may_not_be_read_is_named() -> Test {
    need_root()?;
    let folder = scratch();
    let secret = folder.path().join("secret");
    fs::copy("/bin/ls", &secret).expect("a copy");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o711)).expect("our file");
    let source = format!("host:{}", secret.display());
    let failed = run(as_nobody(folder.path()).arg(source).arg("rootfs"));
    failed.fails(1, "fetch-rootfs", &["secret", "(EACCES)"]);
    assert_eq!(fs::read_dir(folder.path().join("theirs")).expect("a folder").count(), 0);
    Ok(())
}

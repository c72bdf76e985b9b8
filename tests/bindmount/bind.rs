//! One tree, or one file, at a second place.

use support::{Test, need_program};

use super::{COUNT, in_folder, tree};

pub fn a_folder_and_a_file_are_seen_at_a_second_place() -> Test {
    let folder = tree()?;
    let seen = in_folder(folder.path(), "$B src dst; $B src/file file; cat dst/file file");
    assert_eq!(seen.silent(), "src/file\nsrc/file\n");
    let script = "mount -t tmpfs t src/sub; touch src/sub/x
        $B src dst; ls dst/sub; $B -u dst; $B --rbind src dst; ls dst/sub";
    assert_eq!(in_folder(folder.path(), script).silent(), "x\n", "only --rbind has what is below");
    Ok(())
}

/// In scripts options come twice, once from a variable.
pub fn what_is_said_twice_or_means_nothing_is_no_mistake() -> Test {
    let folder = tree()?;
    let options = "sed -n \"s|.* $1/dst \\([^ ]*\\) .*|\\1|p\" /proc/self/mountinfo";
    for args in
        ["-r -r", "-R --rbind -r", "-o ro -o defaults", "-o ro,", "-o ,defaults,,ro", "--ro -r"]
    {
        let script = format!("$B {args} src dst; {options}; $B -u -u -R -R dst; {options}");
        let seen = in_folder(folder.path(), &script).silent();
        assert!(seen.starts_with("ro,") && seen.lines().count() == 1, "{args}: {seen}");
    }
    let script =
        "mkdir 'src/a:b'; $B --root src --tmpfs '/a\\:b:size=1M,mode=700'; stat -c %a src/a:b";
    assert_eq!(in_folder(folder.path(), script).silent(), "700\n");
    Ok(())
}

pub fn read_only_is_recursive_and_without_a_writable_moment() -> Test {
    let folder = tree()?;
    let script = "mount -t tmpfs t src/sub; $B -R -o ro src dst
        touch dst/x 2>&1 || true; touch dst/sub/x 2>&1 || true; touch src/sub/x";
    let refused = in_folder(folder.path(), script).silent();
    assert_eq!(refused.matches("Read-only file system").count(), 2, "{refused}");
    need_program("strace")?;
    let script = "strace -e trace=mount_setattr,move_mount $B -r src dst";
    let calls = in_folder(folder.path(), script).stderr;
    let (set, attached) = (calls.find("mount_setattr("), calls.find("move_mount("));
    assert!(set.is_some() && set < attached, "attributes first: {calls}");
    Ok(())
}

pub fn options_are_set_as_mount_would() -> Test {
    let folder = tree()?;
    let script = "mount --make-shared --bind src src; $B -o nosuid,nodev,noexec,private src dst
        grep \" $1/dst \" /proc/self/mountinfo";
    let line = in_folder(folder.path(), script).silent();
    assert!(line.contains("rw,nosuid,nodev,noexec") && !line.contains("shared:"), "{line}");
    Ok(())
}

pub fn list_shows_what_is_at_and_under() -> Test {
    let folder = tree()?;
    let script = "$B -r src dst; $B --list .; $B --list --json dst; $B --list src";
    let listed = in_folder(folder.path(), script).silent();
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("TARGET ") && lines[0].ends_with(" OPTIONS"), "{listed}");
    let dst = folder.path().join("dst").display().to_string();
    assert!(lines[1].starts_with(&dst) && lines[1].contains("/src] "), "{listed}");
    assert_eq!((lines[2], lines[3]), ("[", "  {"), "{listed}");
    assert!(listed.contains(&format!("\"target\": \"{dst}\"")), "{listed}");
    assert!(listed.ends_with("]\nTARGET  SOURCE  TYPE  OPTIONS\n"), "{listed}");
    Ok(())
}

/// The names in the table are those that somebody gave: they make no row, no column, no terminal's
/// command of it.
pub fn list_is_a_word_a_cell_whatever_the_names_are() -> Test {
    let folder = tree()?;
    let source = r"$(printf 'a\nFAKE /dev/sda ext4 rw\033[31m\302\233m\342\200\256\\\377')";
    let script = format!(
        "m=$(printf 'd  x\\r\\033c\\\"'); mkdir dst/sub \"dst/$m\"; mount -t tmpfs \"{source}\" dst/sub
        $B src/sub \"dst/$m\"; cd dst; $B --list .; $B --list --json ."
    );
    let listed = in_folder(folder.path(), &script).silent();
    let plain = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
    assert!(listed.chars().all(plain), "{listed:?}");
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[..3].iter().all(|line| line.split_whitespace().count() == 4), "{listed}");
    assert_eq!(lines[3], "[", "{listed}");
    let word = r" a\012FAKE\040/dev/sda\040ext4\040rw\033[31m\302\233m\342\200\256\134\377 ";
    assert!(lines[1].contains(word), "{listed}");
    assert!(lines[2].contains(r#"/dst/d\040\040x\015\033c\134" "#), "{listed}");
    Ok(())
}

pub fn mkdir_makes_missing_mount_points() -> Test {
    let folder = tree()?;
    let script = "$B --mkdir src a/b/c; ls a/b/c; $B --mkdir src/file d/f; cat d/f
        mkdir root; $B --mkdir --std root --bind \"$1/src:/x/y\"; ls root root/x/y";
    let seen = in_folder(folder.path(), script).silent();
    assert_eq!(
        seen,
        "file\nsub\nsrc/file\nroot:\ndev\netc\nproc\nsys\nx\n\nroot/x/y:\nfile\nsub\n"
    );
    Ok(())
}

pub fn a_command_is_become() -> Test {
    let folder = tree()?;
    let status = |command: &str| in_folder(folder.path(), &format!("exec $B src dst -- {command}"));
    assert_eq!(status("cat dst/file").silent(), "src/file\n");
    assert_eq!(status("sh -c 'exit 42'").status, 42);
    assert_eq!(status("sh -c 'kill -KILL $$'").status, 137);
    let descriptors = |with| in_folder(folder.path(), &format!("{with} ls /proc/self/fd")).silent();
    assert_eq!(descriptors("exec $B src dst --"), descriptors("exec"), "none is left open");
    status("nope").fails(127, "bindmount", &["run \"nope\""]);
    status("/etc").fails(126, "bindmount", &["run \"/etc\""]);
    let failed = in_folder(folder.path(), "exec $B nowhere dst -- true");
    failed.fails(125, "bindmount", &["\"nowhere\"", "(ENOENT)"]);
    Ok(())
}

pub fn mounts_own_spellings_do_the_same() -> Test {
    let folder = tree()?;
    let table = "sed -E 's/^[0-9]+ [0-9]+ //' /proc/self/mountinfo | grep -F \" $1/dst \"";
    for (ours, theirs) in [
        ("src dst", "--bind src dst"),
        ("-o ro,nosuid src dst", "-B -o bind,ro -o nosuid src dst"),
        ("-R -r -o private src dst", "--rbind --make-private --ro src dst"),
    ] {
        let seen = |args| in_folder(folder.path(), &format!("$B {args}; {table}")).silent();
        assert_eq!(seen(ours), seen(theirs), "{theirs}");
        if !ours.contains("-R") {
            let mount = in_folder(folder.path(), &format!("mount --bind {ours}; {table}"));
            assert_eq!(seen(ours), mount.silent(), "mount --bind {ours}");
        }
    }
    Ok(())
}

pub fn what_was_read_only_can_be_made_writable() -> Test {
    let folder = tree()?;
    let script = "$B -o ro,noexec src src; $B -o rw,noatime src dst; touch dst/new
        grep -F \" $1/dst \" /proc/self/mountinfo; $B -u dst; $B -o ro,rw src dst; touch dst/new";
    let line = in_folder(folder.path(), script).silent();
    assert!(line.contains(" rw,noexec,noatime "), "{line}");
    let refused = in_folder(folder.path(), "$B -r src dst -- touch dst/newer");
    assert!(refused.status == 1 && refused.stderr.contains("Read-only"), "{refused:?}");
    let left = in_folder(folder.path(), &format!("$B -r src dst -- true; {COUNT}")).silent();
    assert_eq!(left, "1\n", "COMMAND is become, so the mount stays");
    Ok(())
}

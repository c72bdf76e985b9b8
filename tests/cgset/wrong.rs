//! Wrong usage, missing rights and missing trees: one line, the right status, nothing left.

use std::process::Command;

use support::{Skip, Test, need_program, private_sh, run, scratch};

use crate::layout::{Name, Nobody, Waiting, cgset, groups_called, members, need, tree_of, trees};

pub fn wrong_usage_is_one_line_with_its_status() -> Test {
    let child = Waiting::idle();
    let pid = child.pid();
    // Where a PID is refused, as a dry run: if it were not, nothing must happen.
    for (args, parts) in [
        (&[][..], &["no KEY VALUE"][..]),
        (&["mem", "10M", ""], &["read a PID from \"\"", "is the shell variable empty?"]),
        (&["mem", "10M"], &["(is the variable empty?)", "--group GROUP, or -- COMMAND"]),
        (&["-n", "mem", "10M", "0x1"], &["read a PID from \"0x1\""]),
        (&["-n", "mem", "10M", "0"], &["read a PID from \"0\""]),
        (&["-n", "mem", "10M", "-5"], &["read a PID from \"-5\""]),
        (&["-n", "mem", "10M", "1"], &["process 1", "--force"]),
        (&["mem", "010M", &pid], &["\"010M\"", "octal"]),
        (&["mem", "10X", &pid], &["\"10X\"", "no unit is called \"X\""]),
        (&["mem", "100", &pid], &["\"100\"", "less than a page"]),
        (&["mem", "", &pid], &["read mem \"\": it is empty"]),
        (&["mem"], &["\"mem\" has no value"]),
        (&["mem", "10M", "pids", "-g", "x"], &["\"pids\" has no value"]),
        (&["cpu", "0.0001%", &pid], &["\"0.0001%\"", "cpu takes"]),
        (&["cpu.weight", "0", &pid], &["\"0\"", "1 to 10000"]),
        (&["pids", "-1", &pid], &["\"-1\"", "pids takes"]),
        (&["memory", "10M", &pid], &["key \"memory\"", "is mem meant?", "cpu.weight"]),
        (&["mem", "10M", "mem", "20M", &pid], &["mem is given twice"]),
        (&["create"], &["create takes one GROUP"]),
        (&["rm"], &["rm takes a GROUP"]),
        (&["show"], &["show takes one GROUP or PID"]),
        (&["--bogus"], &["--bogus"]),
        (&["mem", "10M", &pid, "--kill"], &["--kill does not go"]),
        (
            &["-n", "show", &pid],
            &["--dry-run does not go with what only looks", "nothing is changed"],
        ),
        (&["-x", "ls"], &["--explain does not go with what only looks"]),
        (&["-n", "stat"], &["--dry-run does not go"]),
        (&["-x", "watch"], &["--explain does not go"]),
    ] {
        cgset(args).fails(2, "cgset", &[parts, &["hint: "]].concat());
    }
    for args in [
        &["mem", "10X", "--", "true"][..],
        &["memory", "10M", "--", "true"],
        &["mem", "10M", &pid, "--", "true"],
        &["--", "true"],
        &["mem", "--", "true"],
    ] {
        cgset(args).fails(125, "cgset", &["hint: "]);
    }
    assert!(groups_called(&Name::of(&pid)).is_empty());
    Ok(())
}

/// A value that is off is answered with what it should be.
pub fn a_wrong_value_says_what_would_be_right() -> Test {
    let name = Name::new("off");
    for (key, value, parts) in [
        ("cpu", "99999999999%", &["more than the kernel can count"][..]),
        ("cpu", ".5", &["does not begin with a digit", "hint: write 0.5"]),
        ("mem", ".5G", &["does not begin with a digit", "hint: write 0.5G"]),
        ("cpu", "0.01%", &["less than 0.1% of a CPU"]),
        ("cpu", "1s/1s", &["a time is as 20ms or 500us"]),
        ("cpu", "1us/1ms", &["1 ms at least", "1 s at most"]),
        ("cpu", "half", &["no amount of CPU time"]),
        ("mem", "-5%", &["read \"-5%\": nothing is limited to less than 0"]),
        ("cpu", "-50%", &["read \"-50%\": nothing is limited to less than 0"]),
        ("mem", "-1", &["read mem \"-1\": no limit is called max"]),
        ("pids", "4194305", &["more than 4194304"]),
        ("pids", "99999999999999999999", &["more than 4194304"]),
        ("pids", "064", &["not a decimal number"]),
        ("pids.max", "-1", &["no limit is called max"]),
        ("io.write", "vda", &["it has no rate"]),
        ("io.write", "10M", &["no disk is named"]),
        ("huge.2MB", "1M", &["less than one page"]),
    ] {
        let wanted = [parts, &["hint: "]].concat();
        cgset(&[key, value, "-g", &name]).fails(2, "cgset", &wanted);
    }
    cgset(&["thaw", &name]).fails(1, "cgset", &["thaw the group"]);
    let pair = "-r pids.max=-1".split(' ').chain([&*name]).collect::<Vec<_>>();
    cgset(&pair).fails(2, "cgset", &["no limit is called max"]);
    assert!(name.groups().is_empty());
    Ok(())
}

pub fn names_that_lead_elsewhere_are_refused() -> Test {
    need(&["memory", "pids"])?;
    let child = Waiting::idle();
    let before = child.groups();
    for name in ["../..", "..", "", ".", "a/../b", "./a", "a/.", "/", "/etc", "a\nb"] {
        for args in [
            &["create", name][..],
            &["show", name],
            &["rm", name],
            &["mem", "10M", "-g", name],
            &["mem", "10M", "-g", name, &child.pid()],
        ] {
            cgset(args).fails(2, "cgset", &["read the group name", "hint: "]);
        }
        cgset(&["mem", "10M", "-g", name, "--", "true"]).fails(125, "cgset", &["hint: "]);
    }
    // libcgroup's -g CONTROLLERS:PATH
    for name in ["memory:box", "cpu,pids:/box", "*:box/inner", "cpu,cpuacct,blkio:box"] {
        let hint =
            format!("hint: the name alone: --group {}", &name[name.find("box").expect("it has")..]);
        for args in [&["create", name][..], &["mem", "10M", "-g", name], &["show", name]] {
            let said = ["which controllers, say the KEYs", &hint];
            cgset(args).fails(2, "cgset", &said);
        }
    }
    let name = Name::new("a:b");
    let path = cgset(&["create", &format!("{}//x/", &*name)]).silent();
    assert!(path.ends_with("a:b/x\n"), "as it is called elsewhere: {path}");
    cgset(&["create", "cgroup.procs"]).fails(2, "cgset", &["a control file has this name"]);
    assert_eq!(child.groups(), before);
    Ok(())
}

pub fn without_privileges_it_says_so_and_leaves_nothing() -> Test {
    need(&["memory", "pids"])?;
    let name = Name::new("nobody");
    let own = std::process::id().to_string();
    let user = Nobody::new();
    let nobody = |args: &[&str]| user.cgset(args);
    for (args, status) in [
        (&["create", &*name][..], 1),
        (&["mem", "10M", "-g", &name], 1),
        (&["mem", "10M", &own], 1),
        (&["pids", "5", "mem", "10M", "--", "true"], 125),
    ] {
        nobody(args).fails(status, "cgset", &["(EACCES)", "hint: that takes root: sudo cgset"]);
    }
    assert!(name.groups().is_empty() && groups_called(&Name::of(&own)).is_empty());
    cgset(&["create", &name]).silent();
    nobody(&["pids", "5", "-g", &name]).fails(1, "cgset", &["pids.max", "(EACCES)"]);
    nobody(&["rm", &name]).fails(1, "cgset", &["remove the group", "hint: "]);
    assert!(!name.groups().is_empty());
    nobody(&["show", &name]).silent();
    nobody(&["-n", "mem", "10M", &own]).silent();
    Ok(())
}

/// A shell in which the trees are hidden, or whatever `each` does with "$tree".
fn with_each_tree(each: &str, script: &str) -> Result<Command, Skip> {
    need_program("unshare")?;
    let list: Vec<String> = trees().iter().map(|tree| tree.display().to_string()).collect();
    let script = format!("for tree in {}; do {each}; done; {script}", list.join(" "));
    let mut command = private_sh(&script);
    command.arg(env!("CARGO_BIN_EXE_cgset"));
    Ok(command)
}

pub fn nothing_mounted_names_the_mount_command() -> Test {
    need(&[])?;
    let hide = "mount -t tmpfs none \"$tree\"";
    for script in ["exec \"$1\" create x", "exec \"$1\" show x", "exec \"$1\" mem 10M $$"] {
        run(&mut with_each_tree(hide, script)?).fails(
            1,
            "cgset",
            &["none are mounted here", "hint: mount -t cgroup2 cgroup2 /sys/fs/cgroup"],
        );
    }
    let command = "exec \"$1\" mem 10M -- true";
    run(&mut with_each_tree(hide, command)?).fails(125, "cgset", &["none are mounted here"]);
    Ok(())
}

pub fn a_read_only_mount_is_explained() -> Test {
    need(&["memory"])?;
    let name = Name::new("read-only");
    let remount = "mount -o remount,bind,ro \"$tree\"";
    let mut command = with_each_tree(remount, "exec \"$1\" create \"$2\"")?;
    run(command.arg(&*name)).fails(1, "cgset", &["(EROFS)", "hint: ", "read-only"]);
    assert!(name.groups().is_empty());
    Ok(())
}

pub fn a_part_of_a_tree_is_enough_for_names() -> Test {
    need(&["memory"])?;
    let name = Name::new("part");
    let top = cgset(&["create", &name]).silent();
    let part = scratch();
    let hide = "case \"$2\" in \"$tree\"/*) mount --bind \"$2\" \"$3\"; mount -t tmpfs none \"$tree\" ;; esac";
    let script = "\"$1\" mem 10M -g inner; exec \"$1\" -n mem 10M $$";
    let mut command = with_each_tree(hide, script)?;
    let ran = run(command.arg(top.trim_end()).arg(part.path()));
    assert_eq!(ran.stdout, format!("{}\n", part.path().join("inner").display()), "{ran:?}");
    assert_eq!(ran.status, 1, "{ran:?}");
    for part in ["find the group of process", "is outside of what", &*name, "hint: "] {
        assert!(ran.stderr.contains(part), "{ran:?}");
    }
    let inner = std::path::PathBuf::from(top.trim_end()).join("inner");
    assert!(inner.is_dir() && members(&inner).is_empty() && inner.starts_with(tree_of("memory")?));
    Ok(())
}

//! Where a group is made, and what has to go out of its way.

use std::fs;
use std::path::{Path, PathBuf};

use support::{Skip, Test, run, skip};

use crate::layout::{
    Name, Waiting, cgset, control, members, need, need_v2, run_known, tool, tree_of,
};

/// A limit of a controller that is in the v2 tree, its file, and one that is set by its own name.
pub fn v2_limit() -> Result<[&'static str; 4], Skip> {
    need_v2()?;
    let limits = [
        ("memory", ["mem", "100M", "memory.max", "memory.oom.group"]),
        ("hugetlb", ["huge.2MB", "4M", "hugetlb.2MB.max", "hugetlb.2MB.max"]),
    ];
    let in_v2 =
        |name: &str| tree_of(name).is_ok_and(|tree| tree.join("cgroup.controllers").exists());
    let found = limits.into_iter().find(|(controller, _)| in_v2(controller));
    found.map(|(_, limit)| limit).ok_or_else(|| skip("the v2 tree has no controller here"))
}

/// A process of ours in the v2 group of this name, and the group's folder.
pub fn held(name: &Name) -> (Waiting, PathBuf) {
    let child = Waiting::idle();
    let path = cgset(&["net", "max", "-g", name, &child.pid()]).silent();
    (child, PathBuf::from(path.trim_end()))
}

pub fn processes_that_are_in_the_way_are_moved_into_an_inner_group() -> Test {
    let [key, value, file, raw] = v2_limit()?;
    let name = Name::new("evacuate");
    let (child, dir) = held(&name);
    let pid: i32 = child.pid().parse().expect("a PID");
    let inner = format!("{}/inner", &*name);
    let ran = cgset(&[key, value, "-g", &inner]);
    ran.fails(1, "cgset", &["holds processes itself", &child.pid(), "--evacuate init"]);
    assert!(!dir.join("inner").exists());
    for elsewhere in ["..", ".", "", "a/b", "/a", "/etc"] {
        let ran = cgset(&["--evacuate", elsewhere, key, value, "-g", &inner]);
        ran.fails(2, "cgset", &["hint: "]);
    }

    // What can't be set to its end is taken back to its start.
    let ran = cgset(&["--evacuate", "init", raw, "nonsense", "-g", &inner]);
    ran.fails(1, "cgset", &["(EINVAL)"]);
    assert_eq!((members(&dir), dir.join("init").exists()), (vec![pid], false));
    assert_eq!(fs::read_to_string(dir.join("cgroup.subtree_control")).expect("v2"), "");

    let args = ["--evacuate", "init", key, value, "-g", &inner];
    let script = run(tool().arg("-n").args(args)).silent();
    assert_eq!(cgset(&args).silent(), format!("{}\n", dir.join("inner").display()));
    assert_eq!((members(&dir), members(&dir.join("init"))), (vec![], vec![pid]));
    assert_ne!(control(&dir.join("inner"), &[file]), "max");
    drop(child);

    // The script does the same.
    cgset(&["rm", &name]).silent();
    let (child, dir) = held(&name);
    run(&mut support::sh(script)).silent();
    assert_eq!((members(&dir), members(&dir.join("init")).len()), (vec![], 1));
    assert!(child.groups().contains("/init"), "{}", child.groups());
    Ok(())
}

pub fn a_group_is_made_below_the_one_that_is_named() -> Test {
    need(&["memory", "pids"])?;
    let parent = Name::new("parent");
    let child = Waiting::idle();
    let args = ["--parent", &parent, "mem", "100M", "pids", "9", &child.pid()];
    let path = cgset(&args).silent();
    let wanted = format!("/{}/cgset-{}\n", &*parent, child.pid());
    assert!(path.ends_with(&wanted), "{path}");
    assert_eq!(child.groups().matches(wanted.as_str()).count(), if_hybrid(&child.groups()));
    // Once there it stays there, and a group above is never made into one of its own.
    assert_eq!(cgset(&args).silent(), path);
    assert_eq!(cgset(&["pids", "8", &child.pid()]).silent().lines().count(), 1);
    let path = cgset(&["--parent", &parent, "-g", "box", "pids", "7"]).silent();
    assert!(path.ends_with(&format!("/{}/box\n", &*parent)), "{path}");
    let (pid, ran) =
        run_known(&["--parent", &parent, "pids", "9", "--", "cat", "/proc/self/cgroup"]);
    assert!(ran.silent().contains(&format!("/{}/cgset-{pid}\n", &*parent)));
    cgset(&["--parent", "..", "pids", "9", &child.pid()]).fails(2, "cgset", &["hint: "]);
    cgset(&["--parent", "x", "show", "y"]).fails(2, "cgset", &["--parent does not go"]);
    Ok(())
}

/// In how many trees a process is: of memory and pids, and in the v2 tree if that is another.
fn if_hybrid(groups: &str) -> usize {
    let of = |name: &str| {
        groups.lines().find(|line| line.split(':').nth(1).is_some_and(|names| names == name))
    };
    let v1 = usize::from(of("memory").is_some()) + usize::from(of("pids").is_some());
    v1 + usize::from(of("").is_some())
}

/// As in an engine's cgroupsPath; but a path of the machine that is no tree is a mistake.
pub fn names_are_as_engines_give_them() -> Test {
    need(&["memory"])?;
    let name = Name::new("engine");
    let from_the_top = format!("/{}/id", &*name);
    let path = cgset(&["mem", "100M", "-g", &from_the_top]).silent();
    assert!(Path::new(path.trim_end()).ends_with(&from_the_top[1..]), "{path}");
    let shown = cgset(&["show", &from_the_top]).silent();
    assert!(shown.contains(path.trim_end()), "{shown}");
    assert_eq!(cgset(&["show", &from_the_top[1..]]).silent(), shown);
    cgset(&["create", "/etc/passwd"]).fails(2, "cgset", &["read the group name", "no such tree"]);
    Ok(())
}

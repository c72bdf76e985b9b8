//! Groups by name: made, shown and removed.

use std::path::PathBuf;

use serde_json::{Value, json};
use support::Test;

use crate::layout::{MEMORY, Name, Waiting, cgset, control, members, need, ten_mib, tree_of};

pub fn the_tutorial_s_group_is_made_shown_and_removed() -> Test {
    need(&["memory", "cpu", "pids"])?;
    let name = Name::new("container_cgroup");
    let dir = PathBuf::from(cgset(&["create", &name]).silent().trim_end());
    assert_eq!(dir, tree_of("memory")?.join(&*name));
    for controller in ["memory", "cpu", "pids"] {
        assert!(tree_of(controller)?.join(&*name).is_dir(), "{controller}");
    }
    cgset(&["create", &name]).fails(1, "cgset", &["it is there already", "hint: cgset show"]);
    let child = Waiting::idle();
    let pid = child.pid();
    let args = [&ten_mib()[..], &["-g", &name, &pid]].concat();
    assert_eq!(cgset(&args).silent().trim_end(), dir.to_str().expect("UTF-8"));
    assert_eq!(control(&dir, &MEMORY), "10485760");
    assert_eq!(members(&dir), [child.pid().parse::<i32>().expect("a PID")]);
    let by_pid = cgset(&["show", &child.pid()]).silent();
    assert!(by_pid.contains(&format!("path {}\n", dir.display())), "{by_pid}");
    drop(child);
    assert_eq!(cgset(&["rm", &name]).silent(), "");
    assert!(name.groups().is_empty());
    cgset(&["rm", &name]).fails(1, "cgset", &["there is none of this name"]);
    cgset(&["show", &name]).fails(1, "cgset", &["there is none of this name", "hint: cgset ls"]);
    Ok(())
}

pub fn a_named_group_is_the_same_by_its_path() -> Test {
    need(&["memory", "pids"])?;
    let name = Name::new("nested");
    let nested = format!("{}/a/b", &*name);
    let path = cgset(&["create", &nested]).silent();
    let path = path.trim_end();
    let same = cgset(&["pids", "7", "-g", path]).silent();
    assert!(same.trim_end().ends_with(&nested), "{same}");
    assert_eq!(cgset(&["show", path]).silent(), cgset(&["show", &nested]).silent());
    assert!(cgset(&["show", path]).silent().contains("pids.limit 7\n"));
    assert_eq!(cgset(&["rm", path]).silent(), "");
    assert!(name.groups().iter().all(|dir| dir.join("a").is_dir() && !dir.join("a/b").exists()));
    assert_eq!(cgset(&["rm", &name]).silent(), "");
    assert!(name.groups().is_empty());
    Ok(())
}

/// With v1 it stands below the group that its process was in, in each tree.
pub fn a_group_that_stands_at_several_places_is_listed_once() -> Test {
    need(&["memory", "pids"])?;
    let outer = Name::new("outer");
    let child = Waiting::idle();
    cgset(&["mem", "100M", "-g", &outer, &child.pid()]).ok();
    cgset(&["mem", "90M", "pids", "9", &child.pid()]).ok();
    let name = Name::of(child.pid());
    let several = tree_of("memory")? != tree_of("pids")?;
    assert_eq!(name.groups().len() > 1, several, "{:?}", name.groups());
    for args in [&["ls"][..], &["stat"]] {
        let lines = cgset(args).silent();
        let ours = lines.lines().filter(|line| line.contains(&*name));
        assert_eq!(ours.count(), 1, "{lines}");
    }
    Ok(())
}

pub fn a_group_with_processes_is_not_removed_unless_they_are_killed() -> Test {
    need(&["pids"])?;
    let (one, two) = (Name::new("one"), Name::new("two"));
    let child = Waiting::then("sleep 300");
    cgset(&["create", &one]).silent();
    cgset(&["pids", "9", "-g", &two, &child.pid()]).silent();
    cgset(&["rm", &one, &two]).fails(1, "cgset", &[&child.pid(), "hint: see what it is: ps -p"]);
    assert!(!one.groups().is_empty(), "not one of them, if not all");
    assert_eq!(cgset(&["rm", "--kill", &one, &two]).silent(), "");
    assert!(one.groups().is_empty() && two.groups().is_empty());
    // Not the group that it is in itself: here that of the COMMAND.
    let own = "exec \"$0\" rm --kill \"$1\"";
    let three = Name::new("three");
    let program = env!("CARGO_BIN_EXE_cgset");
    cgset(&["pids", "9", "-g", &three, "--", "sh", "-c", own, program, &three]).fails(
        1,
        "cgset",
        &["this very cgset is in it"],
    );
    assert!(three.groups().is_empty());
    Ok(())
}

pub fn show_has_what_is_set_as_text_and_as_json() -> Test {
    need(&["memory", "cpu", "pids"])?;
    let name = Name::new("shown");
    let child = Waiting::idle();
    let pid: i32 = child.pid().parse().expect("a PID");
    cgset(&["mem", "10M", "cpu", "50%", "pids", "64", "-g", &name, &child.pid()]).ok();
    let text = cgset(&["show", &name]).silent();
    for row in [
        format!("processes 1 ({pid})\n"),
        "memory.limit 10485760 (10 MiB)\n".into(),
        "memory.current ".into(),
        "oom_kill 0\n".into(),
        "cpu.quota 50000 us in 100000 us\n".into(),
        "cpu.usage ".into(),
        "cpu.throttled ".into(),
        "pids.limit 64\n".into(),
        "pids.current 1\n".into(),
    ] {
        assert!(
            text.lines().any(|line| format!("{}\n", line.trim_start()).starts_with(&row)),
            "{text}"
        );
    }
    let json: Value =
        serde_json::from_str(&cgset(&["show", "--json", &name]).silent()).expect("JSON");
    let paths: Vec<&str> =
        text.lines().filter_map(|line| line.trim_start().strip_prefix("path ")).collect();
    assert_eq!(json["paths"], json!(paths));
    assert_eq!(json["processes"], json!([pid]));
    assert_eq!(json["memory"]["limit"], 10 << 20);
    assert_eq!(json["memory"]["oom_kill"], 0);
    assert_eq!(
        (&json["cpu"]["quota_us"], &json["cpu"]["period_us"]),
        (&50_000.into(), &100_000.into())
    );
    assert!(json["cpu"]["usage_us"].is_u64(), "{json}");
    assert_eq!((&json["pids"]["limit"], &json["pids"]["current"]), (&64.into(), &1.into()));
    Ok(())
}

pub fn ls_has_each_group_once() -> Test {
    need(&["memory", "pids"])?;
    let name = Name::new("listed");
    let inner = format!("{}/inner", &*name);
    let outer = cgset(&["create", &name]).silent();
    let path = cgset(&["mem", "10M", "-g", &inner]).ok();
    let all = cgset(&["ls"]).silent();
    let ours: Vec<&str> = all.lines().filter(|line| line.contains(&*name)).collect();
    assert_eq!(ours, [outer.trim_end(), path.trim_end()], "{all}");
    assert_eq!(cgset(&["ls", &name]).silent(), path);
    let json: Value =
        serde_json::from_str(&cgset(&["ls", "--json", outer.trim_end()]).silent()).expect("JSON");
    assert_eq!(json, json!([path.trim_end()]));
    cgset(&["rm", &name]).silent();
    cgset(&["ls", &name]).fails(1, "cgset", &["there is none of this name", "hint: cgset ls"]);
    Ok(())
}

//! Which devices a group may use: by programs where there is a v2 tree, else by v1's devices.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::{Ran, Skip, TempDir, Test, need_program, need_root, private_sh, run, scratch, skip};

use crate::layout::{Name, Waiting, cgset, groups_called, need_v2, tree_of, trees};

const CGSET: &str = env!("CARGO_BIN_EXE_cgset");

/// One of the mechanisms that this machine has; where it has both, v1's is seen once the v2 tree
/// is hidden.
struct Way {
    hidden: Option<PathBuf>,
}

/// All of them.
fn ways() -> Result<Vec<Way>, Skip> {
    need_root()?;
    need_program("busybox")?;
    let v2 = trees().into_iter().find(|tree| tree.join("cgroup.subtree_control").exists());
    let mut ways = vec![Way { hidden: None }];
    match (v2, tree_of("devices")) {
        (None, Err(skip)) => return Err(skip),
        (Some(v2), Ok(_)) if need_program("unshare").is_ok() => ways.push(Way { hidden: Some(v2) }),
        _ => {}
    }
    Ok(ways)
}

impl Way {
    fn is_v1(&self) -> bool {
        self.hidden.is_some() || need_v2().is_err()
    }

    fn command(&self, program: &str) -> Command {
        let Some(v2) = &self.hidden else { return Command::new(program) };
        let mut command = private_sh("mount -t tmpfs none \"$1\"; shift; exec \"$@\"");
        command.arg(v2).arg(program);
        command
    }

    fn cgset(&self, args: &[&str]) -> Ran {
        run(self.command(CGSET).args(args))
    }

    /// With a system call of its own that fails the nth time.
    fn failing(&self, fault: &str, nth: usize, args: &[&str]) -> Result<Ran, Skip> {
        let strace = need_program("strace")?;
        let inject = format!("inject={fault}:when={nth}");
        let strace = strace.to_str().expect("UTF-8");
        let mut command = self.command(strace);
        command.args(["-qq", "-o", "/dev/null", "-e", &inject, CGSET]);
        Ok(run(command.args(args)))
    }

    /// What `show` says of the rules.
    fn shown(&self, name: &str) -> Vec<String> {
        let text = self.cgset(&["show", name]).silent();
        let rules = text.lines().map(str::trim_start).filter(|line| line.starts_with("dev."));
        rules.map(str::to_owned).collect()
    }
}

/// Nodes of our own: as /dev/null and as /dev/zero.
struct Nodes(TempDir);

impl Nodes {
    fn new() -> Result<Self, Skip> {
        let nodes = Self(scratch());
        for (name, minor) in [("null", "3"), ("zero", "5")] {
            let made = run(Command::new("mknod").arg(nodes.path(name)).args(["c", "1", minor]));
            let opened = fs::OpenOptions::new().write(true).open(nodes.path(name));
            if made.status != 0 || opened.is_err() {
                return Err(skip(format!("no device nodes here: {made:?} {opened:?}")));
            }
        }
        Ok(nodes)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// What a program in the group can do with the nodes: read null, write it, make one; the same
    /// with zero. What it can't is EPERM.
    fn can(&self, way: &Way, name: &str) -> String {
        let script = "write() { echo >\"$1\"; }
            try() {
                letter=$1; shift
                said=$(\"$@\" 2>&1) && printf %s $letter && return
                case $said in *'Operation not permitted'*) printf - ;; *) echo \"$said\" ;; esac
            }
            cd \"$0\"
            for node in null:3 zero:5; do
                try r dd if=${node%:*} count=0
                try w write ${node%:*}
                try m mknod new c 1 ${node#*:}
                rm -f new; printf ' '
            done";
        let folder = self.0.path().display().to_string();
        let ran = way.cgset(&["-g", name, "--", "busybox", "sh", "-c", script, &folder]);
        ran.silent().trim_end().to_owned()
    }
}

pub fn the_last_rule_that_names_a_device_decides() -> Test {
    for way in ways()? {
        let nodes = Nodes::new()?;
        let zero = nodes.path("zero");
        for (rules, wanted) in [
            (&["dev.deny", "all"][..], "--- ---"),
            (&["dev.deny", "all", "dev.allow", "/dev/null"], "rwm ---"),
            (&["dev.deny", "all", "dev.allow", "c:1:3:r", "dev.allow", "c 1:5 wm"], "r-- -wm"),
            (&["dev.deny", "all", "dev.allow", &format!("{zero}:r")], "--- r--"),
            (&["dev.deny", "all", "dev.allow", "c:1:*", "dev.allow", "b:8:*"], "rwm rwm"),
            (&["dev.deny", "c:1:3", "dev.deny", "c:1:5:m"], "--- rw-"),
            (&["dev.deny", "all", "dev.allow", "all"], "rwm rwm"),
            (&["dev.deny", "all:w"], "r-m r-m"),
            (&["dev.deny", "b:1:3"], "rwm rwm"),
            (&["dev.deny", "c:1:3", "dev.deny", "c:1:5:w", "dev.allow", "c:1:3:rm"], "r-m r-m"),
            (&["dev.deny", "all", "dev.allow", "c:1:3", "dev.deny", "c:1:*:w"], "r-m ---"),
        ] {
            let name = Name::new("dev-devices");
            way.cgset(&[rules, &["-g", &name]].concat()).silent();
            assert_eq!(nodes.can(&way, &name), wanted, "{rules:?} v1: {}", way.is_v1());
        }
    }
    Ok(())
}

/// What v1 takes without heeding it, it is not given; v2 heeds it.
pub fn an_exception_of_an_exception_holds_or_is_refused() -> Test {
    for way in ways()? {
        let nodes = Nodes::new()?;
        for (rules, wanted) in [
            (["dev.deny", "c:1:*", "dev.allow", "c:1:5"], "--- rwm"),
            (["dev.allow", "c:1:*:rw", "dev.deny", "c:1:3:w"], "r-- rw-"),
        ] {
            let name = Name::new("dev-exceptions");
            let start = if rules[0] == "dev.allow" { &["dev.deny", "all"][..] } else { &[] };
            let ran = way.cgset(&[start, &rules, &["-g", &name]].concat());
            if way.is_v1() {
                ran.fails(1, "cgset", &["cgroup v1 can't take a part out of c 1:*", "hint: "]);
                assert!(name.groups().is_empty());
            } else {
                ran.silent();
                assert_eq!(nodes.can(&way, &name), wanted, "{rules:?}");
            }
        }
    }
    Ok(())
}

pub fn rules_add_up_are_shown_and_go_with_the_group() -> Test {
    for way in ways()? {
        let nodes = Nodes::new()?;
        let name = Name::new("dev-adds-up");
        assert!(!way.cgset(&["create", &name]).silent().is_empty());
        way.cgset(&["dev.deny", "all", "-g", &name]).silent();
        let json = |name: &str| -> Value {
            let text = way.cgset(&["show", "--json", name]).silent();
            serde_json::from_str(&text).expect("JSON")
        };
        let all = json!({ "rule": "deny", "device": "all", "access": "rwm" });
        assert_eq!(json(&name)["devices"], json!([all]));
        way.cgset(&["dev.allow", "/dev/null:rw", "-g", &name]).silent();
        way.cgset(&["dev.allow", "/dev/null:rw", "dev.allow", "b:8:*", "-g", &name]).silent();
        let rules = ["dev.deny all rwm", "dev.allow c 1:3 rw", "dev.allow b 8:* rwm"];
        assert_eq!(way.shown(&name), rules);
        assert_eq!(json(&name)["devices"][2]["device"], "b 8:*");
        assert_eq!(nodes.can(&way, &name), "rw- ---");
        // A process that comes later is under the same rules, and one in a group inside.
        let mut child = Waiting::then(&format!("exec dd if={} bs=1 count=1", nodes.path("zero")));
        way.cgset(&["-g", &name, &child.pid()]).ok();
        assert!(!child.go().success());
        let inner = format!("{}/inner", &*name);
        way.cgset(&["dev.deny", "c:1:3:w", "-g", &inner]).silent();
        assert_eq!(nodes.can(&way, &inner), "r-- ---");
        drop(child);
        assert_eq!(way.cgset(&["rm", &inner]).silent(), "");
        // With v1 that takes a group that has none inside, which the kernel sees a moment later.
        way.cgset(&["dev.allow", "all", "-g", &name]).silent();
        assert_eq!(nodes.can(&way, &name), "rwm rwm");
        assert_eq!(way.cgset(&["rm", &name]).silent(), "");
        way.cgset(&["create", &name]).silent();
        assert_eq!(nodes.can(&way, &name), "rwm rwm");
        assert_eq!(cgset(&["rm", &name]).silent(), "");
    }
    Ok(())
}

pub fn a_command_has_its_devices_from_the_start() -> Test {
    for way in ways()? {
        let nodes = Nodes::new()?;
        let dd = ["--", "busybox", "dd", "bs=1", "count=1", &format!("if={}", nodes.path("zero"))];
        let ran = way.cgset(&[&["dev.deny", "/dev/zero"], &dd[..]].concat());
        assert!(ran.status == 1 && ran.stderr.contains("Operation not permitted"), "{ran:?}");
        let ran = way.cgset(&[&["dev.deny", "all", "dev.allow", "c:1:5:r"], &dd[..]].concat());
        assert_eq!((ran.status, ran.stdout.as_str()), (0, "\0"), "{ran:?}");
        // What is opened for both is allowed by two rules.
        let rules = ["dev.deny", "all", "dev.allow", "c:1:*:r", "dev.allow", "c:1:5:w"];
        let both = ["--", "busybox", "sh", "-c", ": <>\"$0\"", &nodes.path("zero")];
        way.cgset(&[&rules[..], &both].concat()).silent();
        let ran = way.cgset(&["dev.deny", "all", "--", "/nowhere/at/all"]);
        ran.fails(127, "cgset", &["ENOENT"]);
    }
    Ok(())
}

pub fn v1_says_what_it_does_not_do() -> Test {
    let Some(way) = ways()?.into_iter().find(Way::is_v1) else {
        return Err(skip("no devices controller of v1 here"));
    };
    let name = Name::new("dev-v1");
    let ran = way.cgset(&["dev.allow", "/dev/null", "-g", &name]);
    assert!(ran.status == 0 && ran.stderr.contains("which cgroup v1 does not list"), "{ran:?}");
    way.cgset(&["--strict", "dev.allow", "/dev/null", "-g", &name]).fails(1, "cgset", &["hint: "]);
    way.cgset(&["dev.deny", "all", "dev.allow", "c:1:3:r", "-g", &name]).silent();
    let inner = format!("{}/inner", &*name);
    let more = way.cgset(&["dev.allow", "c:1:3:rw", "-g", &inner]);
    more.fails(
        1,
        "cgset",
        &["devices.allow", "(EPERM)", "hint: with cgroup v1 a group may use no"],
    );
    assert!(groups_called("inner").iter().all(|dir| !dir.starts_with(&name.groups()[0])));
    way.cgset(&["dev.allow", "c:1:3:r", "-g", &inner]).silent();
    let all = way.cgset(&["dev.allow", "all", "-g", &name]);
    all.fails(
        1,
        "cgset",
        &["devices.allow", "(EINVAL)", "hint: cgroup v1 changes all devices at once"],
    );
    assert_eq!(way.shown(&name), ["dev.deny all rwm", "dev.allow c 1:3 r"]);
    cgset(&["rm", &inner]).silent();
    Ok(())
}

pub fn each_call_that_fails_leaves_the_old_rules() -> Test {
    let mut failures = 0;
    for way in ways()? {
        let nodes = Nodes::new()?;
        let fault = if way.is_v1() { "write:error=EIO" } else { "bpf:error=EPERM" };
        let (errno, part) = if way.is_v1() { ("(EIO)", "") } else { ("(EPERM)", "CAP_BPF") };
        for old in [&["dev.deny", "all", "dev.allow", "c:1:3:r"][..], &["dev.deny", "c:1:5"]] {
            let kept = Name::new("dev-kept");
            for change in [
                &["dev.allow", "c:1:5:rw", "dev.deny", "c:1:3", "dev.deny", "c:1:5"][..],
                &["dev.deny", "c:1:3:m", "dev.allow", "all", "dev.deny", "c:1:3"],
                &["dev.deny", "all", "dev.allow", "c:1:3:w"],
            ] {
                // v1 can't tell any more what it denied beside, if all is switched at once.
                if way.is_v1() && old.len() == 2 && change.contains(&"all") {
                    continue;
                }
                way.cgset(&["dev.allow", "all", "-g", &kept]).silent();
                way.cgset(&[old, &["-g", &kept]].concat()).silent();
                let (before, can) = (way.shown(&kept), nodes.can(&way, &kept));
                let change = [change, &["-g", &kept]].concat();
                for nth in 1.. {
                    let changed = way.failing(fault, nth, &change)?;
                    if changed.status == 0 {
                        break;
                    }
                    changed.fails(1, "cgset", &[errno, part]);
                    let what = format!("{change:?} {nth}: {changed:?}");
                    assert_eq!(way.shown(&kept), before, "{what}");
                    assert_eq!(nodes.can(&way, &kept), can, "{what}");
                    failures += 1;
                }
            }
        }
        for nth in 1.. {
            let name = Name::new("dev-failing");
            let made = way.failing(fault, nth, &["dev.deny", "all", "-g", &name])?;
            if made.status == 0 {
                break;
            }
            made.fails(1, "cgset", &[errno]);
            assert!(groups_called(&name).is_empty(), "{nth}");
            failures += 1;
        }
    }
    assert!(failures > 20, "{failures}");
    Ok(())
}

pub fn devices_that_make_no_sense_are_refused() -> Test {
    ways()?;
    let name = Name::new("dev-never-made");
    let form = "hint: dev.deny takes all, a device node such as /dev/null, or c:1:3";
    for (args, status, parts) in [
        (&["dev.deny", "null"][..], 2, &["read dev.deny \"null\": no device", form][..]),
        (&["dev.deny", "c:1"], 2, &["no device", form]),
        (&["dev.deny", "c:1:03"], 2, &["no minor number", form]),
        (&["dev.deny", "c:1:3:x"], 2, &["other letters than r, w, m", form]),
        (&["dev.deny", ""], 2, &["it is empty", form]),
        (&["dev.deny"], 2, &["\"dev.deny\" has no value"]),
        (&["dev.denny", "all"], 2, &["hint: is dev.deny meant?"]),
        (&["dev.deny", "/nowhere/at/all"], 1, &["\"/nowhere/at/all\"", "(ENOENT)"]),
        (&["dev.deny", "/proc"], 1, &["\"/proc\": it is no device node", "hint: ls -l"]),
    ] {
        cgset(&[args, &["-g", &name]].concat()).fails(status, "cgset", parts);
        cgset(&[args, &["--", "true"]].concat()).fails(125, "cgset", &[]);
    }
    assert!(groups_called(&name).is_empty());
    Ok(())
}

pub fn the_script_has_the_same_rules() -> Test {
    for way in ways()? {
        let nodes = Nodes::new()?;
        let name = Name::new("dev-by-script");
        let args = ["-n", "dev.deny", "all", "dev.allow", "c:1:*:r", "-g", &*name];
        let script = way.cgset(&args).silent();
        let folder = scratch();
        let file = folder.path().join("script");
        fs::write(&file, &script).expect("ours");
        assert!(file.metadata().expect("it is there").size() > 0 && name.groups().is_empty());
        let tool = Path::new(CGSET).parent().expect("a folder");
        let path = format!("{}:{}", tool.display(), std::env::var("PATH").unwrap_or_default());
        run(way.command("sh").arg(&file).env("PATH", path)).silent();
        assert_eq!(nodes.can(&way, &name), "r-- r--", "{script}");
    }
    Ok(())
}

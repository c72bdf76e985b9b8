//! Ordinary users, and who one is inside.

use std::os::unix::process::CommandExt;
use std::process::Command;

use support::{Test, need_root, run};

use crate::setup::{NOBODY, as_nobody, need_user_namespaces, with};

const WHO: &str = "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups";

fn who(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

pub fn an_ordinary_user_is_root_inside() -> Test {
    need_user_namespaces()?;
    let (_folder, nobody) = as_nobody();
    let ran = run(nobody().args(["-r", "sh", "-c", WHO])).silent();
    assert_eq!(who(&ran), ["0", "0", "0 65534 1", "0 65534 1", "deny"]);
    assert_eq!(
        ran,
        run(Command::new("unshare").args(["-r", "sh", "-c", WHO]).uid(NOBODY).gid(NOBODY)).silent()
    );
    let all = [
        "-r",
        "-muipC",
        "--mount-proc",
        "--hostname",
        "box",
        "sh",
        "-c",
        "echo $$; hostname; id -u",
    ];
    assert_eq!(run(nobody().args(all)).silent(), "1\nbox\n0\n");
    let root = with(&["--map-root-user"], WHO).silent();
    assert_eq!(who(&root), ["0", "0", "0 0 1", "0 0 1", "deny"]);
    Ok(())
}

pub fn an_ordinary_user_stays_oneself_inside() -> Test {
    need_user_namespaces()?;
    let (_folder, nobody) = as_nobody();
    for option in ["-c", "--map-current-user"] {
        let ran = run(nobody().args([option, "sh", "-c", WHO])).silent();
        assert_eq!(who(&ran), ["65534", "65534", "65534 65534 1", "65534 65534 1", "deny"]);
    }
    Ok(())
}

pub fn setgroups_is_denied_or_left_alone() -> Test {
    need_root()?;
    let word = "cat /proc/self/setgroups";
    assert_eq!(with(&["-U"], word).silent(), "allow\n");
    assert_eq!(with(&["-U", "--setgroups", "allow"], word).silent(), "allow\n");
    assert_eq!(with(&["-U", "--setgroups=deny"], word).silent(), "deny\n");
    Ok(())
}

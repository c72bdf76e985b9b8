//! A group given to an ordinary user.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use support::{Ran, Test, run};

use crate::layout::{EAT, Holder, Name, Nobody, cgset, need, ten_mib, until_it_holds};

/// The way that the documentation tells: root gives a group away, and puts the user's shell into
/// it; from then on the user needs no root.
pub fn a_user_limits_what_is_in_a_delegated_group() -> Test {
    need(&["memory", "pids"])?;
    let name = Name::new("delegated");
    let user = Nobody::new();
    let uid = Nobody::UID.to_string();
    cgset(&["create", "--delegate", &uid, &name]).silent();
    for dir in name.groups() {
        assert_eq!(fs::metadata(&dir).expect("it is there").uid(), Nobody::UID, "{dir:?}");
    }
    let shell = format!("{}/shell", &*name);
    user.cgset(&["create", &shell]).silent();
    // Root puts a shell of the user's there, which waits for that.
    let eat = [&ten_mib()[..], &["--"], &EAT].concat().join(" ");
    let script = format!("read -r word; {0} pids 9 -- true && exec {0} {eat}", user.program());
    let mut command = Command::new("sh");
    command.args(["-c", &script]).uid(Nobody::UID).gid(Nobody::UID).current_dir("/");
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a shell");
    cgset(&["-g", &shell, &child.id().to_string()]).ok();
    child.stdin.take().expect("piped").write_all(b"go\n").expect("it reads");
    let ended = child.wait_with_output().expect("ours");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(137), "{said}");
    assert!(said.contains("cgset: killed by the memory limit: 10 MiB"), "{said}");
    // What limits the user stays root's.
    user.cgset(&["mem", "20M", "-g", &name]).fails(1, "cgset", &["(EACCES)", "--delegate USER"]);
    assert_eq!(cgset(&["rm", &name]).silent(), "");
    assert!(name.groups().is_empty());
    Ok(())
}

pub fn strict_does_nothing_where_there_is_something_to_note() -> Test {
    need(&["memory"])?;
    let holder = Holder::start(&mut Command::new("dd"));
    until_it_holds(holder.id());
    let pid = holder.id().to_string();
    let name = Name::new("strict");
    let args = [&["--strict"], &ten_mib()[..], &["-g", &name, &pid]].concat();
    cgset(&args).fails(1, "cgset", &["already holds 3", "hint: without --strict"]);
    assert!(name.groups().is_empty());
    cgset(&["--strict", "mem", "400M", "-g", &name, &pid]).silent();
    cgset(&["--strict", "rm", &name]).fails(2, "cgset", &["--strict does not go"]);
    cgset(&["--delegate", "root", "rm", &name]).fails(2, "cgset", &["--delegate does not go"]);
    let nowhere = ["create", "--delegate", "no-such-user", "never-made"];
    cgset(&nowhere).fails(1, "cgset", &["\"no-such-user\"", "hint: "]);
    Ok(())
}

/// To chown(2) it is -1, and means that nothing changes hands.
pub fn the_largest_number_is_no_user() -> Test {
    need(&["memory"])?;
    let name = Name::new("minus-one");
    let number = u32::MAX.to_string();
    let refused = |ran: Ran| ran.fails(1, "cgset", &["is nobody's number", "hint: "]);
    refused(cgset(&["create", "--delegate", &number, &name]));
    let folder = support::scratch();
    let table = folder.path().join("passwd");
    fs::write(&table, format!("root:x:0:0::/:\nghost:x:{number}:0::/:\n")).expect("ours");
    let script = "mount --bind \"$1\" /etc/passwd; shift; exec \"$@\"";
    let mut private = support::private_sh(script);
    let args = ["create", "--delegate", "ghost", &*name];
    refused(run(private.arg(table).arg(env!("CARGO_BIN_EXE_cgset")).args(args)));
    assert!(name.groups().is_empty());
    Ok(())
}

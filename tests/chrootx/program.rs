//! Which files can be COMMAND.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::{Test, alpine, private_sh, run};

use crate::{chrootx, inside};

fn program(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("our own folder");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it was just written");
}

/// The kernel says ENOEXEC of it, and execvp(3) hands it to /bin/sh, but for musl's.
pub fn a_script_without_an_interpreter_is_for_the_shell() -> Test {
    let root = alpine()?;
    let at = |name: &str| root.path().join(name);
    program(&at("bin/headless"), b"echo \"$0\" $# \"$1\" \"$2\"; exit 7\n");
    program(&at("tmp/-e"), b"echo it is $0\n");
    program(&at("bin/empty"), b"");
    for (workdir, command, status, printed) in [
        ("/", &["/bin/headless", "a b"][..], 7, "/bin/headless 1 a b \n"),
        ("/bin", &["./headless", "a", "-x"], 7, "./headless 2 a -x\n"),
        ("/", &["headless"], 7, "/bin/headless 0  \n"),
        ("/", &["empty"], 0, ""),
    ] {
        let ran = inside(root.path(), &["-w", workdir], command);
        let said = (ran.status, ran.stdout.as_str(), ran.stderr.as_str());
        assert_eq!(said, (status, printed, ""), "{command:?}");
    }
    let dashed = inside(root.path(), &["-w", "/tmp", "-e", "PATH=:/bin"], &["-e"]);
    assert_eq!(dashed.silent(), "it is ./-e\n");
    // A shell could not read it, either.
    fs::set_permissions(at("bin/headless"), fs::Permissions::from_mode(0o711)).expect("ours");
    let hidden = inside(root.path(), &["-u", "nobody"], &["headless"]);
    hidden.fails(
        126,
        "chrootx",
        &["(EACCES)", "hint: \"/bin/headless\" may be executed, but not read"],
    );
    fs::set_permissions(at("bin/headless"), fs::Permissions::from_mode(0o700)).expect("ours");
    let denied = inside(root.path(), &["-u", "nobody"], &["headless"]);
    denied.fails(126, "chrootx", &["(EACCES)"]);
    assert!(!denied.stderr.contains("hint: "), "{denied:?}");
    fs::remove_file(at("bin/sh")).expect("alpine has it");
    let none = inside(root.path(), &[], &["/bin/headless"]);
    none.fails(127, "chrootx", &["(ENOENT)", "what has to load it, \"/bin/sh\", is not"]);
    Ok(())
}

pub fn a_mount_that_lets_no_program_run_is_named() -> Test {
    let root = alpine()?;
    let mut mounted = private_sh(
        "mount --bind \"$1\" \"$1\"; mount -o remount,bind,noexec \"$1\"; exec \"$2\" \"$1\" id",
    );
    let ran = run(mounted.arg(root.path()).arg(chrootx().get_program()));
    ran.fails(126, "chrootx", &["run \"id\"", "(EACCES)", "hint: ", "(noexec)"]);
    Ok(())
}

pub fn a_program_of_another_machine_is_not_for_the_shell() -> Test {
    let root = alpine()?;
    let path = root.path().join("bin/foreign");
    // The processor is at byte 18: one that nobody has made.
    let mut elf = fs::read(root.path().join("bin/busybox")).expect("alpine has it");
    elf[18..20].copy_from_slice(&[0xfe, 0xed]);
    for content in [&elf[..], b"\x7fELF"] {
        program(&path, content);
        for name in ["/bin/foreign", "foreign"] {
            let ran = inside(root.path(), &[], &[name]);
            ran.fails(126, "chrootx", &["(ENOEXEC)", "hint: it is a program of another machine"]);
        }
    }
    Ok(())
}

pub fn a_command_that_nobody_named_is_explained() -> Test {
    let root = alpine()?;
    let passwd = |shell: &str| {
        let text = format!("root:x:0:0:root:/root:{shell}\nann:x:7:7::/:/bin/annsh\n");
        fs::write(root.path().join("etc/passwd"), text).expect("our own folder");
    };
    passwd("/bin/none");
    let of_passwd = "hint: no COMMAND is given, so it is the user's shell";
    for (options, command, what, hint) in [
        (&[][..], &[][..], "run \"/bin/none\"", of_passwd),
        (&["-u", "ann"], &[], "run \"/bin/annsh\"", of_passwd),
        (&["--ready", "2", "-u", "ann"], &[], "run \"/bin/annsh\"", of_passwd),
        (&[], &[""], "run \"\"", "is a shell variable empty?"),
        (&[], &["--user", "ann"], "run \"--user\"", "hint: options stand in front of ROOTFS"),
    ] {
        let mut ran = inside(root.path(), options, command);
        if options.contains(&"--ready") {
            let (told, said) = ran.stderr.split_once('\n').expect("two lines");
            assert!(told.starts_with("err run"), "{told}");
            ran.stderr = said.to_owned();
        }
        ran.fails(127, "chrootx", &[what, "(ENOENT)", hint]);
    }
    // If it is there, it is its loader that is not.
    fs::copy("/bin/ls", root.path().join("bin/none")).expect("a program linked to glibc");
    inside(root.path(), &[], &[]).fails(127, "chrootx", &["is there; what has to load it"]);
    Ok(())
}

pub fn a_number_that_is_none_is_explained() -> Test {
    let root = alpine()?;
    for options in [
        &["-u", "4294967295"][..],
        &["-u", "4294967295:0"],
        &["-u", "0:99999999999999999999"],
        &["--groups", "4294967296"],
    ] {
        let ran = inside(root.path(), options, &["/bin/true"]);
        ran.fails(125, "chrootx", &["look up the ", "hint: ids go from 0 to 4294967294"]);
    }
    Ok(())
}

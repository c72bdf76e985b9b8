//! What an engine needs: to hear that all is ready, to say when it goes on, and a terminal.

use std::fs::{self, File};
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::sys;
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use support::{
    Ran, TempDir, Test, alpine, eventually, need_program, note, private_sh, run, scratch, sh,
    shells, wait,
};

use crate::{chrootx, inside};

/// A folder with two FIFOs.
fn fifos() -> TempDir {
    let folder = scratch();
    run(Command::new("mkfifo").args(["ready", "hold"]).current_dir(folder.path())).silent();
    folder
}

fn started(command: &mut Command) -> Child {
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.spawn().expect("it starts")
}

fn ended(mut child: Child) -> (Option<i32>, String, String) {
    let status = wait(&mut child, Duration::from_secs(20)).expect("it ends");
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.expect("piped").read_to_string(&mut out).expect("text");
    child.stderr.expect("piped").read_to_string(&mut err).expect("text");
    note(&Ran { status: shells(status), stdout: out.clone(), stderr: err.clone() });
    (status.code(), out, err)
}

pub fn it_says_when_it_is_ready_and_waits() -> Test {
    let root = alpine()?;
    for options in [&[][..], &["--chroot"], &["--cap-default", "--seccomp", "default"]] {
        let folder = fifos();
        let mut command = chrootx();
        command.args(["--ready", "ready", "--hold", "hold", "-u", "nobody"]).args(options);
        command.arg(root.path()).args(["sh", "-c", "id -u; ls /proc/self/fd 2>&1"]);
        let child = started(command.current_dir(folder.path()));
        let said = fs::read_to_string(folder.path().join("ready")).expect("a FIFO");
        assert_eq!(said, "ok\n");
        // Nothing is COMMAND's yet: it is ours, and root's; but its mounts are there.
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it waits");
        assert!(status.contains("Name:\tchrootx") && status.contains("Uid:\t0\t0"), "{status}");
        let own = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).expect("a process");
        let pivoted = own(&child.id().to_string()) != own("self");
        assert_eq!(pivoted, !options.contains(&"--chroot"));
        // Opened for writing alone, for somebody is there who reads.
        let mut hold =
            File::options().write(true).open(folder.path().join("hold")).expect("a FIFO");
        fs::remove_file(folder.path().join("hold")).expect("our own folder");
        hold.write_all(b"x").expect("it is read");
        let (status, out, err) = ended(child);
        assert_eq!((status, out.lines().next(), err.as_str()), (Some(1), Some("65534"), ""));
    }
    Ok(())
}

pub fn it_says_why_it_is_not_ready() -> Test {
    let root = alpine()?;
    let strace = need_program("strace")?;
    let root = root.path().to_str().expect("a plain name");
    let failing = "inject=unshare:error=EIO";
    for (before, args, status, said) in [
        ("", &[root, "nope"][..], 127, "err run \"nope\": No such file or directory (ENOENT)\n"),
        ("", &[root, "/no/pe"], 127, "err run \"/no/pe\": No such file or directory (ENOENT)\n"),
        ("", &[root, "/etc/passwd"], 126, "err run \"/etc/passwd\": Permission denied (EACCES)\n"),
        ("", &[root, "/etc"], 126, "err run \"/etc\": Permission denied (EACCES)\n"),
        ("", &["--chroot", root, "nope"], 127, "err run \"nope\": No such"),
        ("", &["-w", "/etc", root, "./passwd"], 126, "err run \"./passwd\": Permission"),
        ("", &["-w", "/none", root, "true"], 125, "err enter \"/none\" in the new root: No such"),
        ("", &["--chroot", "-w", "none", root, "true"], 125, "err enter \"none\" in the new root"),
        ("", &["-w", "etc/passwd", root, "true"], 125, "err enter \"etc/passwd\" in the new root"),
        ("", &["-e", "PATH=/opt", root, "true"], 127, "err run \"true\": No such"),
        ("", &["/none", "true"], 125, "err open the root file system \"/none\": No such"),
        ("", &["-u", "alice", root, "true"], 125, "err look up the user \"alice\": not in"),
        (failing, &[root, "true"], 125, "err make a mount namespace: I/O error (EIO)\n"),
    ] {
        let folder = fifos();
        let mut command = Command::new("env");
        if !before.is_empty() {
            command.arg(&strace).args(["-qq", "-o", "/dev/null", "-e", before]);
        }
        command.arg(env!("CARGO_BIN_EXE_chrootx")).args(["--ready", "ready", "--hold", "hold"]);
        let child = started(command.args(args).current_dir(folder.path()));
        let heard = fs::read_to_string(folder.path().join("ready")).expect("a FIFO");
        assert!(heard.starts_with(said) && heard.lines().count() == 1, "{args:?}: {heard}");
        let (code, out, err) = ended(child);
        assert_eq!((code, out.as_str()), (Some(status), ""), "{err}");
        assert!(err.starts_with(&heard.replacen("err ", "chrootx: ", 1)), "{err}");
    }
    Ok(())
}

pub fn a_descriptor_hears_it_too() -> Test {
    let root = alpine()?;
    let script = "\"$2\" --ready 7 \"$1\" sh -c \\
        'echo ran; (echo leaked >&7) 2>/dev/null' 7>&1";
    let ran = run(sh(script).arg(root.path()).arg(env!("CARGO_BIN_EXE_chrootx")));
    assert_eq!((ran.stdout.as_str(), ran.status), ("ok\nran\n", 1));
    assert_eq!(inside(root.path(), &["--ready", "1"], &["echo", "ran"]).silent(), "ok\nran\n");
    let closed = inside(root.path(), &["--ready", "77"], &["true"]);
    closed.fails(125, "chrootx", &["open \"77\" to say that all is ready", "(EBADF)"]);
    let file = scratch();
    let name = file.path().join("hold");
    fs::write(&name, "x").expect("our own folder");
    let plain = inside(root.path(), &["--hold", name.to_str().expect("a plain name")], &["true"]);
    plain.fails(125, "chrootx", &["it is no FIFO", "hint: make one: mkfifo"]);
    Ok(())
}

pub fn the_script_waits_and_tells_too() -> Test {
    let root = alpine()?;
    for (args, program, heard, status) in [
        (&["--keep-fd", "9"][..], "true", "ok\n", 0),
        (&["--chroot", "--workdir", "/bin"], "./true", "ok\n", 0),
        (&[], "nope", "err run nope: not found\n", 127),
        (&["-w", "none"], "true", "err enter ./none in the new root\n", 125),
        (&["-e", "PATH=/opt"], "id", "err run id: not found\n", 127),
        (&["-e", "PATH=/opt:/usr/bin"], "id", "ok\n", 0),
    ] {
        let folder = fifos();
        let mut command = chrootx();
        command.args(["-n", "--ready", "ready", "--hold", "hold"]).args(args).arg(root.path());
        let script = run(command.arg(program)).silent();
        let child =
            started(sh("exec 9</dev/null\n".to_owned() + &script).current_dir(folder.path()));
        let said = fs::read_to_string(folder.path().join("ready")).expect("a FIFO");
        assert_eq!(said, heard, "{script}");
        if heard == "ok\n" {
            fs::write(folder.path().join("hold"), "x").expect("somebody reads");
        }
        let (code, out, err) = ended(child);
        let out =
            out.trim_start_matches("uid=0(root) gid=0(root)").trim_start_matches(|c| c != '\n');
        assert_eq!((code, out.trim(), err.as_str()), (Some(status), "", ""), "{script}");
    }
    // The script's standard output is COMMAND's, too.
    let script = inside(root.path(), &["-n", "--ready", "1"], &["/bin/echo", "hi"]).silent();
    assert_eq!(run(&mut sh(&script)).silent(), "ok\nhi\n");
    // Where we are is where COMMAND is looked for.
    let here = ["--ready", "1", "--skip-chdir", "/", "./bin/echo", "hi"];
    for (dry, options) in [(false, &[][..]), (true, &["-n"])] {
        let mut command = chrootx();
        command.args(options).args(here).current_dir(root.path());
        let mut ran = run(&mut command);
        if dry {
            ran = run(sh(ran.silent()).current_dir(root.path()));
        }
        assert_eq!((ran.status, ran.stdout.as_str()), (0, "ok\nhi\n"), "{ran:?}");
    }
    Ok(())
}

/// Has chrootx run a line of shell with a terminal; `prepare` sees the root as `$1`.
fn with_console(root: &Path, socket: &Path, prepare: &str, options: &str, line: &str) -> Child {
    let script = format!(
        "mount -t devpts -o newinstance,ptmxmode=000,gid=5,mode=620 devpts \"$1/dev/pts\"
        {prepare}; exec $SETSID $STRACE \"$2\" --console-socket \"$3\" {options} \"$1\" sh -c \"$4\""
    );
    let mut command = private_sh(&script);
    // Its own session, or a child that leads nothing yet: both will do.
    command.env("SETSID", if options.is_empty() { "setsid" } else { "" });
    command.arg(root).arg(env!("CARGO_BIN_EXE_chrootx")).arg(socket).arg(line);
    started(&mut command)
}

/// What comes by the socket: a name, and the terminal's other end.
fn received(listener: &UnixListener) -> Option<(String, OwnedFd)> {
    let (stream, _) = listener.accept().expect("it connects");
    let (mut name, mut space) = ([0; 64], cmsg_space!([i32; 2]));
    let (length, fds) = {
        let mut data = [IoSliceMut::new(&mut name)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut data, Some(&mut space), flags);
        let message = message.expect("a message");
        let fds: Vec<i32> = message
            .cmsgs()
            .expect("all of it")
            .filter_map(|part| match part {
                ControlMessageOwned::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        (message.bytes, fds)
    };
    let [fd] = fds.as_slice() else { return None };
    let master = sys::inherited(fd.unsigned_abs()).expect("it is open");
    Some((String::from_utf8_lossy(&name[..length]).into_owned(), master))
}

pub fn a_terminal_is_given_and_its_other_end_sent() -> Test {
    let root = alpine()?;
    fs::create_dir_all(root.path().join("dev/pts")).expect("our own folder");
    fs::write(root.path().join("dev/console"), "").expect("our own folder");
    let folder = scratch();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).expect("our own folder");
    let line = "tty; stat -c %t:%T /dev/console; stat -c %t:%T /dev/pts/0; stat -c %u /dev/pts/0
        echo there >/dev/console; echo tty >/dev/tty; trap 'echo interrupted; exit 7' INT; read x; echo $x; read x";
    let prepare = "mount -t proc proc \"$1/proc\"; mknod -m 666 \"$1/dev/tty\" c 5 0";
    let child = with_console(root.path(), &socket, prepare, "-u 65534:65534", line);
    let Some((name, master)) = received(&listener) else {
        panic!("no descriptor: {:?}", ended(child))
    };
    assert_eq!(name, "/dev/pts/0");
    let mut master = File::from(master);
    let mut said = String::new();
    let mut read = |master: &mut File, until: &str| {
        eventually(until, || {
            let mut bytes = [0; 512];
            let count = master.read(&mut bytes).unwrap_or(0); // EIO: nobody has it open
            said += &String::from_utf8_lossy(&bytes[..count]);
            assert!(count > 0, "it has ended: {said}");
            said.contains(until).then(|| said.replace('\r', ""))
        })
    };
    let seen = read(&mut master, "tty\r\n");
    assert_eq!(seen, "/dev/pts/0\n88:0\n88:0\n65534\nthere\ntty\n");
    // Not before: its echo would come between those lines.
    master.write_all(b"typed\n").expect("a terminal");
    read(&mut master, "typed\r\ntyped\r\n");
    // Typed, it is a signal to the foreground of this very terminal.
    master.write_all(b"\x03").expect("a terminal");
    read(&mut master, "interrupted");
    assert_eq!(ended(child), (Some(7), String::new(), String::new()));
    assert_eq!(fs::read(root.path().join("dev/console")).expect("it is there"), b"");
    Ok(())
}

/// Each call that makes the terminal fails in turn: nobody is left with half of one.
pub fn a_terminal_that_can_not_be_had_is_said() -> Test {
    let strace = need_program("strace")?;
    let root = alpine()?;
    fs::create_dir_all(root.path().join("dev/pts")).expect("our own folder");
    fs::write(root.path().join("dev/console"), "").expect("our own folder");
    for (call, nth) in [
        ("connect", 1),
        ("setsid", 1),
        ("ioctl", 1),
        ("ioctl", 2),
        ("ioctl", 3),
        ("ioctl", 4),
        ("fchown", 1),
        ("open_tree", 2),
        ("move_mount", 2),
        ("sendmsg", 1),
    ] {
        let folder = scratch();
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).expect("our own folder");
        let inject = format!("-e trace={call} -e inject={call}:error=EIO:when={nth}");
        // strace has a child of its own for it, which leads nothing.
        let prepare = format!("STRACE='{} -qq -o /dev/null {inject}'", strace.display());
        let child = with_console(root.path(), &socket, &prepare, "-u 65534:65534", "echo ran");
        let (status, out, err) = ended(child);
        assert_eq!((status, out.as_str()), (Some(125), ""), "{call} {nth}: {err}");
        assert!(
            err.starts_with("chrootx: ") && err.contains("(EIO)") && err.lines().count() == 1,
            "{err}"
        );
    }
    Ok(())
}

/// CVE-2025-52565 and its like: what looks like a terminal leads elsewhere.
pub fn a_terminal_that_is_none_is_refused() -> Test {
    let victim = scratch();
    let outside = victim.path().join("file");
    fs::write(&outside, "mine\n").expect("our own folder");
    let outside = outside.to_str().expect("a plain name");
    for (prepare, parts) in [
        (
            "rm \"$1/dev/console\"; ln -s $OUT \"$1/dev/console\"",
            ["mount the new terminal", "(ELOOP)"],
        ),
        ("umount \"$1/dev/pts\"", ["open \"/dev/pts/ptmx\"", "(ENOENT)"]),
        (
            "umount \"$1/dev/pts\"; ln -s /dev/ptmx \"$1/dev/pts/ptmx\"",
            ["open \"/dev/pts/ptmx\"", "(ELOOP)"],
        ),
        ("umount \"$1/dev/pts\"; mkfifo \"$1/dev/pts/ptmx\"", ["it is no ptmx of a devpts", ""]),
        (
            "umount \"$1/dev/pts\"; mknod \"$1/dev/pts/ptmx\" c 5 2",
            ["it is no ptmx of a devpts", ""],
        ),
        ("mv \"$1/dev\" \"$1/ved\"; ln -s ved \"$1/dev\"", ["open \"/dev/pts/ptmx\"", "(ELOOP)"]),
    ] {
        let root = alpine()?;
        fs::create_dir_all(root.path().join("dev/pts")).expect("our own folder");
        fs::write(root.path().join("dev/console"), "").expect("our own folder");
        let folder = scratch();
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).expect("our own folder");
        let prepare = prepare.replace("$OUT", outside);
        let child = with_console(root.path(), &socket, &prepare, "", "echo ran");
        let (status, out, err) = ended(child);
        assert_eq!((status, out.as_str()), (Some(125), ""), "{prepare}: {err}");
        assert!(parts.iter().all(|part| err.contains(part)), "{prepare}: {err}");
        assert_eq!(fs::read_to_string(outside).expect("it is there"), "mine\n");
    }
    let root = alpine()?;
    let none = inside(root.path(), &["--console-socket", "/none"], &["true"]);
    none.fails(125, "chrootx", &["connect to \"/none\"", "(ENOENT)"]);
    Ok(())
}

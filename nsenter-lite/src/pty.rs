//! A terminal of COMMAND's own, `--pty`: a pseudoterminal, and what passes between it and us.
//!
//! On the caller's own terminal COMMAND could type what our caller then reads (`TIOCSTI(2const)`).
//! Its session has another one, whose other side is held by the process outside.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use common::sys::{descriptor, tty};
use common::terminal::{DEVPTS, TTY, has_tty, is_in_background, new_devpts};
use common::{Failure, Tried, file, sys};
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstat, makedev};
use nix::sys::termios::{LocalFlags, OutputFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use crate::relay::Relay;
use crate::{procfs, wire};

/// The file system that the terminal is a file in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devpts {
    /// A new one, for a mount namespace that is new.
    New,
    /// That of the mount namespace we are in.
    Here,
}

/// Where terminals have their names.
const PTS: &str = "/dev/pts";

/// Where a pseudoterminal is handed over: it is made inside, for in a user namespace only those in
/// the new mount namespace may make a devpts, and one side of it is for the process outside.
#[derive(Debug)]
pub struct Counter {
    outside: OwnedFd,
    inside: OwnedFd,
    /// Whether our caller's terminal is set for others, perhaps for a shell that edits its line.
    in_background: bool,
}

/// COMMAND's side.
#[derive(Debug)]
pub struct Terminal {
    peer: OwnedFd,
    mount: Option<OwnedFd>,
    /// Where errors were told before.
    stderr: Option<OwnedFd>,
}

impl Devpts {
    /// For a process that is, or is not, in a new mount namespace.
    pub fn choose(new_mounts: bool) -> Self {
        if new_mounts && Path::new(PTS).is_dir() { Self::New } else { Self::Here }
    }
}

impl Counter {
    /// Signals must be blocked.
    pub fn open() -> Result<Self, Failure> {
        let (outside, inside) = wire::sockets()?;
        Ok(Self { outside, inside, in_background: is_in_background(stdin()) })
    }

    /// For the one that becomes COMMAND. Makes both sides, like our caller's terminal in what keys do
    /// and in its size.
    pub fn make(self, devpts: Devpts) -> Result<Terminal, Failure> {
        let (master, mount) = match devpts {
            Devpts::New => from_new()?,
            Devpts::Here => (from_here()?, None),
        };
        tty::unlock(&master).tried(|| "unlock a new terminal")?;
        // Never by its name, which may lead elsewhere by now (CVE-2025-52565).
        let peer = tty::peer(&master).tried(|| "open the other side of a new terminal")?;
        imitate(&peer, self.in_background).tried(|| "set up a new terminal")?;
        descriptor::send(&self.inside, b"\n", [&master, &peer])
            .tried(|| "hand over the other side of a new terminal")?;
        Ok(Terminal { peer, mount, stderr: None })
    }

    /// For the one that stays. None, if the other one has failed, and told why.
    pub fn relay(self) -> Result<Option<Relay>, Failure> {
        drop(self.inside);
        let both = descriptor::receive_both(&self.outside);
        let both = both.tried(|| "get the other side of a new terminal")?;
        Ok(both.map(|[master, peer]| Relay::new(master, peer)))
    }
}

fn from_new() -> Result<(OwnedFd, Option<OwnedFd>), Failure> {
    let mount = new_devpts(DEVPTS, has_tty()).tried(|| "make a new devpts")?;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master =
        openat(&mount, "ptmx", flags, Mode::empty()).tried(|| "make a terminal in a new devpts")?;
    Ok((master, Some(mount)))
}

/// The name may be one that somebody else's root file system has.
fn from_here() -> Result<OwnedFd, Failure> {
    let what = || "make a terminal by \"/dev/ptmx\"";
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master = open("/dev/ptmx", flags, Mode::empty()).tried(what)?;
    let found = fstat(&master).tried(what)?;
    if !file::is(&found, SFlag::S_IFCHR) || found.st_rdev != makedev(5, 2) {
        return Err(Failure::new("make a terminal by \"/dev/ptmx\": it is another file"));
    }
    Ok(master)
}

/// The line of the script, which looks for the group itself.
pub fn line(shared: bool) -> String {
    let first = procfs::apart_line(PTS, shared);
    format!(
        "{first}mount -t devpts -o nosuid,noexec,newinstance,ptmxmode=0666,mode=0620\
         $(awk '$1 <= {TTY} && {TTY} < $1 + $3 {{ print \",gid={TTY}\" }}' /proc/self/gid_map) \
         nsenter-lite {PTS}"
    )
}

/// Nobody types where input is no terminal, and nobody wants carriage returns where output is none.
fn imitate(peer: &OwnedFd, in_background: bool) -> nix::Result<()> {
    let mut mode = tcgetattr(peer)?;
    match tcgetattr(stdin()) {
        Ok(callers) if !in_background => mode = callers,
        Ok(_) => {}
        Err(_) => mode.local_flags.remove(LocalFlags::ECHO),
    }
    if !stdout().is_terminal() {
        mode.output_flags.remove(OutputFlags::OPOST);
    }
    tcsetattr(peer, SetArg::TCSANOW, &mode)?;
    callers_size().map_or(Ok(()), |size| tty::set_size(peer, &size))
}

/// The size of the caller's terminal, wherever we see it.
pub fn callers_size() -> Option<tty::Size> {
    let (stdin, stdout, stderr) = (stdin(), stdout(), stderr());
    [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()].into_iter().find_map(|fd| tty::size(fd).ok())
}

impl Terminal {
    /// Shows the devpts that the terminal is in, in our mount namespace.
    pub fn mount(&mut self, shared: bool) -> Result<(), Failure> {
        let what = || format!("mount a devpts on {PTS:?}");
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Some(mount) = self.mount.take() else { return Ok(()) };
        let place = open(PTS, flags, Mode::empty()).tried(what)?;
        procfs::set_apart(&place, shared).tried(what)?;
        sys::move_mount(mount, place).tried(what)
    }

    /// A new session, with this terminal for its own, and for its input and output.
    pub fn enter(&mut self) -> Result<(), Failure> {
        setsid().tried(|| "make a session for the command")?;
        tty::take(&self.peer).tried(|| "make a terminal that of the session")?;
        let what = || "put the command on its terminal";
        self.stderr = stderr().as_fd().try_clone_to_owned().ok();
        dup2_stdin(&self.peer).tried(what)?;
        dup2_stdout(&self.peer).tried(what)?;
        dup2_stderr(&self.peer).tried(what)?;
        sys::standard_descriptors_are_ours();
        Ok(())
    }

    /// COMMAND could not be run: our caller is told where it expects to be.
    pub fn leave(&mut self) {
        if let Some(stderr) = self.stderr.take() {
            let _ = dup2_stderr(stderr);
        }
    }
}

//! A terminal of the container's own, whose other end goes to an engine by a socket.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use common::sys::{descriptor, tty};
use common::{Failure, Tried, file, inroot, sys};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat, major, minor};
use nix::sys::statfs::{DEVPTS_SUPER_MAGIC, fstatfs};
use nix::unistd::{Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown, getpid, getsid, setsid};

/// Before the root is another: the socket is the engine's.
pub fn connect(socket: &Path) -> Result<UnixStream, Failure> {
    UnixStream::connect(socket).tried(|| format!("connect to {socket:?}"))
}

/// Has standard input, output and error be a new terminal that belongs to `owner`, and sends its
/// other end. The root's own names are not trusted: no symbolic link is followed, and what is
/// opened must be what it is called.
pub fn open(socket: &UnixStream, root: impl AsFd, owner: Option<u32>) -> Result<(), Failure> {
    lead()?;
    let master = master(&root)?;
    tty::unlock(&master).tried(|| "unlock the new terminal")?;
    let slave = tty::peer(&master).tried(|| "open the new terminal")?;
    let number = tty::number(&master).tried(|| "number the new terminal")?;
    if let Some(owner) = owner {
        fchown(&slave, Some(Uid::from_raw(owner)), None)
            .tried(|| format!("give the new terminal to the user {owner}"))?;
    }
    // Until it is sent, to lose it is no hang-up: nobody has it for a terminal.
    mount(&root, &slave)?;
    send(socket, &master, number)?;
    tty::take(&slave).tried(|| "make the new terminal the session's").map_err(|failure| {
        failure.hint_if(Errno::EPERM, || {
            "the session has a terminal already: start it by setsid".into()
        })
    })?;
    dup2_stdin(&slave)
        .and_then(|()| dup2_stdout(&slave))
        .and_then(|()| dup2_stderr(&slave))
        .tried(|| "make the new terminal the standard input and output")
}

fn master(root: impl AsFd) -> Result<OwnedFd, Failure> {
    let what = || "open \"/dev/pts/ptmx\" of the root file system for a terminal";
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
    // Looked at first: to open a device can do something, and a FIFO waits.
    let found = inroot::open_plain(&root, Path::new("dev/pts/ptmx"), OFlag::O_PATH)
        .tried(what)
        .map_err(|failure| {
            failure.hint_if(Errno::ENOENT, || {
                "bindmount --std gives the root file system terminals of its own".into()
            })
        })?;
    let (stat, system) = (fstat(&found).tried(what)?, fstatfs(&found).tried(what)?);
    let is_device = file::is(&stat, SFlag::S_IFCHR);
    let numbers = (major(stat.st_rdev), minor(stat.st_rdev));
    if !is_device || numbers != (5, 2) || system.filesystem_type() != DEVPTS_SUPER_MAGIC {
        return Err(Failure::new(format!("{}: it is no ptmx of a devpts", what())));
    }
    inroot::open_plain(&root, Path::new("dev/pts/ptmx"), flags).tried(what)
}

/// On /dev/console, if the root has one.
fn mount(root: impl AsFd, slave: &OwnedFd) -> Result<(), Failure> {
    let what = || "mount the new terminal on \"/dev/console\" of the root file system";
    match inroot::open_plain(root, Path::new("dev/console"), OFlag::O_PATH) {
        Err(Errno::ENOENT) => Ok(()),
        place => {
            let place = place.tried(what)?;
            let denied = || {
                "it takes open_tree(2) and move_mount(2): Linux 5.2, and no filter (seccomp) that \
                 denies them"
                    .into()
            };
            sys::copy_of_mount(slave)
                .and_then(|tree| sys::move_mount(tree, place))
                .tried(what)
                .map_err(|failure| failure.hint_if(Errno::ENOSYS, denied))
                .map_err(|failure| failure.hint_if(Errno::EPERM, denied))
        }
    }
}

fn send(socket: &UnixStream, master: &OwnedFd, number: u32) -> Result<(), Failure> {
    let name = format!("/dev/pts/{number}");
    descriptor::send(socket, name.as_bytes(), [master])
        .tried(|| "send the new terminal by the socket")
}

/// A session that has no terminal yet. Who leads one already need not make one.
fn lead() -> Result<(), Failure> {
    if getsid(None) == Ok(getpid()) {
        return Ok(());
    }
    setsid().map(drop).tried(|| "make a session for the new terminal").map_err(|failure| {
        failure.hint_if(Errno::EPERM, || {
            "the leader of a process group can't: start it by setsid --fork --wait".into()
        })
    })
}

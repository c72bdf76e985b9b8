//! What chrootx does, step by step.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use common::{Failure, Flow, Form, Line, Tried, exec, report, shell, sys};
use nix::errno::Errno;
use nix::sys::prctl::set_no_new_privs;
use nix::sys::stat::{Mode, umask};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chroot, fchdir};

use crate::capability::Set;
use crate::console;
use crate::descriptor;
use crate::engine::{self, Search};
use crate::identity::Identity;
use crate::landlock::Rules;
use crate::limit::Limit;
use crate::root::{self, Attributes};
use crate::seccomp::Filter;
use crate::variable::{self, Variable};

/// What chrootx holds while it works.
#[derive(Debug, Default)]
pub struct Hands {
    /// The new root, as the caller has named it.
    pub root: Option<OwnedFd>,
    /// Its name after the change of root: `/`, or `.` where chroot(2) is still to come.
    pub place: &'static str,
    /// COMMAND is the user's shell, for nobody has named another.
    pub is_default: bool,
    /// Who waits to hear that all is ready.
    pub ready: Option<File>,
    hold: Option<OwnedFd>,
    socket: Option<UnixStream>,
    /// What Landlock's rules allow, in their order.
    pub allowed: Vec<OwnedFd>,
    /// They hold, for exec(2) too.
    restricted: bool,
}

/// One step into another root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// What the caller has left open is closed, but these; in the script, where it is written to
    /// later, not yet that one.
    Descriptors { keep: BTreeSet<u32>, ready: Option<u32> },
    /// A FIFO to wait at; its number in the script.
    OpenHold(PathBuf, u32),
    /// Where to say that all is ready. It is open by now, to hear of what fails before, too.
    OpenReady(OsString, u32),
    /// Where the other end of a terminal goes.
    Connect(PathBuf),
    /// The mount namespace that is there becomes ours, for it is not the one that is open there.
    InPlace(u32),
    /// A mount namespace of our own.
    OwnMounts,
    /// The directory we are in, mounted on itself.
    MountOnItself,
    /// What this mount is not for: the one that we are in, or the root that we have.
    Attributes(&'static str, Attributes),
    /// None of the caller's keys.
    Keyring,
    /// No program gains privileges.
    NoNewPrivileges,
    /// None of the caller's variables, but TERM.
    ClearEnvironment,
    /// The working directory goes to the new root first.
    Enter(PathBuf),
    /// The mount we are in becomes the root of the mount namespace; the old one goes.
    Pivot,
    /// HOME and what belongs to it, and what is asked for.
    Environment(Vec<Variable>),
    /// What a shell makes use of itself, or would not hand on.
    LateEnvironment(Vec<Variable>),
    /// So much, and no more.
    Limit(Limit),
    /// The bits that new files don't get.
    Umask(u32),
    /// A terminal of the root's own, for this user.
    Terminal(Option<u32>),
    /// COMMAND is looked for, and whoever waits is told by this descriptor.
    Ready(Search, u32),
    /// Nothing goes on before a byte comes.
    Hold(u32),
    /// The directory we are in becomes the root of this process, perhaps with fewer privileges; or
    /// its root stays the root, and the directory where it is.
    Chroot { stay: bool, identity: Identity, gone: Option<Set> },
    /// The working directory, inside.
    Workdir(PathBuf),
    /// No files, ports and processes but those of the rules.
    Landlock(Rules),
    /// No system calls but those that it lets through; in the script by the name of a file.
    Filter { name: PathBuf, filter: Filter },
    /// The filter, for other programs.
    PrintFilter(Filter),
    /// COMMAND.
    Exec(Vec<OsString>),
}

impl common::Step for Step {
    type Hands = Hands;

    fn line(&self) -> Line {
        match self {
            Self::Descriptors { keep, ready } => {
                Line::Run(descriptor::line(&keep.iter().chain(ready).copied().collect()))
            }
            Self::OpenHold(path, fd) => Line::Run(format!("exec {fd}<>{}", shell::word(path))),
            Self::OpenReady(path, fd) => Line::Run(format!("exec {fd}>{}", shell::word(path))),
            Self::Connect(_) => Line::Run(
                "echo 'no command sends a terminal by a socket: that takes chrootx' >&2; exit 125"
                    .into(),
            ),
            Self::InPlace(outside) => Line::Run(root::in_place_line(*outside)),
            Self::OwnMounts => Line::Within("unshare --mount --propagation private".into()),
            // The path again, for the mount on it is entered only so.
            Self::MountOnItself => Line::Run("mount --rbind . .; cd \"$PWD\"".into()),
            Self::Enter(dir) => Line::Run(format!("cd -P {}", shell::folder(dir))),
            Self::Workdir(dir) => Line::Run(format!("cd {} || exit 125", shell::folder(dir))),
            Self::Attributes(mount, attributes) => Line::Run(attributes.line(mount)),
            Self::Keyring => Line::Within("keyctl session -".into()),
            Self::NoNewPrivileges => Line::Within("setpriv --no-new-privs".into()),
            Self::ClearEnvironment => Line::Within(variable::clear_line()),
            Self::Pivot => Line::Run("mount --move . /".into()),
            Self::Environment(variables) => Line::Run(variable::export_line(variables)),
            Self::LateEnvironment(variables) => Line::Within(variable::env_line(variables)),
            Self::Limit(limit) => Line::Run(limit.line()),
            Self::Umask(mask) => Line::Run(format!("umask {mask:03o}")),
            Self::Terminal(_) => Line::Within("setsid --ctty".into()),
            Self::Ready(search, fd) => Line::Run(search.line(*fd)),
            Self::Hold(fd) => Line::Run(format!("head -c 1 <&{fd} >/dev/null; exec {fd}<&-")),
            Self::Chroot { stay, identity, gone: None } => {
                let options = identity.chroot_options();
                let stay = if *stay { " --skip-chdir" } else { "" };
                let root = if stay.is_empty() { "." } else { "/" };
                Line::Within(format!("chroot{stay}{options} {root}"))
            }
            Self::Chroot { stay, identity, gone: Some(gone) } => {
                Line::Within(capsh_line(*stay, identity, *gone))
            }
            Self::Landlock(rules) => Line::Within(rules.line()),
            Self::Filter { name, .. } => {
                Line::Within(format!("setpriv --seccomp-filter {}", shell::operand(name)))
            }
            Self::PrintFilter(filter) => Line::Run(format!("printf '{}'", octal(&filter.bytes()))),
            Self::Exec(command) => Line::Exec(shell::line(command)),
        }
    }

    fn why(&self) -> String {
        match self {
            Self::Descriptors { .. } => {
                "what the caller left open may lead out, as a folder does; a shell closes those \
                that it has a digit for, chrootx all; close_range(2)"
            }
            Self::OpenHold(..) => "a FIFO to wait at, opened here, for it is not inside; fifo(7)",
            Self::OpenReady(..) => "where to say that all is ready; fifo(7)",
            Self::Connect(_) => "who gets the other end of the terminal; unix(7), connect(2)",
            Self::Terminal(_) => {
                "a session with a terminal of its own; pty(7), setsid(2), TIOCSCTTY(2const)"
            }
            Self::Ready(..) => {
                "whoever waits learns whether the command is there; the script needs a shell inside"
            }
            Self::Hold(_) => "whoever has started this says when it goes on; read(2)",
            Self::InPlace(_) => {
                "the mount table is not the one outside, so what follows is not seen there; \
                mount_namespaces(7)"
            }
            Self::OwnMounts => {
                "a mount table of our own: what follows is not seen outside; \
                unshare(2), mount_namespaces(7)"
            }
            Self::MountOnItself => {
                "only a mount can become the root, so the directory is \
                mounted on itself; mount(2)"
            }
            Self::Attributes(_, attributes) => attributes.why(),
            Self::Keyring => "a session keyring without the caller's keys; session-keyring(7)",
            Self::NoNewPrivileges => {
                "no program that follows gains privileges, setuid or not; PR_SET_NO_NEW_PRIVS(2const)"
            }
            Self::ClearEnvironment => {
                "what the caller's variables say is none of the command's business; environ(7)"
            }
            Self::Enter(_) => "be there first: the change of root follows the directory; chdir(2)",
            Self::Pivot => {
                "this mount becomes the root. chrootx has pivot_root(2) for that, and unmounts \
                the old root; a shell would need the umount of the new one, so it only covers it"
            }
            Self::Environment(_) => {
                "the home and shell that the root has for the user, and what was asked for; \
                passwd(5), environ(7)"
            }
            Self::LateEnvironment(_) => {
                "PATH, which all before this needs as it was, and names that no shell has; the \
                 script needs env(1) inside; environ(7)"
            }
            Self::Limit(_) => "no process that follows gets more; setrlimit(2)",
            Self::Umask(_) => "the bits that new files don't get; umask(2)",
            Self::Chroot { identity, gone: None, .. } if *identity == Identity::default() => {
                "/ means this directory from now on; chroot(2)"
            }
            Self::Chroot { gone: None, .. } => {
                "/ means this directory from now on; then groups, group and \
                user, in this order, since only root may change the first two; chroot(2), \
                setgroups(2), setresgid(2), setresuid(2)"
            }
            Self::Chroot { gone: Some(_), .. } => {
                "/ means this directory from now on, and these parts of root's power are gone \
                for all programs that follow; then the user, if one is named; chroot(2), \
                capabilities(7), setresuid(2)"
            }
            Self::Workdir(_) => "where the command starts; chdir(2)",
            Self::Landlock(_) => {
                "no files, ports and processes but these; the script needs setpriv of util-linux \
                 2.43 inside; landlock(7)"
            }
            Self::Filter { .. } => {
                "system calls that a container has no business with are refused. chrootx brings \
                the filter; the script needs setpriv of util-linux 2.41 inside, and the file, \
                which chrootx --print-seccomp writes; seccomp(2)"
            }
            Self::PrintFilter(_) => "a program of the kernel's own simple instructions; seccomp(2)",
            Self::Exec(_) => "become the command; execve(2)",
        }
        .into()
    }

    fn act(&self, hands: &mut Hands) -> Result<Flow, Failure> {
        match self {
            Self::Descriptors { keep, .. } => descriptor::close_all_but(keep)?,
            Self::OpenHold(path, _) => hands.hold = Some(engine::open_hold(path)?),
            Self::OpenReady(..) => {}
            Self::Connect(socket) => hands.socket = Some(console::connect(socket)?),
            Self::Terminal(owner) => hands.terminal(*owner)?,
            Self::Ready(search, _) => hands.ready(search)?,
            Self::Hold(_) => hands.hold.take().map_or(Ok(()), engine::wait)?,
            Self::InPlace(outside) => root::in_place(*outside)?,
            Self::OwnMounts => root::own_mounts()?,
            Self::MountOnItself => root::mount_on_itself()?,
            Self::Enter(dir) => hands.enter(dir)?,
            Self::Pivot => root::pivot()?,
            Self::Attributes(mount, attributes) => attributes.set(mount)?,
            Self::Keyring => new_keyring()?,
            Self::NoNewPrivileges => {
                set_no_new_privs().tried(|| "refuse privileges to come")?;
            }
            Self::ClearEnvironment => variable::clear(),
            Self::Environment(variables) | Self::LateEnvironment(variables) => {
                variables.iter().for_each(Variable::set);
            }
            Self::Limit(limit) => limit.set()?,
            Self::Umask(mask) => drop(umask(Mode::from_bits_truncate(*mask))),
            Self::Chroot { stay, identity, gone } => {
                gone.map_or(Ok(()), Set::take_from_bounding_set)?;
                chroot(if *stay { "/" } else { "." })
                    .tried(|| "make this directory the root")
                    .map_err(root::need_root)?;
                if *identity != Identity::default() {
                    identity.take()?;
                }
                gone.map_or(Ok(()), Set::give_up)?;
            }
            Self::Workdir(dir) => root::workdir(dir)?,
            Self::Landlock(rules) => {
                rules.restrict(hands.allowed.drain(..))?;
                hands.restricted = true;
            }
            Self::Filter { filter, .. } => filter.install()?,
            Self::PrintFilter(filter) => {
                report::print_bytes(&filter.bytes())?;
                return Ok(Flow::Done(0));
            }
            Self::Exec(command) => {
                let failure = hands.unruly(exec::exec(command));
                let is_there = fs::symlink_metadata(&command[0]).is_ok();
                return Err(if is_there { failure } else { hands.absent(failure, &command[0]) });
            }
        }
        Ok(Flow::Next)
    }
}

impl Hands {
    fn enter(&self, dir: &Path) -> Result<(), Failure> {
        self.root.as_ref().map_or(Ok(()), |root| fchdir(root).tried(|| format!("enter {dir:?}")))
    }

    /// What COMMAND will have for its root, by its present name.
    fn new_root(&self) -> Result<OwnedFd, Failure> {
        root::folder(self.place).tried(|| "open the new root")
    }

    fn terminal(&mut self, owner: Option<u32>) -> Result<(), Failure> {
        match self.socket.take() {
            Some(socket) => console::open(&socket, self.new_root()?, owner),
            None => Ok(()),
        }
    }

    fn ready(&mut self, search: &Search) -> Result<(), Failure> {
        let found = search.find(self.new_root()?);
        found.map_err(|failure| self.absent(failure, &search.command))?;
        self.ready.take().map_or(Ok(()), |ready| engine::tell(ready, None))
    }

    /// What is not there is perhaps not what was meant.
    fn absent(&self, failure: Failure, command: &OsStr) -> Failure {
        if failure.status(Form::Command) != 127 {
            return failure;
        }
        match command.as_bytes() {
            _ if self.is_default => failure.hint(
                "no COMMAND is given, so it is the user's shell in ROOTFS's /etc/passwd, else \
                 /bin/sh; name another: chrootx ROOTFS COMMAND",
            ),
            [b'-', ..] => {
                failure.hint("options stand in front of ROOTFS; what is behind it is COMMAND")
            }
            _ => failure,
        }
    }

    fn unruly(&self, failure: Failure) -> Failure {
        let noexec = || statvfs("/").is_ok_and(|on| on.flags().contains(FsFlags::ST_NOEXEC));
        let hint = match self.restricted {
            true => "--landlock has to allow x for COMMAND and for its loader, as rx:/usr,rx:/lib",
            false if noexec() => {
                "the mount that ROOTFS is on lets no program run (noexec); findmnt -T ROOTFS shows it"
            }
            false => return failure,
        };
        failure.hint_if(Errno::EACCES, || hint.into())
    }
}

/// capsh(1) does what it is told in order, and then runs a shell of the new root.
fn capsh_line(stay: bool, identity: &Identity, gone: Set) -> String {
    let root = if stay { "" } else { " --chroot=." };
    let mut line = format!("capsh{root} --inh= --noamb");
    let gone = Some(gone.names()).filter(|names| !names.is_empty());
    line.extend(gone.map(|names| format!(" --drop={names}")));
    line + &identity.capsh_options() + " --shell=/bin/sh -- -c 'exec \"$@\"' sh"
}

fn octal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("\\{byte:03o}"))
}

fn new_keyring() -> Result<(), Failure> {
    match sys::power::new_session_keyring() {
        // A kernel without keys has none to hide.
        Err(Errno::ENOSYS) => Ok(()),
        outcome => outcome.tried(|| "make a session keyring").map_err(|failure| {
            failure
                .hint_if(Errno::EDQUOT, || {
                    "this user has as many keys as it may: see /proc/key-users".into()
                })
                .hint_if(Errno::EPERM, || {
                    "a filter (seccomp) denies keyctl(2), as in a container; leave --new-keyring out"
                        .into()
                })
        }),
    }
}

//! The namespaces of another process: setns(2).

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use common::{Failure, Flow, Tried, shell, sys};
use nix::errno::Errno;
use nix::sched::setns;
use nix::sys::prctl::set_dumpable;
use nix::unistd::{Pid, chdir, chroot, fchdir, setgroups};

use crate::child::Child;
use crate::hint;
use crate::namespace::{self, Kind};
use crate::place::{Whom, become_command};
use crate::step::Hands;
use crate::target;

/// What is entered: one line of nsenter(1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The process, if it is one.
    pub target: Option<Pid>,
    /// Those of the process.
    pub kinds: Vec<Kind>,
    /// Those that files keep.
    pub files: Vec<(Kind, PathBuf)>,
    /// The user namespace above.
    pub user_parent: bool,
    /// The network namespace of a socket of the process.
    pub net_socket: Option<i32>,
    pub follow_context: bool,
    /// Empty is the target's.
    pub root: Option<OsString>,
    pub wd: Option<OsString>,
    pub wdns: Option<OsString>,
    pub env: bool,
    pub uid: Option<Whom>,
    pub gid: Option<Whom>,
    pub keep_caps: bool,
    /// Keep user and groups, also in a user namespace that is entered.
    pub preserve_credentials: bool,
    pub child: Option<Child>,
}

/// What is held of it.
#[derive(Debug, Default)]
pub struct Held {
    pub process: Option<OwnedFd>,
    pub files: Vec<(Kind, OwnedFd)>,
    pub user_parent: Option<OwnedFd>,
    /// The SELinux context of the process.
    pub context: Option<Vec<u8>>,
    /// The folder in /proc that tells who the process is.
    pub identity: Option<OwnedFd>,
    pub root: Option<OwnedFd>,
    pub wd: Option<OwnedFd>,
    pub env: Vec<(OsString, OsString)>,
}

impl Entry {
    /// All kinds that are entered.
    pub fn all(&self) -> Vec<Kind> {
        let parent = self.user_parent.then_some(Kind::User);
        let socket = self.net_socket.map(|_| Kind::Net);
        let files = self.files.iter().map(|(kind, _)| *kind);
        self.kinds.iter().copied().chain(files).chain(parent).chain(socket).collect()
    }

    /// Whether the target is who COMMAND will be.
    pub fn follows(&self) -> bool {
        [self.uid, self.gid].contains(&Some(Whom::Target))
    }

    /// As nsenter(1) has it.
    pub fn line(&self) -> String {
        let mut line = "nsenter".to_owned();
        if let Some(target) = self.target {
            let _ = write!(line, " --target {target}");
        }
        for kind in &self.kinds {
            line.extend([" ", kind.option()]);
        }
        for (kind, file) in &self.files {
            let _ = write!(line, " {}={}", kind.option(), shell::word(file));
        }
        if self.user_parent {
            line += " --user-parent";
        }
        if let Some(number) = self.net_socket {
            let _ = write!(line, " --net-socket {number}");
        }
        for (option, dir) in [("root", &self.root), ("wd", &self.wd)] {
            match dir {
                None => {}
                Some(dir) if dir.is_empty() => line.extend([" --", option]),
                Some(dir) => line.extend([" --", option, "=", &shell::word(dir)]),
            }
        }
        // nsenter stays in the folder it is in, though that is outside the root.
        let in_root = (self.root.is_some() && self.wd.is_none()).then(|| "/".into());
        if let Some(dir) = self.wdns.clone().or(in_root) {
            let _ = write!(line, " --wdns={}", shell::word(dir));
        }
        for (option, id) in [("setgid", self.gid), ("setuid", self.uid)] {
            if let Some(id) = id {
                let _ = write!(line, " --{option} {id}");
            }
        }
        let flags = [
            (" --env", self.env),
            (" --follow-context", self.follow_context),
            (" --keep-caps", self.keep_caps),
            (" --preserve-credentials", self.preserve_credentials),
            (" --no-fork", self.child.is_none() && self.all().contains(&Kind::Pid)),
        ];
        flags.into_iter().filter(|(_, given)| *given).for_each(|(flag, _)| line += flag);
        line
    }

    /// By a pidfd all at once: the kernel checks the rights for all of them before it enters one,
    /// and the process can't be another by then. Linux 5.8.
    pub fn act(&self, mut held: Held, hands: &mut Hands) -> Result<Flow, Failure> {
        // Those who wait inside could otherwise look into this process as soon as it is there.
        set_dumpable(false).tried(|| "keep this process to itself")?;
        if let Some(context) = &held.context {
            // While /proc still is ours. It holds for the next execve(2), of a child, too.
            fs::write("/proc/self/attr/exec", context)
                .tried(|| "have COMMAND run in the target's SELinux context")?;
        }
        self.child.map_or(Ok(()), |child| child.prepare(hands))?;
        let user = self.all().contains(&Kind::User);
        let becomes_root = user && !self.preserve_credentials;
        // Groups of the caller are nobody inside: they go now, if we may, or then, if we may.
        if becomes_root {
            let _ = setgroups(&[]);
        }
        self.set_namespaces(&held)?;
        self.go(&held)?;
        if self.env {
            sys::clear_env();
            held.env.drain(..).for_each(|(name, value)| sys::set_env(&name, &value));
        }
        let (uid, gid) = self.ids(&held)?;
        let root = becomes_root.then_some(0);
        become_command(uid.or(root), gid.or(root), self.keep_caps)?;
        self.child.map_or(Ok(Flow::Next), |child| child.fork(hands, || Ok(())))
    }

    /// User and group that were asked for.
    fn ids(&self, held: &Held) -> Result<(Option<u32>, Option<u32>), Failure> {
        let theirs = held.identity.as_ref().map(target::ids).transpose()?;
        let number = |whom, theirs| match whom {
            Whom::Number(number) => Some(number),
            Whom::Target => theirs,
        };
        let user = self.uid.and_then(|whom| number(whom, theirs.map(|(user, _)| user)));
        Ok((user, self.gid.and_then(|whom| number(whom, theirs.map(|(_, group)| group)))))
    }

    /// Those outside the user namespace that is entered are for whoever has power out here, the
    /// others for whoever has it there; which are which, the kernel says by EPERM.
    fn set_namespaces(&self, held: &Held) -> Result<(), Failure> {
        let process = held.process.iter().filter(|_| !self.kinds.is_empty());
        let mut calls: Vec<(&OwnedFd, Vec<Kind>)> =
            process.map(|process| (process, self.kinds.clone())).collect();
        calls.extend(held.files.iter().map(|(kind, file)| (file, vec![*kind])));
        calls.extend(held.user_parent.iter().map(|user| (user, vec![Kind::User])));
        let (user, others): (Vec<_>, Vec<_>) =
            calls.into_iter().partition(|(_, kinds)| kinds.contains(&Kind::User));
        let mut later = Vec::new();
        for (fd, kinds) in others {
            match setns(fd, namespace::flags(&kinds)) {
                Err(Errno::EPERM) if !user.is_empty() => later.push((fd, kinds)),
                outcome => self.outcome(outcome, &kinds)?,
            }
        }
        user.into_iter()
            .chain(later)
            .try_for_each(|(fd, kinds)| self.outcome(setns(fd, namespace::flags(&kinds)), &kinds))
    }

    fn outcome(&self, outcome: nix::Result<()>, kinds: &[Kind]) -> Result<(), Failure> {
        let what = || {
            let options = namespace::options(kinds);
            match self.target {
                Some(target) => format!("enter namespaces of process {target} ({options})"),
                None => format!("enter namespaces ({options})"),
            }
        };
        outcome.tried(what).map_err(|failure| hint::for_entering(failure, self.target, kinds))
    }

    /// Into root and folder, both found before: what has their names inside may be anything.
    fn go(&self, held: &Held) -> Result<(), Failure> {
        let to =
            |fd: &OwnedFd, what: &str| fchdir(fd.as_fd()).tried(|| format!("change to the {what}"));
        if let Some(root) = &held.root {
            to(root, "root directory")?;
            chroot(".").tried(|| "change the root directory").map_err(hint::for_root)?;
        }
        if let Some(wd) = &held.wd {
            to(wd, "working directory")?;
        }
        self.wdns.as_ref().map_or(Ok(()), |dir| {
            let dir = Path::new(dir);
            chdir(dir).tried(|| format!("change the working directory to {dir:?}"))
        })
    }
}

//! The namespaces of another process: setns(2).

use std::os::fd::OwnedFd;

use common::{Failure, Flow, Tried};
use nix::errno::Errno;
use nix::sched::setns;
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid};

use crate::child::Child;
use crate::hint;
use crate::namespace::{self, Kind};
use crate::step::Hands;

/// What is entered: one line of nsenter(1), one call of setns(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub target: Pid,
    pub kinds: Vec<Kind>,
    /// Keep user and groups, also in a user namespace that is entered.
    pub preserve_credentials: bool,
    pub child: Option<Child>,
}

impl Entry {
    /// As nsenter(1) has it.
    pub fn line(&self) -> String {
        let mut line =
            format!("nsenter --target {} {}", self.target, namespace::options(&self.kinds));
        if self.preserve_credentials {
            line += " --preserve-credentials";
        }
        if self.child.is_none() && self.kinds.contains(&Kind::Pid) {
            line += " --no-fork";
        }
        line
    }

    /// All at once, by a pidfd: the kernel checks the rights for all of them before it enters one,
    /// and the process can't be another by then. Linux 5.8.
    pub fn act(&self, pidfd: &OwnedFd, hands: &mut Hands) -> Result<Flow, Failure> {
        let becomes_root = self.kinds.contains(&Kind::User) && !self.preserve_credentials;
        // Groups of the caller are nobody inside: they go now, if we may, or then, if we may.
        let dropped = becomes_root && setgroups(&[]).is_ok();
        setns(pidfd, namespace::flags(&self.kinds))
            .tried(|| {
                let kinds = namespace::options(&self.kinds);
                format!("enter namespaces of process {} ({kinds})", self.target)
            })
            .map_err(|failure| hint::for_entering(failure, self.target, &self.kinds))?;
        if becomes_root {
            become_root(dropped)?;
        }
        self.child.map_or(Ok(Flow::Next), |child| child.fork(hands))
    }
}

/// The root of the user namespace that was entered. Where setgroups(2) is denied, the groups stay
/// those of the caller, who had them anyway.
pub fn become_root(dropped: bool) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    match setgroups(&[]) {
        Err(Errno::EPERM) => {}
        Err(_) if dropped => {}
        outcome => outcome.tried(|| "drop the supplementary groups")?,
    }
    setresgid(gid, gid, gid)
        .tried(|| "be group 0 of the user namespace")
        .map_err(hint::for_identity)?;
    setresuid(uid, uid, uid).tried(|| "be root of the user namespace").map_err(hint::for_identity)
}

//! New namespaces: unshare(2), and what must follow it at once.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use common::{Failure, Flow, Tried};
use nix::mount::{MsFlags, mount};
use nix::sched::unshare;

use crate::child::Child;
use crate::cli::{Propagation, Setgroups};
use crate::hint;
use crate::namespace::{self, Kind};
use crate::step::Hands;

/// What is made: one line of unshare(1), one call of unshare(2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Creation {
    pub kinds: Vec<Kind>,
    pub ids: Option<IdMap>,
    pub setgroups: Option<Setgroups>,
    pub propagation: Propagation,
    pub child: Option<Child>,
}

/// One user and one group of a new user namespace, and who they are outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    pub inside: (u32, u32),
    pub outside: (u32, u32),
}

impl Creation {
    /// As unshare(1) has it.
    pub fn line(&self) -> String {
        let mut line = "unshare".to_owned();
        for kind in &self.kinds {
            line.extend([" ", kind.option()]);
        }
        line += match self.ids {
            None => "",
            Some(IdMap { inside: (0, 0), .. }) => " --map-root-user",
            Some(_) => " --map-current-user",
        };
        if let Some(setgroups) = self.setgroups {
            line.extend([" --setgroups ", setgroups.word()]);
        }
        if self.propagation != Propagation::Private && self.kinds.contains(&Kind::Mount) {
            line.extend([" --propagation ", self.propagation.word()]);
        }
        line + &self.child.map(Child::options).unwrap_or_default()
    }

    /// Why, for the reader of the line.
    pub fn why(&self) -> String {
        let mut parts = Vec::new();
        if !self.kinds.is_empty() {
            let own: Vec<_> = self.kinds.iter().map(|kind| kind.what()).collect();
            parts.push(format!("a view of its own: {}; unshare(2), namespaces(7)", own.join(", ")));
        }
        match self.ids {
            None => {}
            Some(IdMap { inside: (0, 0), outside }) => parts.push(format!(
                "user {} outside is root inside, and has its capabilities; user_namespaces(7)",
                outside.0
            )),
            Some(_) => parts.push("the user has the same number inside; user_namespaces(7)".into()),
        }
        if self.kinds.contains(&Kind::Pid) {
            parts.push("only a child can be PID 1 there; pid_namespaces(7)".into());
        } else if self.child.is_some() {
            parts.push("go on in a child; fork(2)".into());
        }
        parts.join("; ")
    }

    /// Makes them. From here on there is a child, if one was asked for.
    pub fn act(&self, hands: &mut Hands) -> Result<Flow, Failure> {
        if !self.kinds.is_empty() {
            unshare(namespace::flags(&self.kinds))
                .tried(|| format!("make new namespaces ({})", namespace::options(&self.kinds)))
                .map_err(|failure| hint::for_new(failure, &self.kinds))?;
        }
        self.map_ids()?;
        if self.kinds.contains(&Kind::Mount) {
            propagate(self.propagation)?;
        }
        self.child.map_or(Ok(Flow::Next), |child| child.fork(hands))
    }

    /// Unprivileged, a group can be mapped only once setgroups(2) is denied: else a member of a
    /// group could leave it, and with it what the group is kept from.
    fn map_ids(&self) -> Result<(), Failure> {
        let deny = self.ids.map(|_| Setgroups::Deny);
        if let Some(setgroups) = deny.or(self.setgroups) {
            write_own("setgroups", setgroups.word())?;
        }
        if let Some(IdMap { inside, outside }) = self.ids {
            write_own("gid_map", &format!("{} {} 1", inside.1, outside.1))?;
            write_own("uid_map", &format!("{} {} 1", inside.0, outside.0))?;
        }
        Ok(())
    }
}

/// One write(2): the kernel takes no second one.
fn write_own(file: &str, text: &str) -> Result<(), Failure> {
    let file = Path::new("/proc/self").join(file);
    OpenOptions::new()
        .write(true)
        .open(&file)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .tried(|| format!("write {text:?} to {file:?}"))
        .map_err(|failure| hint::for_new(failure, &[Kind::User]))
}

/// A copy of a shared mount is shared too: without this, mounts made inside are seen outside.
fn propagate(propagation: Propagation) -> Result<(), Failure> {
    const NOTHING: Option<&str> = None;
    let flag = match propagation {
        Propagation::Unchanged => return Ok(()),
        Propagation::Private => MsFlags::MS_PRIVATE,
        Propagation::Slave => MsFlags::MS_SLAVE,
        Propagation::Shared => MsFlags::MS_SHARED,
    };
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | flag, NOTHING)
        .tried(|| format!("make the mounts {}", propagation.word()))
}

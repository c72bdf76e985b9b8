//! New namespaces: unshare(2), and what must follow it at once.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use common::idmap::Writer;
use common::subordinate::Extent;
use common::{Failure, Flow, Tried, pid, shell};
use nix::mount::{MsFlags, mount};
use nix::sched::unshare;

use crate::child::Child;
use crate::cli::Propagation;
use crate::clock::Clocks;
use crate::namespace::{self, Kind};
use crate::owner::Owner;
use crate::place::Inside;
use crate::step::Hands;
use crate::users::{Mapping, Setgroups};
use crate::{hint, idmap, persist};

/// What is made: one line of unshare(1), one call of unshare(2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Creation {
    pub kinds: Vec<Kind>,
    pub mapping: Mapping,
    /// Whose the user namespace is, if it is not the caller's.
    pub owner: Option<Owner>,
    /// Who asks, outside.
    pub caller: (u32, u32),
    pub setgroups: Option<Setgroups>,
    pub clocks: Clocks,
    pub propagation: Propagation,
    pub child: Option<Child>,
    /// Files that keep them.
    pub files: Vec<(Kind, PathBuf)>,
    /// Where COMMAND starts, if nothing has to be done before that.
    pub inside: Option<Inside>,
    /// What comes next in a script needs capabilities that the shell would lose.
    pub script_keeps: bool,
}

impl Creation {
    /// As unshare(1) has it.
    pub fn line(&self) -> String {
        let mut line = self.owner.map(Owner::words).unwrap_or_default() + "unshare";
        for kind in &self.kinds {
            line.extend([" ", kind.option()]);
            let file = self.files.iter().find(|(named, _)| named == kind && *kind != Kind::User);
            if let Some((_, file)) = file {
                line.extend(["=", &shell::word(file)]);
            }
        }
        line += &self.who();
        if let Some(setgroups) = self.setgroups {
            line.extend([" --setgroups ", setgroups.word()]);
        }
        line += &self.clocks.words();
        if self.propagation != Propagation::Private && self.kinds.contains(&Kind::Mount) {
            line.extend([" --propagation ", self.propagation.word()]);
        }
        if self.script_keeps || self.inside.as_ref().is_some_and(|inside| inside.keep_caps) {
            line += " --keep-caps";
        }
        line += &self.inside.as_ref().map(Inside::words).unwrap_or_default();
        // Last, for behind it stands a command already.
        line += &self.child.map(Child::options).unwrap_or_default();
        if self.mapping.by.is_some() {
            line.extend([" ", &idmap::wait(&self.mapping)]);
        }
        if let Some((_, file)) = self.files.iter().find(|(kind, _)| *kind == Kind::User) {
            line += " sh -e -c 'while [ -e \"$1\" ]; do sleep 0.01; done; shift; exec \"$@\"' sh ";
            line += &shell::operand(persist::waiting(file));
        }
        line
    }

    /// The options for a map that the process writes itself.
    fn who(&self) -> String {
        if self.mapping.by.is_some() {
            return String::new();
        }
        let id = |extents: &[Extent]| extents.first().map(|part| part.inside);
        let (user, group) = (id(&self.mapping.map.users), id(&self.mapping.map.groups));
        let current = (Some(self.caller.0.into()), Some(self.caller.1.into()));
        match (user, group) {
            (Some(0), Some(0)) => " --map-root-user".into(),
            ids if ids == current => " --map-current-user".into(),
            (user, group) => [("user", user), ("group", group)]
                .into_iter()
                .filter_map(|(what, id)| Some(format!(" --map-{what}={}", id?)))
                .collect(),
        }
    }

    /// Why, for the reader of the line.
    pub fn why(&self) -> String {
        let mut parts = Vec::new();
        if self.owner.is_some() {
            parts.push(
                "whoever makes a user namespace owns it; setpriv(1), user_namespaces(7)".into(),
            );
        }
        if !self.kinds.is_empty() {
            let own: Vec<_> = self.kinds.iter().map(|kind| kind.what()).collect();
            parts.push(format!("a view of its own: {}; unshare(2), namespaces(7)", own.join(", ")));
        }
        let (user, caller) = (self.mapping.map.users.first(), self.caller.0);
        match (self.mapping.by, user) {
            (Some(_), _) => parts.push("wait until there is a map; user_namespaces(7)".into()),
            (None, None) => {}
            (None, Some(Extent { inside: 0, .. })) => parts.push(format!(
                "user {caller} outside is root inside, and has its capabilities; user_namespaces(7)"
            )),
            (None, Some(part)) if part.inside == u64::from(caller) => {
                parts.push("the user has the same number inside; user_namespaces(7)".into());
            }
            (None, Some(part)) => parts.push(format!(
                "user {caller} outside is {} inside; user_namespaces(7)",
                part.inside
            )),
        }
        if self.clocks.ask() {
            parts.push("clocks set before anybody sees them; time_namespaces(7)".into());
        }
        if self.kinds.contains(&Kind::Pid) {
            parts.push(match self.child {
                Some(Child { init: true, .. }) => {
                    "PID 1 there adopts orphans, and the kernel ends all that is left when it ends; \
                     the one of nsenter-lite passes signals on, too, which a shell does not; \
                     pid_namespaces(7)"
                        .into()
                }
                _ => "only a child can be PID 1 there; pid_namespaces(7)".into(),
            });
        } else if self.child.is_some() {
            parts.push("go on in a child; fork(2)".into());
        }
        if let Some(inside) = &self.inside {
            parts.push(inside.why());
        }
        parts.retain(|part| !part.is_empty());
        parts.join("; ")
    }

    /// Makes them. From here on there is a child, if one was asked for.
    pub fn act(&self, hands: &mut Hands) -> Result<Flow, Failure> {
        self.child.map_or(Ok(()), |child| child.prepare(hands))?;
        self.owner.map_or(Ok(()), Owner::act)?;
        // A mount namespace is for those inside alone: what becomes their root is not ours then.
        let (later, now): (Vec<_>, Vec<_>) = (self.kinds.iter().copied())
            .partition(|kind| *kind == Kind::Mount && self.child.is_some());
        self.unshare(&now)?;
        self.map_ids(hands.writer.take())?;
        self.clocks.act()?;
        let mounts = || {
            self.unshare(&later)?;
            if self.kinds.contains(&Kind::Mount) { propagate(self.propagation) } else { Ok(()) }
        };
        match self.child {
            None => mounts()?,
            Some(child) => match child.fork(hands, mounts)? {
                Flow::Next => {}
                done @ Flow::Done(_) => return Ok(done),
            },
        }
        if let Some(keeper) = hands.keeper.take() {
            hands.keeper = Some(keeper.bind(pid::own_in_proc()?)?);
        }
        self.inside.as_ref().map_or(Ok(()), Inside::act).map(|()| Flow::Next)
    }

    /// These of them, by one call.
    fn unshare(&self, kinds: &[Kind]) -> Result<(), Failure> {
        if kinds.is_empty() {
            return Ok(());
        }
        let is_kept = self.files.iter().any(|(kind, _)| *kind == Kind::Mount);
        let outer = (is_kept && kinds.contains(&Kind::Mount)).then(persist::mount_id).flatten();
        unshare(namespace::flags(kinds))
            .and_then(|()| outer.map_or(Ok(()), persist::be_younger_than))
            .tried(|| format!("make new namespaces ({})", namespace::options(kinds)))
            .map_err(|failure| hint::for_new(failure, &self.kinds))
    }

    /// Unprivileged, a group can be mapped only once setgroups(2) is denied: else a member of a
    /// group could leave it, and with it what the group is kept from.
    fn map_ids(&self, writer: Option<Writer>) -> Result<(), Failure> {
        let map = &self.mapping.map;
        let deny = (writer.is_none() && !map.groups.is_empty()).then_some(Setgroups::Deny);
        if let Some(setgroups) = deny.or(self.setgroups) {
            write_own("setgroups", setgroups.word())?;
        }
        if let Some(writer) = writer {
            return writer.write();
        }
        for (file, extents) in [("gid_map", &map.groups), ("uid_map", &map.users)] {
            if !extents.is_empty() {
                write_own(file, &common::idmap::text(extents))?;
            }
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
        .tried(|| format!("write {:?} to {file:?}", text.trim_end()))
        .map_err(hint::for_own_file)
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
        .map_err(hint::for_propagation)
}

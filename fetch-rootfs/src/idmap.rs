//! A user namespace in which 0 is the user, and 1 and so on are their subordinate ids: what is
//! extracted in it has owners that are right when it is seen from such a namespace.
//!
//! The whole process moves into it, as long as it has no threads. It stays who it is, outside, and
//! what was the user's own can be read and written as before; but of the subordinate ids' files it
//! may do all, as root may elsewhere, and so may the next run that clears up after it.

use std::fs;

use common::idmap::{By, IdMap as Map, Writer};
use common::subordinate::{self, Extent, GROUPS, USERS, USUAL};
use common::{Failure, Tried, userns};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{User, getgid, getuid};

/// Users and groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap(Map);

impl IdMap {
    /// What this user may map.
    pub fn of_user() -> Result<Self, Failure> {
        let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
        if uid == 0 {
            return Err(Failure::usage("map the owners: root can have them as they are")
                .hint("--owner keep does that, and so does root unasked"));
        }
        let name = User::from_uid(getuid()).ok().flatten().map(|user| user.name);
        let map = |file, me| {
            let text = fs::read_to_string(file).unwrap_or_default();
            subordinate::extents(&text, name.as_deref(), uid, me)
        };
        let who = || name.as_ref().map_or_else(|| uid.to_string(), |name| format!("{name:?}"));
        let none = |files: &str, users, groups| {
            let failure = Failure::new(format!("map the owners: {} has no ids in {files}", who()));
            match subordinate::add(users, groups) {
                Some(command) => failure.hint(command),
                None => failure,
            }
        };
        match (map(USERS, uid), map(GROUPS, gid)) {
            (Some(users), Some(groups)) => Ok(Self(Map { users, groups })),
            (None, None) => Err(none(&format!("{USERS} and {GROUPS}"), USUAL, USUAL)),
            (None, _) => Err(none(USERS, USUAL, 0)),
            (_, None) => Err(none(GROUPS, 0, USUAL)),
        }
    }

    /// As unshare(1) has it. From util-linux 2.39 on the options may be repeated; its --map-auto
    /// takes the first line of each file, and before 2.39 not all of it.
    pub fn line(&self) -> String {
        let mut words = vec!["unshare --map-root-user".to_owned()];
        for (option, extents) in [("map-users", &self.0.users), ("map-groups", &self.0.groups)] {
            let given = extents.iter().skip(1);
            words.extend(given.map(|Extent { inside, outside, count }| {
                format!("--{option}={outside},{inside},{count}")
            }));
        }
        words.join(" ")
    }

    /// Moves this process into a namespace with this map.
    pub fn enter(&self) -> Result<(), Failure> {
        let writer = Writer::start("map the owners", &self.0, By::Programs)?;
        unshare(CloneFlags::CLONE_NEWUSER).tried(|| "make a user namespace").map_err(refused)?;
        writer.write()
    }
}

fn refused(failure: Failure) -> Failure {
    failure
        .hint_if(Errno::EPERM, || {
            userns::refusal().unwrap_or_else(|| {
                "is this process in a chroot, or under a seccomp filter, as in a container?".into()
            })
        })
        .hint_if(Errno::ENOSPC, || {
            "a limit is reached, not a disk full: sysctl user.max_user_namespaces shows how many \
             there may be"
                .into()
        })
}

/// How many users and groups there are for this process.
pub fn mapped() -> (u64, u64) {
    let count = |map: &str| -> u64 {
        let text = fs::read_to_string(map).unwrap_or_default();
        let counts = text.lines().filter_map(|line| line.split_whitespace().nth(2));
        counts.filter_map(|count| count.parse::<u64>().ok()).sum()
    };
    (count("/proc/self/uid_map"), count("/proc/self/gid_map"))
}

/// How an owner beyond the map gets into it, if that many ids are to be had.
pub fn raise(uid: u32, gid: u32) -> Option<String> {
    let (users, groups) = mapped();
    let lacking = |id: u32, count: u64| (u64::from(id) + 1).saturating_sub(count);
    subordinate::add(lacking(uid, users), lacking(gid, groups))
}

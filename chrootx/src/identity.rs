//! Who COMMAND runs as.

use common::{Failure, Tried, resident, shell};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, getresgid, getresuid, setgroups, setresgid, setresuid};

use crate::account::User;

/// What is to change; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub groups: Option<Vec<u32>>,
    /// The user's line in passwd, if there is one.
    pub user: Option<User>,
}

impl Identity {
    pub fn take(&self) -> Result<(), Failure> {
        resident::staying_tied(|| self.change())
    }

    /// In this order, since only root may change the first two.
    fn change(&self) -> Result<(), Failure> {
        if let Some(groups) = &self.groups {
            let gids: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
            setgroups(&gids).tried(|| format!("set the groups {groups:?}")).map_err(mapped)?;
        }
        if let Some(gid) = self.gid.map(Gid::from_raw) {
            setresgid(gid, gid, gid).tried(|| format!("set the group {gid}")).map_err(mapped)?;
            let held = getresgid().tried(|| "read the group back")?;
            if [held.real, held.effective, held.saved] != [gid; 3] {
                return Err(Failure::new(format!(
                    "set the group {gid}: it reads back as {held:?}"
                )));
            }
        }
        if let Some(uid) = self.uid.map(Uid::from_raw) {
            setresuid(uid, uid, uid).tried(|| format!("set the user {uid}")).map_err(mapped)?;
            let held = getresuid().tried(|| "read the user back")?;
            if [held.real, held.effective, held.saved] != [uid; 3] {
                return Err(Failure::new(format!("set the user {uid}: it reads back as {held:?}")));
            }
        }
        Ok(())
    }

    /// As options of chroot(1).
    pub fn chroot_options(&self) -> String {
        let number = |id: Option<u32>| id.map(|id| id.to_string()).unwrap_or_default();
        let spec = match (self.uid, self.gid) {
            (None, None) => String::new(),
            (uid, gid) => format!(" --userspec={}:{}", number(uid), number(gid)),
        };
        spec + &self.groups.as_ref().map(|list| groups(list)).unwrap_or_default()
    }

    /// As options of capsh(1), which does what it is told in order.
    pub fn capsh_options(&self) -> String {
        let option = |name, id: Option<u32>| id.map(|id| format!(" --{name}={id}"));
        let groups = self.groups.as_ref().map(|list| groups(list));
        [groups, option("gid", self.gid), option("uid", self.uid)].into_iter().flatten().collect()
    }
}

fn groups(list: &[u32]) -> String {
    let list: Vec<String> = list.iter().map(u32::to_string).collect();
    format!(" --groups={}", shell::word(list.join(",")))
}

fn mapped(failure: Failure) -> Failure {
    failure
        .hint_if(Errno::EINVAL, || {
            "a user namespace has only the users and groups mapped into it; see id(1), \
             /proc/self/uid_map"
                .into()
        })
        .hint_if(Errno::EPERM, || {
            "that takes root; in a user namespace it takes ids that root gives by /etc/subuid and \
             /etc/subgid, as NAME:100000:65536, and nsenter-lite --map-auto"
                .into()
        })
}

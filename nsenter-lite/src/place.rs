//! Where COMMAND starts and as whom, after all else is set up: root, folder, user, group.

use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::str::FromStr;

use common::subordinate;
use common::sys::power;
use common::{Failure, Tried, file, resident, shell};
use nix::errno::Errno;
use nix::sys::prctl::set_keepcaps;
use nix::unistd::{Gid, Uid, chdir, chroot, setgroups, setresgid, setresuid};

use crate::hint;

/// The options of unshare(1) and nsenter(1) for it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Place {
    /// Change the root directory; with --target, where it is -r, too, to that of the target
    #[arg(short = 'R', long, value_name = "DIR")]
    pub root: Option<OsString>,
    /// Change the working directory, in the new root; with --target to that of the target, or
    /// to DIR as it is seen from outside
    #[arg(short = 'w', long, value_name = "DIR")]
    pub wd: Option<OsString>,
    /// Be this user, by the number that it has inside; with --target `follow` is the target's
    #[arg(short = 'S', long, value_name = "UID")]
    pub setuid: Option<Whom>,
    /// Be in this group, by the number that it has inside, and in no other; or `follow`
    #[arg(short = 'G', long, value_name = "GID")]
    pub setgid: Option<Whom>,
    /// Leave COMMAND the capabilities that the user namespace gives, also if it is not root there
    #[arg(long)]
    pub keep_caps: bool,
}

/// What `--setuid` and `--setgid` take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The user or group of this number.
    Number(u32),
    /// That of the target.
    Target,
}

impl FromStr for Whom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "follow" => Ok(Self::Target),
            number => subordinate::id(number).map(Self::Number),
        }
    }
}

impl Display for Whom {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(to, "{number}"),
            Self::Target => write!(to, "follow"),
        }
    }
}

impl Place {
    /// User and group, where there is no target to follow.
    pub fn numbers(&self) -> Result<(Option<u32>, Option<u32>), Failure> {
        let number = |whom, option| match whom {
            None => Ok(None),
            Some(Whom::Number(number)) => Ok(Some(number)),
            Some(Whom::Target) => {
                Err(Failure::usage(format!("use {option} follow: there is nobody to follow"))
                    .hint("add --target PID"))
            }
        };
        Ok((number(self.setuid, "--setuid")?, number(self.setgid, "--setgid")?))
    }
}

/// What has to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    pub root: Option<OsString>,
    pub wd: Option<OsString>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub keep_caps: bool,
    /// setgroups(2) is denied: there is one group that can be asked for, and we are in it.
    pub groups_stay: bool,
    /// The script had to keep capabilities that COMMAND must not have.
    pub script_drops: bool,
}

impl Inside {
    /// The words of unshare(1) for it.
    pub fn words(&self) -> String {
        self.folders() + &self.ids(" --setgid ", " --setuid ")
    }

    /// In another root unshare(1) still goes by the old folder.
    fn folders(&self) -> String {
        let mut words = String::new();
        if let Some(root) = &self.root {
            words.extend([" --root=", &shell::word(root)]);
        }
        if let Some(wd) = &self.wd {
            let from = if self.root.is_some() { Path::new("/") } else { Path::new("") };
            words.extend([" --wd=", &shell::word(from.join(wd))]);
        }
        words
    }

    fn ids(&self, group: &str, user: &str) -> String {
        let gid = self.gid.filter(|_| !self.groups_stay);
        let word = |option: &str, id: Option<u32>| id.map(|id| format!("{option}{id}"));
        [word(group, gid), word(user, self.uid)].into_iter().flatten().collect()
    }

    /// A line of its own. Only with a new user namespace does unshare(1) keep capabilities.
    pub fn line(&self) -> String {
        let (unshare, setpriv) = match (self.keep_caps, self.script_drops) {
            (true, _) => (
                self.folders(),
                self.ids(" --clear-groups --regid ", " --reuid ")
                    + " --inh-caps=+all --ambient-caps=+all",
            ),
            (false, true) => (self.words(), " --inh-caps=-all --ambient-caps=-all".into()),
            (false, false) => (self.words(), String::new()),
        };
        let parts = [("unshare", unshare), ("setpriv", setpriv)];
        let parts = parts.into_iter().filter(|(_, words)| !words.is_empty());
        parts.map(|(program, words)| program.to_owned() + &words).collect::<Vec<_>>().join(" ")
    }

    /// Why, for the reader of the line.
    pub fn why(&self) -> String {
        let parts = [
            ("another root; chroot(2)", self.root.is_some()),
            ("start in this folder; chdir(2)", self.wd.is_some()),
            ("no group but this; setgroups(2)", self.gid.is_some()),
            ("be this user inside; setuid(2)", self.uid.is_some()),
            ("what was kept for this script alone goes; capabilities(7)", self.script_drops),
        ];
        parts.into_iter().filter(|(_, so)| *so).map(|(why, _)| why).collect::<Vec<_>>().join("; ")
    }

    /// The root first: the folder is in it, and who is another user may no longer change it.
    pub fn act(&self) -> Result<(), Failure> {
        if let Some(root) = &self.root {
            let root = Path::new(root);
            chroot(root)
                .tried(|| format!("change the root directory to {root:?}"))
                .map_err(hint::for_root)?;
            chdir("/").tried(|| "change to the new root")?;
        }
        if let Some(wd) = &self.wd {
            let wd = Path::new(wd);
            chdir(wd).tried(|| format!("change the working directory to {wd:?}"))?;
        }
        become_command(self.uid, self.gid, self.keep_caps)
    }
}

/// Who COMMAND will be, with all capabilities that we have, or with those that the change leaves.
pub fn become_command(uid: Option<u32>, gid: Option<u32>, keep_caps: bool) -> Result<(), Failure> {
    if keep_caps {
        set_keepcaps(true).tried(|| "keep capabilities")?;
    }
    become_somebody(uid, gid)?;
    if keep_caps { keep_capabilities() } else { Ok(()) }
}

/// Becomes another user, or one of another group.
pub fn become_somebody(uid: Option<u32>, gid: Option<u32>) -> Result<(), Failure> {
    resident::staying_tied(|| change(uid, gid))
}

/// Where setgroups(2) is denied, the groups stay those of the caller, who had them anyway.
fn change(uid: Option<u32>, gid: Option<u32>) -> Result<(), Failure> {
    if let Some(gid) = gid {
        match setgroups(&[]) {
            Err(Errno::EPERM) if are_groups_fixed() => {}
            outcome => outcome.tried(|| "drop the supplementary groups")?,
        }
        let id = Gid::from_raw(gid);
        setresgid(id, id, id)
            .tried(|| format!("be group {gid}"))
            .map_err(|failure| hint::for_identity(failure, gid))?;
    }
    if let Some(uid) = uid {
        let id = Uid::from_raw(uid);
        setresuid(id, id, id)
            .tried(|| format!("be user {uid}"))
            .map_err(|failure| hint::for_identity(failure, uid))?;
    }
    Ok(())
}

/// Denied, or no group is mapped: the kernel answers EPERM to both.
fn are_groups_fixed() -> bool {
    let says = |file| file::text(format!("/proc/self/{file}")).unwrap_or_default();
    says("setgroups").trim() == "deny" || says("gid_map").trim().is_empty()
}

/// A program keeps only those that are ambient, unless it is root's.
fn keep_capabilities() -> Result<(), Failure> {
    let what = || "hand capabilities on";
    let mut set = power::capabilities().tried(what)?;
    (set.effective, set.inheritable) = (set.permitted, set.permitted);
    power::set_capabilities(set).tried(what)?;
    (0..u64::BITS)
        .filter(|capability| set.permitted >> capability & 1 == 1)
        .try_for_each(|capability| power::raise_ambient(capability).tried(what))
}

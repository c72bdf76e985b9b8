//! Namespaces that are known by their files: joined, while others are made, by the same process.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use common::{Failure, Tried, shell};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::setns;
use nix::sys::stat::Mode;
use nix::unistd::setgroups;

use crate::descriptor::Passed;
use crate::hint::for_looking;
use crate::namespace::{ALL, Kind};
use crate::place::become_somebody;
use crate::report::HEADING;

/// The options for it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Joins {
    /// Join a namespace by its file, as net=/proc/5/ns/net, beside those that are made
    ///
    /// KIND is a name in /proc/PID/ns. COMMAND is this process, or its child. All files are
    /// opened first, the user namespace is entered first, and as its root; mounts are entered last.
    #[arg(
        long,
        help_heading = HEADING,
        value_name = "KIND=FILE",
        value_delimiter = ',',
        conflicts_with = "target",
        value_parser = OsStringValueParser::new().try_map(|text| joined(&text))
    )]
    pub join: Vec<Joined>,
    /// Run the COMMAND of outside: find and open it before another mount table is entered
    ///
    /// It is executed by its descriptor. So it must not be a script, whose interpreter is given a
    /// path, and must be linked statically, or find its loader inside.
    #[arg(long, help_heading = HEADING)]
    pub outside_command: bool,
    /// Open FILE, before anything is entered, as descriptor N of COMMAND
    ///
    /// A socket is connected to, a FIFO or device is opened for reading and writing, all else for
    /// reading.
    #[arg(
        long,
        help_heading = HEADING,
        value_name = "N=FILE",
        value_parser = OsStringValueParser::new().try_map(|text| Passed::parse(&text))
    )]
    pub fd: Vec<Passed>,
}

/// A namespace and its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub kind: Kind,
    pub file: PathBuf,
}

/// Splits `KEY=FILE`.
pub fn key_and_file(text: &OsString) -> Option<(&str, PathBuf)> {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    let (key, file) = (str::from_utf8(&bytes[..at]).ok()?, &bytes[at + 1..]);
    (!file.is_empty()).then(|| (key, OsString::from_vec(file.to_vec()).into()))
}

fn joined(text: &OsString) -> Result<Joined, String> {
    let (key, file) =
        key_and_file(text).ok_or("a kind and a file are wanted, as net=/proc/5/ns/net")?;
    let named = |kind: &Kind| kind.link() == key || &kind.option()[2..] == key;
    let kind = ALL.into_iter().find(named).ok_or_else(|| {
        let all: Vec<_> = ALL.into_iter().map(Kind::link).collect();
        format!("the kinds are {}", all.join(", "))
    })?;
    Ok(Joined { kind, file })
}

impl Joins {
    /// In the order in which they are entered: mounts last, for the files' names are of outside.
    pub fn ordered(&self, made: &[Kind]) -> Result<Vec<Joined>, Failure> {
        let mut joined = self.join.clone();
        joined.sort_by_key(|joined| {
            let place = ALL.iter().position(|kind| *kind == joined.kind);
            (joined.kind == Kind::Mount, place)
        });
        for (at, Joined { kind, .. }) in joined.iter().enumerate() {
            let twice =
                |what| Err(Failure::usage(format!("join a namespace by {:?} {what}", kind.link())));
            if made.contains(kind) {
                return twice("and make one, too");
            }
            if joined[..at].iter().any(|other| other.kind == *kind) {
                return twice("twice");
            }
        }
        Ok(joined)
    }

    /// Whether one of this kind is joined.
    pub fn has(&self, kind: Kind) -> bool {
        self.join.iter().any(|joined| joined.kind == kind)
    }
}

/// As nsenter(1) has it; the fork, if one is wanted, is that of the next line.
pub fn line(joined: &[Joined], preserve_credentials: bool) -> String {
    let mut line = "nsenter".to_owned();
    for Joined { kind, file } in joined {
        line.extend([" ", kind.option(), "=", &shell::word(file)]);
    }
    if joined.iter().any(|joined| joined.kind == Kind::Pid) {
        line += " --no-fork";
    }
    if preserve_credentials {
        line += " --preserve-credentials";
    }
    line
}

/// All are opened before one is entered.
pub fn open_all(joined: &[Joined]) -> Result<Vec<OwnedFd>, Failure> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let open = |joined: &Joined| {
        open(&joined.file, flags, Mode::empty())
            .tried(|| format!("open the namespace {:?}", joined.file))
            .map_err(|failure| {
                for_looking(failure).hint_if(Errno::ENOENT, || "has the process ended?".into())
            })
    };
    joined.iter().map(open).collect()
}

/// Enters them. Who enters a user namespace is its root from then on, as nsenter(1) has it, or stays
/// who they are.
pub fn enter(
    joined: &[Joined],
    files: Vec<OwnedFd>,
    preserve_credentials: bool,
) -> Result<(), Failure> {
    for (Joined { kind, file }, fd) in joined.iter().zip(files) {
        let becomes_root = *kind == Kind::User && !preserve_credentials;
        if becomes_root {
            // Groups of the caller are nobody inside: they go now, if we may, or then, if we may.
            let _ = setgroups(&[]);
        }
        setns(fd, kind.flag())
            .tried(|| format!("join the namespace {file:?}"))
            .map_err(|failure| hint(failure, *kind))?;
        if becomes_root {
            become_somebody(Some(0), Some(0))?;
        }
    }
    Ok(())
}

fn hint(failure: Failure, kind: Kind) -> Failure {
    failure
        .hint_if(Errno::EINVAL, || match kind {
            Kind::User => "is it one, and not the one that we are in? that can't be joined".into(),
            _ => format!("is it one of this kind? readlink FILE says {}:[...]", kind.link()),
        })
        .hint_if(Errno::EPERM, || {
            "that takes root; if it is in a user namespace of yours, join that too: \
             --join user=/proc/PID/ns/user"
                .into()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_the_name_of_its_file_or_its_option() {
        let one = |text: &str| joined(&text.into());
        let net = Joined { kind: Kind::Net, file: "/a=b".into() };
        assert_eq!(one("net=/a=b"), Ok(net));
        assert_eq!(one("mnt=x"), one("mount=x"));
        for text in ["", "net", "net=", "=x", "disk=x", "--net=x"] {
            assert!(one(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mounts_are_entered_last_and_users_first() {
        let join = |words: &[&str]| Joins {
            join: words.iter().map(|word| joined(&word.into()).expect("good")).collect(),
            ..Joins::default()
        };
        let ordered = join(&["mnt=m", "net=n", "time=t", "user=u"]).ordered(&[]).expect("good");
        assert_eq!(line(&ordered, false), "nsenter --user=u --net=n --time=t --mount=m");
        let pid = join(&["pid=a b"]).ordered(&[Kind::Mount]).expect("good");
        assert_eq!(line(&pid, false), "nsenter --pid='a b' --no-fork");
        assert_eq!(line(&pid, true), "nsenter --pid='a b' --no-fork --preserve-credentials");
        assert!(join(&["net=a", "net=b"]).ordered(&[]).is_err());
        assert!(join(&["net=a"]).ordered(&[Kind::Net]).is_err());
    }
}

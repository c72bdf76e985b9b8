//! Limits of a process, as prlimit(1) names them.

use common::{Failure, Tried};
use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

const RESOURCES: [(&str, Resource); 16] = [
    ("as", Resource::RLIMIT_AS),
    ("core", Resource::RLIMIT_CORE),
    ("cpu", Resource::RLIMIT_CPU),
    ("data", Resource::RLIMIT_DATA),
    ("fsize", Resource::RLIMIT_FSIZE),
    ("locks", Resource::RLIMIT_LOCKS),
    ("memlock", Resource::RLIMIT_MEMLOCK),
    ("msgqueue", Resource::RLIMIT_MSGQUEUE),
    ("nice", Resource::RLIMIT_NICE),
    ("nofile", Resource::RLIMIT_NOFILE),
    ("nproc", Resource::RLIMIT_NPROC),
    ("rss", Resource::RLIMIT_RSS),
    ("rtprio", Resource::RLIMIT_RTPRIO),
    ("rttime", Resource::RLIMIT_RTTIME),
    ("sigpending", Resource::RLIMIT_SIGPENDING),
    ("stack", Resource::RLIMIT_STACK),
];

/// A limit, and how far its process may raise it again; what is not given stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    name: &'static str,
    resource: Resource,
    soft: Option<u64>,
    hard: Option<u64>,
}

impl Limit {
    /// `NAME=SOFT:HARD`, of which one may be empty, or `NAME=BOTH`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::usage(format!("read a limit from {text:?}: {why}"));
        let (name, values) = text.split_once('=').ok_or_else(|| {
            wrong("there is no =").hint("write NAME=LIMIT or NAME=SOFT:HARD, as nofile=1024:4096")
        })?;
        let known = RESOURCES.iter().find(|(known, _)| *known == name);
        let (name, resource) = *known.ok_or_else(|| {
            let names: Vec<&str> = RESOURCES.iter().map(|(name, _)| *name).collect();
            wrong(&format!("{name:?} is not limited"))
                .hint(format!("names are {}", names.join(", ")))
        })?;
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let number = |text: &str| match text {
            "unlimited" => Ok(RLIM_INFINITY),
            _ if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().map_err(|_| wrong("the number is too large"))
            }
            _ => Err(wrong(&format!("{text:?} is no number")).hint("or unlimited")),
        };
        let side = |text: &str| match text.is_empty() && values.len() > 1 {
            true => Ok(None),
            false => number(text).map(Some),
        };
        let (soft, hard) = (side(soft)?, side(hard)?);
        if let (Some(soft), Some(hard)) = (soft, hard)
            && soft > hard
        {
            return Err(wrong("the soft limit is above the hard one").hint("write NAME=SOFT:HARD"));
        }
        Ok(Self { name, resource, soft, hard })
    }

    pub fn set(&self) -> Result<(), Failure> {
        let what = || format!("set the limit {self}");
        let (soft, hard) = getrlimit(self.resource).tried(what)?;
        let (new_soft, new_hard) = (self.soft.unwrap_or(soft), self.hard.unwrap_or(hard));
        setrlimit(self.resource, new_soft, new_hard).tried(what).map_err(|failure| {
            failure.hint_if(Errno::EPERM, || self.highest(hard)).hint_if(Errno::EINVAL, || {
                let (soft, hard) = (value(new_soft), value(new_hard));
                format!("the soft limit, {soft}, can't be above the hard limit, {hard}")
            })
        })
    }

    /// Not root of a user namespace raises it, but root of the machine. For nofile there is another
    /// end, for everybody.
    fn highest(&self, hard: u64) -> String {
        // Not there to be read, once the root is another.
        let most = match self.resource {
            Resource::RLIMIT_NOFILE => ", and nobody gets more than /proc/sys/fs/nr_open has",
            _ => "",
        };
        format!(
            "to raise {} above its hard limit, {}, takes CAP_SYS_RESOURCE outside of all user \
             namespaces{most}",
            self.name,
            value(hard)
        )
    }

    /// The same for the shell and what it becomes.
    pub fn line(&self) -> String {
        format!("prlimit --pid $$ --{self}")
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        let side = |limit: Option<u64>| limit.map(value).unwrap_or_default();
        write!(out, "{}={}:{}", self.name, side(self.soft), side(self.hard))
    }
}

fn value(number: u64) -> String {
    if number == RLIM_INFINITY { "unlimited".into() } else { number.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_come_back_as_they_were_read() {
        for (text, wanted) in [
            ("nofile=64:128", "nofile=64:128"),
            ("core=0", "core=0:0"),
            ("stack=8388608:unlimited", "stack=8388608:unlimited"),
            ("as=unlimited", "as=unlimited:unlimited"),
            ("nofile=64:", "nofile=64:"),
            ("nofile=:64", "nofile=:64"),
        ] {
            assert_eq!(Limit::parse(text).expect("a good limit").to_string(), wanted);
        }
        for (text, why) in [
            ("nofile", "there is no ="),
            ("files=3", "\"files\" is not limited"),
            ("nofile=", "\"\" is no number"),
            ("nofile=:", "\"\" is no number"),
            ("nofile=-1", "\"-1\" is no number"),
            ("nofile=0x10", "is no number"),
            ("nofile=9:3", "the soft limit is above the hard one"),
            ("nofile=99999999999999999999", "too large"),
        ] {
            let lines = Limit::parse(text).expect_err("a bad limit").lines("chrootx");
            assert!(lines.contains(why), "{text}: {lines}");
        }
    }
}

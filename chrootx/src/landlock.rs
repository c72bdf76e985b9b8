//! Rules of what may still be reached: paths, ports, and processes that are not our own.
//!
//! What a kind of rule is given for, all else of that kind is refused. A kernel that can't refuse it
//! is an error: a program that was to be held must not run free.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use common::sys::landlock::{self, Handled};
use common::{Failure, Tried, file, inroot, shell};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};

/// In the order of their bits, as setpriv(1) names them; and the letter that gives them.
const FILES: [(&str, char); 16] = [
    ("execute", 'x'),
    ("write-file", 'w'),
    ("read-file", 'r'),
    ("read-dir", 'r'),
    ("remove-dir", 'w'),
    ("remove-file", 'w'),
    ("make-char", 'w'),
    ("make-dir", 'w'),
    ("make-reg", 'w'),
    ("make-sock", 'w'),
    ("make-fifo", 'w'),
    ("make-block", 'w'),
    ("make-sym", 'w'),
    ("refer", 'w'),
    ("truncate", 'w'),
    ("ioctl-dev", 'w'),
];
/// Those that a file can have that is no folder.
const OF_A_FILE: [&str; 5] = ["execute", "write-file", "read-file", "truncate", "ioctl-dev"];
/// Device ioctls are the one right that is refused only where the kernel can.
const IOCTL_DEV: (u64, u32) = (1 << 15, 5);

const PORTS: [(&str, &str); 2] = [("bind", "bind-tcp"), ("connect", "connect-tcp")];
const SCOPES: [&str; 2] = ["abstract-unix-socket", "signal"];

/// One rule, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Path(u64, PathBuf),
    /// The rights; no port gives none back.
    Port(u64, Option<u16>),
    Scope(u64),
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// `rx:/usr,rw:/tmp,connect:443,scope:signal`
    pub fn parse(list: &OsStr) -> Result<Self, Failure> {
        let words = list.as_bytes().split(|byte| *byte == b',').filter(|word| !word.is_empty());
        let rules: Vec<Rule> =
            words.map(|word| rule(OsStr::from_bytes(word))).collect::<Result<_, _>>()?;
        match rules.is_empty() {
            true => Err(wrong(list, "there is none")),
            false => Ok(Self(rules)),
        }
    }

    pub fn join(lists: &[OsString]) -> Result<Option<Self>, Failure> {
        let rules: Vec<Self> =
            lists.iter().map(|list| Self::parse(list)).collect::<Result<_, _>>()?;
        let rules: Vec<Rule> = rules.into_iter().flat_map(|rules| rules.0).collect();
        Ok((!rules.is_empty()).then_some(Self(rules)))
    }

    /// What is refused but for the rules, by a kernel of that version.
    fn handled(&self, version: u32) -> Handled {
        self.0.iter().fold(Handled::default(), |mut handled, rule| {
            match rule {
                Rule::Path(..) => handled.fs = known(version),
                Rule::Port(rights, _) => handled.net |= rights,
                Rule::Scope(scope) => handled.scoped |= scope,
            }
            handled
        })
    }

    /// Opens the paths, in the root, while it is not ours yet. The kernel takes their files, wherever
    /// these are mounted later. A file that is no folder can't be given a folder's rights.
    pub fn open(&mut self, root: impl AsFd) -> Result<Vec<OwnedFd>, Failure> {
        let mut opened = Vec::new();
        for rule in &mut self.0 {
            let Rule::Path(rights, path) = rule else { continue };
            let what = || format!("open {path:?} of the root file system for a Landlock rule");
            let place = inroot::open_in(&root, path, OFlag::O_PATH).tried(what)?;
            if !file::is(&fstat(&place).tried(what)?, SFlag::S_IFDIR) {
                *rights &= rights_of(&OF_A_FILE);
            }
            opened.push(place);
        }
        Ok(opened)
    }

    /// For this process and all that it starts; the paths are those that were opened.
    pub fn restrict(&self, mut paths: impl Iterator<Item = OwnedFd>) -> Result<(), Failure> {
        let what = || "restrict by Landlock";
        let version = landlock::version().tried(what).map_err(|failure| {
            failure
                .hint_if(Errno::ENOSYS, || "it takes Linux 6.2, built with Landlock".into())
                .hint_if(Errno::EOPNOTSUPP, || {
                    "the kernel has it, turned off: boot with lsm=landlock, before the others"
                        .into()
                })
        })?;
        self.need(version)?;
        let set = landlock::ruleset(self.handled(version)).tried(what)?;
        for rule in &self.0 {
            match rule {
                Rule::Path(rights, path) => paths
                    .next()
                    .map_or(Ok(()), |file| {
                        landlock::allow_path(&set, file, rights & known(version))
                    })
                    .tried(|| format!("allow {path:?} by Landlock"))?,
                Rule::Port(rights, Some(port)) => landlock::allow_port(&set, *port, *rights)
                    .tried(|| format!("allow the port {port} by Landlock"))?,
                Rule::Port(_, None) | Rule::Scope(_) => {}
            }
        }
        landlock::restrict_self(&set).tried(what)
    }

    /// Truncation is refused from version 3 on; without, a file that can be read could be emptied.
    fn need(&self, version: u32) -> Result<(), Failure> {
        let needed = self.0.iter().map(|rule| match rule {
            Rule::Path(..) => (3, "paths", "6.2"),
            Rule::Port(..) => (4, "ports", "6.7"),
            Rule::Scope(_) => (6, "scopes", "6.12"),
        });
        match needed.max() {
            Some((needed, what, linux)) if needed > version => Err(Failure::new(format!(
                "restrict by Landlock: for {what} it takes version {needed} of it, the kernel has {version}"
            ))
            .hint(format!("Linux {linux} has that"))),
            _ => Ok(()),
        }
    }

    /// The same by setpriv(1).
    pub fn line(&self) -> String {
        let handled = self.handled(landlock::version().unwrap_or(u32::MAX));
        let mut line = "setpriv".to_owned();
        for (kind, names) in [
            ("fs", names(&FILES.map(|(name, _)| name), handled.fs)),
            ("net", names(&PORTS.map(|(_, name)| name), handled.net)),
            ("scope", names(&SCOPES, handled.scoped)),
        ] {
            let access = (!names.is_empty()).then(|| format!(" --landlock-access {kind}:{names}"));
            line.extend(access);
        }
        for rule in &self.0 {
            let rule = match rule {
                Rule::Path(rights, path) => {
                    let names = names(&FILES.map(|(name, _)| name), rights & handled.fs);
                    let mut rule = OsString::from(format!("path-beneath:{names}:"));
                    rule.push(path);
                    rule
                }
                Rule::Port(rights, Some(port)) => {
                    let names = names(&PORTS.map(|(_, name)| name), *rights);
                    format!("net-port:{names}:{port}").into()
                }
                Rule::Port(_, None) | Rule::Scope(_) => continue,
            };
            line.extend([" --landlock-rule ", &shell::word(rule)]);
        }
        line
    }
}

fn rule(word: &OsStr) -> Result<Rule, Failure> {
    let bytes = word.as_bytes();
    let Some(colon) = bytes.iter().position(|byte| *byte == b':') else {
        return Err(wrong(word, "there is no colon"));
    };
    let (kind, rest) = (&bytes[..colon], OsStr::from_bytes(&bytes[colon + 1..]));
    let kind = str::from_utf8(kind).map_err(|_| wrong(word, "no such kind"))?;
    if let Some(bit) = PORTS.iter().position(|(name, _)| *name == kind) {
        let port = match rest.to_str() {
            Some("none") => None,
            text => Some(text.and_then(port).ok_or_else(|| wrong(word, "that is no port"))?),
        };
        return Ok(Rule::Port(1 << bit, port));
    }
    if kind == "scope" {
        let bit = SCOPES.iter().position(|name| rest == *name);
        return bit.map(|bit| Rule::Scope(1 << bit)).ok_or_else(|| wrong(word, "no such scope"));
    }
    let letters = ["r", "w", "x", "rw", "rx", "wx", "rwx"];
    if !letters.contains(&kind) {
        return Err(wrong(word, "no such kind"));
    }
    if !rest.as_bytes().starts_with(b"/") {
        return Err(wrong(word, "the path must begin with a slash, for it is one of the new root"));
    }
    let given = FILES.iter().enumerate().filter(|(_, (_, letter))| kind.contains(*letter));
    Ok(Rule::Path(given.fold(0, |set, (bit, _)| set | 1 << bit), rest.into()))
}

fn port(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn wrong(word: &OsStr, why: &str) -> Failure {
    Failure::usage(format!("read a Landlock rule from {word:?}: {why}")).hint(
        "rules are r:PATH, rw:PATH, rx:PATH, rwx:PATH, connect:PORT, bind:PORT, connect:none, \
         bind:none, scope:signal, scope:abstract-unix-socket",
    )
}

/// The rights on files that a kernel of that version knows.
fn known(version: u32) -> u64 {
    let all = (1 << FILES.len()) - 1;
    let (ioctl, since) = IOCTL_DEV;
    if version < since { all & !ioctl } else { all }
}

fn rights_of(wanted: &[&str]) -> u64 {
    let bit = |name: &&str| FILES.iter().position(|(known, _)| known == name);
    wanted.iter().filter_map(bit).fold(0, |set, bit| set | 1 << bit)
}

fn names(all: &[&str], set: u64) -> String {
    let named = all.iter().enumerate().filter(|(bit, _)| set >> bit & 1 == 1);
    named.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<Rules, String> {
        Rules::parse(OsStr::new(list)).map_err(|failure| failure.lines("chrootx"))
    }

    #[test]
    fn rules_are_read() {
        let read = (1 << 2) | (1 << 3);
        assert_eq!(
            parse("rx:/usr,connect:443,,bind:none,scope:signal,r:/a:b"),
            Ok(Rules(vec![
                Rule::Path(read | 1, "/usr".into()),
                Rule::Port(2, Some(443)),
                Rule::Port(1, None),
                Rule::Scope(2),
                Rule::Path(read, "/a:b".into()),
            ]))
        );
        let all = parse("rwx:/").expect("a rule");
        assert_eq!(all.0, [Rule::Path((1 << 16) - 1, "/".into())]);
        assert_eq!(all.handled(3).fs, (1 << 15) - 1, "what version 3 knows");
        for (list, why) in [
            ("", "there is none"),
            ("/usr", "there is no colon"),
            ("ro:/usr", "no such kind"),
            (":/usr", "no such kind"),
            ("r:usr", "must begin with a slash"),
            ("connect:http", "that is no port"),
            ("bind:65536", "that is no port"),
            ("bind:", "that is no port"),
            ("scope:all", "no such scope"),
        ] {
            let lines = parse(list).expect_err("no rule");
            assert!(lines.contains(why) && lines.contains("hint: "), "{list}: {lines}");
        }
    }

    #[test]
    fn an_older_kernel_is_named() {
        let need = |list: &str, version| {
            let rules = parse(list).expect("good rules");
            rules.need(version).map_err(|failure| failure.lines("chrootx"))
        };
        assert_eq!(need("r:/", 3), Ok(()));
        assert_eq!(need("r:/,scope:signal,bind:1", 6), Ok(()));
        for (list, version, linux) in
            [("r:/", 2, "6.2"), ("r:/,bind:1", 3, "6.7"), ("bind:1,scope:signal", 5, "6.12")]
        {
            let lines = need(list, version).expect_err("it can't");
            assert!(lines.contains(&format!("hint: Linux {linux} has that")), "{lines}");
        }
    }

    #[test]
    fn the_line_is_setprivs() {
        let line = parse("r:/it's,connect:53,bind:none,scope:signal").expect("rules").line();
        let access = " --landlock-access net:bind-tcp,connect-tcp --landlock-access scope:signal";
        let rules = r" --landlock-rule 'path-beneath:read-file,read-dir:/it'\''s' --landlock-rule net-port:connect-tcp:53";
        assert!(line.starts_with("setpriv --landlock-access fs:execute,write-file"), "{line}");
        assert!(line.ends_with(&format!("{access}{rules}")), "{line}");
    }
}

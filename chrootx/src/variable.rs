//! Environment variables.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use common::{Failure, shell, sys};

use crate::account::User;

/// Where programs are in a root file system, whatever the caller's own PATH is.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// That of whom passwd(5) has none for.
const SHELL: &str = "/bin/sh";

/// A name and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    name: OsString,
    value: OsString,
}

impl Variable {
    fn new(name: &str, value: &str) -> Self {
        Self { name: name.into(), value: value.into() }
    }

    /// `NAME=VALUE`; a NAME alone takes the caller's value, if there is one. Names are not those of a
    /// shell alone, see env(1).
    pub fn parse(text: &OsStr) -> Result<Option<Self>, Failure> {
        let bytes = text.as_bytes();
        let end = bytes.iter().position(|byte| *byte == b'=');
        let name = OsStr::from_bytes(&bytes[..end.unwrap_or(bytes.len())]);
        if name.is_empty() {
            return Err(Failure::usage(format!("read a variable from {text:?}: it has no name"))
                .hint("write NAME=VALUE; or NAME, to keep the caller's value"));
        }
        let value = match end {
            Some(end) => Some(OsString::from_vec(bytes[end + 1..].to_vec())),
            None => env::var_os(name),
        };
        Ok(value.map(|value| Self { name: name.into(), value }))
    }

    /// HOME and what belongs to it.
    pub fn of(user: &User) -> Vec<Self> {
        let shell = if user.shell.is_empty() { SHELL } else { &user.shell };
        Self::account(&user.home, &user.name, shell)
    }

    /// The same for a number that no line of passwd has, lest it is at home at the caller's.
    pub fn of_number(uid: u32) -> Vec<Self> {
        Self::account("/", &uid.to_string(), SHELL)
    }

    fn account(home: &str, name: &str, shell: &str) -> Vec<Self> {
        let values = [("HOME", home), ("USER", name), ("LOGNAME", name), ("SHELL", shell)];
        values.map(|(name, value)| Self::new(name, value)).into()
    }

    /// Whether a line of the script can export it and change nothing for the lines that follow: what
    /// is no name to a shell it would not hand on.
    pub fn is_for_export(&self) -> bool {
        const OF_SHELLS: [&str; 8] =
            ["PATH", "PWD", "OLDPWD", "IFS", "OPTIND", "PPID", "UID", "EUID"];
        let name = self.name.as_bytes();
        let letters = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let is_name = name.iter().all(letters) && !name[0].is_ascii_digit();
        // The dynamic loader's.
        is_name && !name.starts_with(b"LD_") && OF_SHELLS.iter().all(|other| self.name != *other)
    }

    /// Where programs are looked for, if it is that.
    pub fn search_path(&self) -> Option<&OsStr> {
        (self.name == "PATH").then_some(&self.value)
    }

    pub fn set(&self) {
        sys::set_env(&self.name, &self.value);
    }
}

/// Takes all away, but the kind of terminal; PATH is the usual one.
pub fn clear() {
    let terminal = env::var_os("TERM");
    sys::clear_env();
    if let Some(kind) = terminal {
        sys::set_env("TERM".as_ref(), &kind);
    }
    sys::set_env("PATH".as_ref(), PATH.as_ref());
}

/// The same in shell.
pub fn clear_line() -> String {
    format!("env -i PATH={PATH} ${{TERM+TERM=\"$TERM\"}}")
}

/// As arguments of `export`.
pub fn export_line(variables: &[Variable]) -> String {
    line("export", variables)
}

/// As arguments of env(1), which takes a name that begins with a hyphen for an option.
pub fn env_line(variables: &[Variable]) -> String {
    let dash = variables.iter().any(|one| one.name.as_bytes().starts_with(b"-"));
    line(if dash { "env --" } else { "env" }, variables)
}

fn line(command: &str, variables: &[Variable]) -> String {
    let word = |one: &Variable| format!("{}={}", shell::word(&one.name), shell::word(&one.value));
    format!("{command} {}", variables.iter().map(word).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_a_name() {
        let parse = |text: &str| Variable::parse(OsStr::new(text));
        assert_eq!(parse("A=b=c").expect("good"), Some(Variable::new("A", "b=c")));
        assert_eq!(parse("A=").expect("good"), Some(Variable::new("A", "")));
        assert_eq!(parse("NO_SUCH_VARIABLE_IS_SET").expect("good"), None);
        for text in ["", "=x", "="] {
            let lines = parse(text).expect_err("no name").lines("chrootx");
            assert!(lines.contains("it has no name"), "{text}: {lines}");
        }
        for (name, is) in
            [("A", true), ("_a1", true), ("A-B", false), ("1A", false), ("A B", false)]
        {
            let variable = parse(&format!("{name}=")).expect("a name").expect("a value");
            assert_eq!(variable.is_for_export(), is, "{name}");
        }
        let odd = [Variable::new("A", "it's"), Variable::new("B", "")];
        assert_eq!(line("export", &odd), r"export A='it'\''s' B=''");
    }
}

//! One way to fail: a line that says what was tried and why it did not work, a hint that
//! says how to mend it, and an exit status that scripts can rely on.

use std::ffi::OsString;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Command, FromArgMatches, Parser};
use nix::errno::Errno;

use crate::sys;

/// Whether this run ends in a COMMAND: the exit statuses differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// 0 fine, 1 the operation failed, 2 wrong usage.
    Plain,
    /// As `env` and `chroot`: 125 the tool failed, 126 COMMAND can't be run, 127 not found.
    Command,
}

impl Form {
    /// For tools that need no COMMAND: where there is one, it stands behind `--`.
    pub fn of_args(args: &[OsString]) -> Self {
        if args.iter().any(|arg| arg == "--") { Self::Command } else { Self::Plain }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Usage,
    Operation,
    Exec(u8),
}

/// Why a tool ends without having done its work.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    error: anyhow::Error,
    errno: Option<Errno>,
    hint: Option<String>,
    in_child: bool,
}

impl Failure {
    /// The operation failed: `what` says all of it, as `set "memory.max": it reads back as 0`.
    pub fn new(what: impl Into<String>) -> Self {
        Self::from(anyhow!(what.into()))
    }

    /// The command line asks for something that makes no sense.
    pub fn usage(what: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, ..Self::new(what) }
    }

    /// What another process of ours has told as [`Failure::lines`] of no tool; nothing is no failure.
    pub fn told(text: &str) -> Result<(), Self> {
        let mut lines = text.lines();
        let Some(what) = lines.next() else { return Ok(()) };
        let failure = Self::new(what.trim_start_matches(": "));
        Err(match lines.next().and_then(|line| line.strip_prefix("hint: ")) {
            Some(hint) => failure.hint(hint),
            None => failure,
        })
    }

    /// A system call failed while trying `what`.
    pub fn errno(what: impl Into<String>, errno: Errno) -> Self {
        let why = format!("{} ({errno:?})", errno.desc());
        let failure = Self { errno: Some(errno), ..Self::from(anyhow!(why).context(what.into())) };
        failure.hint_if(Errno::EMFILE, || "more open files are allowed by ulimit -n".into())
    }

    /// COMMAND can't be run: `status` is 126 or 127.
    #[must_use]
    pub fn with_exec_status(self, status: u8) -> Self {
        Self { kind: Kind::Exec(status), ..self }
    }

    /// How to mend it: where possible the command that does.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// A hint for one known trap: only where the kernel answered `errno`.
    #[must_use]
    pub fn hint_if(self, errno: Errno, hint: impl FnOnce() -> String) -> Self {
        if self.errno == Some(errno) { self.hint(hint()) } else { self }
    }

    /// Says, too, that something could not be put back as it was.
    #[must_use]
    pub(crate) fn and_left(self, what: &Failure) -> Self {
        Self {
            error: anyhow!("{:#}; then, putting things back: {:#}", self.error, what.error),
            ..self
        }
    }

    /// Says first which of several things it was that failed.
    #[must_use]
    pub fn of(self, what: impl Into<String>) -> Self {
        Self { error: self.error.context(what.into()), ..self }
    }

    /// This process is a child of the one that walks through the plan: that one puts things back.
    #[must_use]
    pub fn in_child(self) -> Self {
        Self { in_child: true, ..self }
    }

    /// Whether it is for this process to put things back.
    pub(crate) fn is_for_us_to_undo(&self) -> bool {
        !self.in_child
    }

    /// What the kernel answered, if it was the kernel that refused.
    pub fn kernel_said(&self) -> Option<Errno> {
        self.errno
    }

    /// The exit status this failure ends a tool with.
    pub fn status(&self, form: Form) -> u8 {
        match (self.kind, form) {
            (Kind::Exec(status), _) => status,
            (_, Form::Command) => 125,
            (Kind::Usage, Form::Plain) => 2,
            (Kind::Operation, Form::Plain) => 1,
        }
    }

    /// `TOOL: what was tried: why (ERRNO)`, and perhaps `hint: …`, each on a line.
    pub fn lines(&self, tool: &str) -> String {
        let mut text = format!("{tool}: {}\n", one_line(&format!("{:#}", self.error)));
        if let Some(hint) = &self.hint {
            text.extend(["hint: ", &one_line(hint), "\n"]);
        }
        text
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { kind: Kind::Operation, error, errno: None, hint: None, in_child: false }
    }
}

/// Says what was being tried when a call failed: `open(p).tried(|| format!("open {p:?}"))?`.
pub trait Tried<T> {
    /// Turns the error into a [`Failure`]: a verb phrase with its object quoted by `{:?}`.
    fn tried<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, Failure>;
}

impl<T> Tried<T> for Result<T, Errno> {
    fn tried<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, Failure> {
        self.map_err(|errno| Failure::errno(what(), errno))
    }
}

impl<T> Tried<T> for io::Result<T> {
    fn tried<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, Failure> {
        self.map_err(|error| match error.raw_os_error() {
            Some(number) => Failure::errno(what(), Errno::from_raw(number)),
            None => Failure::from(anyhow!(error).context(what().into())),
        })
    }
}

/// Parses the command line, runs the tool, and turns its failure into a line and a status.
///
/// `form` looks at the arguments alone, since even a wrong command line needs its status.
pub fn main<C: Parser>(
    form: fn(&[OsString]) -> Form,
    run: impl FnOnce(C) -> Result<u8, Failure>,
) -> ExitCode {
    main_by(parse, form, run)
}

/// [`main`], for a command line that has another grammar besides.
pub fn main_by<C: Parser>(
    parse: impl FnOnce(&mut Command, Vec<OsString>) -> Result<C, clap::Error>,
    form: fn(&[OsString]) -> Form,
    run: impl FnOnce(C) -> Result<u8, Failure>,
) -> ExitCode {
    sys::outlive_the_limit_on_files();
    // To build the grammar is most of what a tool computes: once, and never to take it apart.
    let mut grammar = ManuallyDrop::new(C::command());
    let name = grammar.get_name().to_owned();
    let args: Vec<OsString> = std::env::args_os().collect();
    let form = form(args.get(1..).unwrap_or_default());
    let outcome = match parse(&mut grammar, args) {
        Ok(cli) => run(cli),
        Err(error) if error.use_stderr() => Err(usage(&name, &error)),
        Err(help) => print(&help.render().to_string()).map(|()| 0),
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            tell(&failure.lines(&name));
            ExitCode::from(failure.status(form))
        }
    }
}

/// Reads a command line by a grammar, which may be changed from what `C` says.
pub fn parse<C: FromArgMatches>(
    grammar: &mut Command,
    args: impl IntoIterator<Item = OsString>,
) -> Result<C, clap::Error> {
    let mut matches = grammar.try_get_matches_from_mut(args)?;
    C::from_arg_matches_mut(&mut matches).map_err(|error| error.format(grammar))
}

/// Writes to standard output; a reader that has gone away is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// The same for what is no text.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).tried(|| "write to standard output")
        }
        _ => Ok(()),
    }
}

/// Writes whole lines to standard error in one `write(2)`, so that tools in a pipeline don't mix.
pub fn tell(text: &str) {
    // There is nobody left to tell if standard error itself fails.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Puts clap's first paragraph on one line. Its tip becomes the hint where it names a word that
/// was perhaps meant; its other tips are about passing options on as values.
fn usage(name: &str, error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let what = text.split("\n\n").next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or(what);
    let tip = text.lines().find_map(|line| line.trim_start().strip_prefix("tip: "));
    match tip.filter(|tip| tip.contains("similar")) {
        Some(tip) => Failure::usage(what).hint(tip),
        None => Failure::usage(what).hint(format!("{name} --help shows the usage")),
    }
}

/// Joins the lines of a text by spaces. What a terminal would take for a command is escaped,
/// whoever has written it.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let plain = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    lines.join(" ").chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_and_a_hint() {
        let failure = Failure::errno("enter \"/x\"", Errno::ENOENT).hint("make it:\n  mkdir /x");
        assert_eq!(
            failure.lines("chrootx"),
            "chrootx: enter \"/x\": No such file or directory (ENOENT)\nhint: make it: mkdir /x\n"
        );
    }

    #[test]
    fn a_terminal_is_told_nothing() {
        let failure = Failure::new("read \u{1b}[2J\u{9b}1m\t.\r\nmore").hint("a\u{7}b\u{7f}");
        let lines = failure.lines("t");
        assert_eq!(lines, "t: read \\u{1b}[2J\\u{9b}1m\\t. more\nhint: a\\u{7}b\\u{7f}\n");
    }

    #[test]
    fn statuses_tell_usage_from_failure_and_form_from_form() {
        let (usage, failure) = (Failure::usage("x"), Failure::new("x"));
        assert_eq!((usage.status(Form::Plain), usage.status(Form::Command)), (2, 125));
        assert_eq!((failure.status(Form::Plain), failure.status(Form::Command)), (1, 125));
        assert_eq!(Failure::new("x").with_exec_status(127).status(Form::Plain), 127);
    }

    #[test]
    fn a_hint_is_given_for_its_errno_only() {
        let failure = || Failure::errno("mount", Errno::EPERM);
        assert!(
            failure().hint_if(Errno::EPERM, || "sudo".into()).lines("t").contains("hint: sudo")
        );
        assert!(!failure().hint_if(Errno::EBUSY, || "sudo".into()).lines("t").contains("hint"));
    }
}

//! mount(8)'s own spellings, read as ours.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};
use common::report;

use crate::cli::Cli;

/// Reads the command line, also where it was written for mount(8).
pub fn parse(grammar: &mut Command, mut words: Vec<OsString>) -> Result<Cli, Error> {
    let command = words.iter().position(|word| word == "--").map(|at| words.split_off(at));
    if command.as_ref().is_some_and(|command| command.len() == 1) {
        let what = "no COMMAND behind --: is a shell variable empty?";
        return Err(grammar.error(ErrorKind::MissingRequiredArgument, what));
    }
    let some_are_empty =
        words.iter().any(|word| word.is_empty() || word.as_bytes().ends_with(b"="));
    report::parse(grammar, ours(words).into_iter().chain(command.unwrap_or_default())).map_err(
        |error| match empty(&error).filter(|_| some_are_empty) {
            Some(what) => grammar.error(ErrorKind::InvalidValue, what),
            None => error,
        },
    )
}

/// To clap a value that is empty is one that is missing.
fn empty(error: &Error) -> Option<String> {
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (name, value) = (said(ContextKind::InvalidArg)?, said(ContextKind::InvalidValue)?);
    let name = if name.starts_with('[') { "a path" } else { name };
    value.is_empty().then(|| format!("{name} is empty: is a shell variable empty?"))
}

/// There, `--bind` is a switch, which asks for what is done here anyway, and a propagation is a
/// switch of its own.
fn ours(words: Vec<OsString>) -> Vec<OsString> {
    let names_a_root = |word: &OsString| {
        let name = word.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
        name == b"--std" || name == b"--root"
    };
    let std = words.iter().any(names_a_root);
    words
        .into_iter()
        .filter(|word| std || (word != "--bind" && word != "-B"))
        .map(|word| match word.to_str().and_then(|word| word.strip_prefix("--make-")) {
            Some(propagation) => format!("--options={propagation}").into(),
            None => word,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Request;
    use clap::CommandFactory;

    fn request(line: &str) -> Result<Request, String> {
        parse(&mut Cli::command(), line.split(' ').map(OsString::from).collect())
            .map_err(|error| error.to_string())
            .and_then(|cli| cli.request().map_err(|failure| failure.lines("bindmount")))
    }

    #[test]
    fn mounts_switches_change_nothing_or_are_options() {
        let plain = request("bindmount -o ro,rslave a b");
        assert!(plain.is_ok(), "{plain:?}");
        for line in [
            "mount --bind -o ro,rslave a b",
            "mount -B --make-rslave -o ro a b",
            "mount a --bind b --ro --make-rslave",
            "mount -r -o bind -o rslave a b",
        ] {
            assert_eq!(request(line), plain, "{line}");
        }
        let error = request("mount --make-huge a b").expect_err("no such propagation");
        assert!(error.contains("no option is called \"huge\""), "{error}");
    }

    #[test]
    fn with_std_bind_names_a_mount() {
        let named = request("bindmount --std r --bind a:/b -- mount --bind x y");
        assert_eq!(named, request("bindmount --std=r -b a:/b -- true"));
        assert!(named.is_ok(), "{named:?}");
    }

    #[test]
    fn a_command_is_not_empty() {
        let error = request("bindmount a b --").expect_err("nothing behind --");
        assert!(error.contains("no COMMAND behind --"), "{error}");
    }
}

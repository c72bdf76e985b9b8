//! Two grammars on one command line. The letters of unshare(1) are those of nsenter(1), but for
//! three: with `--target`, `-r` is --root, `-c` is --join-cgroup, and --root and --wd may stand
//! without a DIR, and take one only behind `=`.

use std::ffi::OsString;

use clap::{ArgMatches, Command, CommandFactory, Error, FromArgMatches, Parser};

use crate::cli::Cli;

/// The command line, by the one grammar or the other.
#[derive(Debug)]
pub struct Words(pub Cli);

impl Words {
    fn parse(command: Command, args: &[OsString]) -> Result<Self, Error> {
        Self::from_arg_matches(&command.try_get_matches_from(args)?)
    }
}

/// As nsenter(1) has it.
fn entering(command: Command) -> Command {
    let optional =
        |arg: clap::Arg| arg.num_args(0..=1).require_equals(true).default_missing_value("");
    command
        .mut_arg("map_root_user", |arg| arg.short(None))
        .mut_arg("map_current_user", |arg| arg.short(None))
        .mut_arg("join_cgroup", |arg| arg.short('c'))
        .mut_arg("root", |arg| optional(arg).short('r').short_alias('R'))
        .mut_arg("wd", optional)
}

impl Parser for Words {
    fn try_parse_from<I, T>(args: I) -> Result<Self, Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        match Self::parse(entering(Cli::command()), &args) {
            Ok(words) if words.0.target.is_some() => Ok(words),
            _ => Self::parse(Cli::command(), &args),
        }
    }
}

impl CommandFactory for Words {
    fn command() -> Command {
        Cli::command()
    }

    fn command_for_update() -> Command {
        Cli::command_for_update()
    }
}

impl FromArgMatches for Words {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Cli::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Cli {
        let words = ["nsenter-lite"].into_iter().chain(words.split_whitespace());
        Words::try_parse_from(words).expect("a good command line").0
    }

    #[test]
    fn letters_mean_what_they_mean_in_unshare_and_in_nsenter() {
        let make = parse("-rmw /tmp --root / true");
        assert!(make.users.map_root_user && make.namespaces.mount.is_some());
        assert_eq!((make.place.wd, make.place.root), (Some("/tmp".into()), Some("/".into())));
        assert!(parse("-c -u true").users.map_current_user);
        let enter = parse("-t 7 -ar -w -c true");
        assert!(!enter.users.map_root_user && enter.entering.join_cgroup);
        assert_eq!((enter.place.wd, enter.place.root), (Some("".into()), Some("".into())));
        assert_eq!(enter.command, ["true"]);
        let enter = parse("-rw=/x --root=/y --target 7 -m=file true");
        assert_eq!((enter.place.wd, enter.place.root), (Some("/x".into()), Some("/y".into())));
        assert_eq!(enter.namespaces.mount, Some("file".into()));
    }

    #[test]
    fn what_the_command_says_is_not_for_us() {
        let make = parse("-m nsenter -t 7 -r");
        assert_eq!((make.target, make.command.len()), (None, 4));
    }
}

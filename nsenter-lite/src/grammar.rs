//! Two grammars on one command line. The letters of unshare(1) are those of nsenter(1), but for
//! three: with `--target`, `-r` is --root, `-c` is --join-cgroup, and --root and --wd may stand
//! without a DIR, and take one only behind `=`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::{Command, CommandFactory, Error};
use common::report;

use crate::cli::Cli;

/// Reads the command line by the one grammar or the other.
pub fn parse(making: &mut Command, args: Vec<OsString>) -> Result<Cli, Error> {
    // To build a grammar takes longer than to look whether it can be the one.
    if args.iter().any(|arg| may_name_a_target(arg.as_bytes()))
        && let Ok(cli) = report::parse::<Cli>(&mut entering(Cli::command()), args.iter().cloned())
        && cli.target.is_some()
    {
        return Ok(cli);
    }
    report::parse(making, args)
}

/// Letters may be joined, so that one `t` may be among others.
fn may_name_a_target(arg: &[u8]) -> bool {
    match arg.strip_prefix(b"-") {
        Some(name) if name.starts_with(b"-") => name.starts_with(b"-target"),
        Some(letters) => letters.contains(&b't'),
        None => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Cli {
        let words = ["nsenter-lite"].into_iter().chain(words.split_whitespace());
        super::parse(&mut Cli::command(), words.map(OsString::from).collect())
            .expect("a good command line")
    }

    #[test]
    fn letters_mean_what_they_mean_in_unshare_and_in_nsenter() {
        let make = parse("-rmw /tmp --root / true");
        assert!(make.users.map_root_user && make.namespaces.mount.is_some());
        assert_eq!((make.place.wd, make.place.root), (Some("/tmp".into()), Some("/".into())));
        assert!(parse("-c -u true").users.map_current_user);
        let last = parse("-r --map-root-user --map-user 5 --map-user 6 -w /x -w / true");
        assert_eq!((last.users.map_user, last.place.wd), (Some("6".into()), Some("/".into())));
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

//! The command line: the words of unshare(1) to make namespaces, those of nsenter(1) after `-t`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use common::{Failure, Mode};
use nix::sys::signal::Signal;

use crate::clock::Clocks;
use crate::join::Joins;
use crate::life::Life;
use crate::network::Network;
use crate::owner::Owning;
use crate::place::Place;
use crate::report::Reports;
use crate::target::Entering;
use crate::users::Ids;

/// Where binfmt_misc is usually seen.
pub const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// Run a program in new namespaces, or in those of a process
///
/// Without --target the letters make new namespaces, as unshare(1) does; with it they enter those
/// of process PID, as nsenter(1) does. COMMAND defaults to $SHELL, else /bin/sh.
///
/// Only children are born into a new PID or time namespace, so that --pid and --time imply --fork:
/// nsenter-lite stays, passes signals on, and ends as COMMAND ends. With --pid COMMAND is PID 1 of
/// its namespace, or PID 2 with --init; it is killed if nsenter-lite is, and by a signal that it
/// leaves to the default.
#[derive(Debug, Default, Parser)]
#[command(
    name = "nsenter-lite",
    version,
    args_override_self = true,
    override_usage = "nsenter-lite [OPTIONS] [COMMAND [ARG]...]\n       \
        nsenter-lite --target PID [OPTIONS] [COMMAND [ARG]...]"
)]
#[command(
    after_help = "A letter takes its value after `=`: --net=FILE, -w=DIR behind --target. Behind \
    --target -r is --root and -c is --join-cgroup, as in nsenter(1).\n\nExit status: COMMAND's own, 128+N if signal N ended it; 125 if nsenter-lite \
    fails, 126 if COMMAND can't be run, 127 if it is not found."
)]
pub struct Cli {
    #[command(flatten)]
    pub namespaces: Namespaces,
    #[command(flatten)]
    pub users: Ids,
    #[command(flatten)]
    pub owning: Owning,
    #[command(flatten)]
    pub clocks: Clocks,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub entering: Entering,

    /// Run COMMAND as a child (--pid and --time imply it)
    #[arg(short, long)]
    pub fork: bool,
    /// Mount a fresh proc on DIR, in a mount namespace (implies --mount)
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "/proc"
    )]
    pub mount_proc: Option<PathBuf>,
    /// Mount binfmt_misc on DIR, for programs of a user namespace (implies --mount and --user)
    ///
    /// Since Linux 6.7 each user namespace has a table of its own, which begins empty. DIR is in
    /// a proc, so that with --root there is --mount-proc, too, which takes --pid.
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = BINFMT
    )]
    pub mount_binfmt: Option<PathBuf>,
    /// Run programs of another kind by an interpreter there, as those of another machine by qemu
    /// (implies --mount-binfmt)
    ///
    /// SPEC is :NAME:TYPE:OFFSET:MAGIC:MASK:INTERPRETER:FLAGS, see binfmt_misc in the kernel's
    /// documentation. With F in FLAGS the interpreter is one of outside, else one of --root.
    #[arg(short = 'l', long, value_name = "SPEC")]
    pub load_interp: Option<OsString>,
    /// Bind all the namespaces that are made to files in DIR, which keeps them when COMMAND has ended
    #[arg(long, value_name = "DIR", conflicts_with = "target")]
    pub persist: Option<PathBuf>,
    /// Pass SIGTERM and SIGINT on to the child: nsenter-lite always does (implies --fork)
    #[arg(long, conflicts_with = "target")]
    pub forward_signals: bool,
    /// How mounts and unmounts pass between the new mount namespace and the old one
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    pub propagation: Propagation,
    /// Set the host name, in a UTS namespace (implies --uts)
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<OsString>,
    /// Set the NIS domain name, in a UTS namespace (implies --uts)
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<OsString>,
    #[command(flatten)]
    pub network: Network,
    #[command(flatten)]
    pub reports: Reports,
    #[command(flatten)]
    pub joins: Joins,

    /// Give COMMAND no environment variables
    #[arg(long, conflicts_with = "env")]
    pub clear_env: bool,
    /// Write COMMAND's PID, as the caller sees it, to FILE before COMMAND runs; FILE is left there
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Send COMMAND this signal when nsenter-lite dies: SIGKILL, as --pid implies (implies --fork)
    ///
    /// The kernel forgets it when COMMAND changes its user or runs a setuid program; see
    /// PR_SET_PDEATHSIG in prctl(2).
    #[arg(
        long,
        value_name = "SIG",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "KILL",
        value_parser = signal
    )]
    pub kill_child: Option<Signal>,
    #[command(flatten)]
    pub life: Life,

    /// Enter the namespaces of a process, or those of --persist DIR
    ///
    /// A process is a PID, PID:INODE of its pidfd, or fd:N, a pidfd that was handed on.
    #[arg(short, long, value_name = "PID|DIR")]
    pub target: Option<String>,
    /// Enter all namespaces of the target that are not ours already
    #[arg(short, long, requires = "target")]
    pub all: bool,
    /// Keep user and group as they are when entering a user namespace, by --target or --join, instead
    /// of being its root
    #[arg(long)]
    pub preserve_credentials: bool,
    /// Don't run COMMAND as a child when a PID namespace is entered: only its children are inside
    #[arg(short = 'F', long, requires = "target", conflicts_with_all = ["fork", "kill_child", "pty"])]
    pub no_fork: bool,

    /// Print a POSIX shell script that does the same by classic commands; do nothing
    #[arg(long, conflicts_with = "explain")]
    pub dry_run: bool,
    /// Say on standard error what is being done, step by step, as `sh -x` does
    #[arg(short = 'x', long)]
    pub explain: bool,

    /// The program to run
    #[arg(trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

/// The eight kinds of namespaces(7). `--KIND=FILE` binds the new one to FILE, and with --target
/// enters that of FILE.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Namespaces {
    /// Mount table
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub mount: Option<OsString>,
    /// Host name
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub uts: Option<OsString>,
    /// System V IPC and POSIX message queues
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub ipc: Option<OsString>,
    /// Network devices, addresses, ports (-n is this, as in unshare; not --dry-run)
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub net: Option<OsString>,
    /// Processes
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub pid: Option<OsString>,
    /// Users, groups and capabilities
    #[arg(short = 'U', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub user: Option<OsString>,
    /// Control group root
    #[arg(short = 'C', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub cgroup: Option<OsString>,
    /// Monotonic and boot-time clocks
    #[arg(short = 'T', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub time: Option<OsString>,
}

/// What `--propagation` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Propagation {
    /// Neither way
    #[default]
    Private,
    /// Into the new namespace, not out of it
    Slave,
    /// Both ways
    Shared,
    /// As each mount has it now
    Unchanged,
}

impl Propagation {
    /// Whether what is mounted inside may be seen outside, too.
    pub fn leads_out(self) -> bool {
        matches!(self, Self::Shared | Self::Unchanged)
    }

    /// The word of unshare(1) for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Slave => "slave",
            Self::Shared => "shared",
            Self::Unchanged => "unchanged",
        }
    }
}

/// `TERM`, `sigterm` or `15`.
fn signal(text: &str) -> Result<Signal, String> {
    let text = text.to_ascii_uppercase();
    let number = text.parse().ok().and_then(|number: i32| Signal::try_from(number).ok());
    number
        .or_else(|| text.parse().ok())
        .or_else(|| format!("SIG{text}").parse().ok())
        .ok_or_else(|| "no such signal; kill -l lists them".into())
}

impl Cli {
    /// What to do with the plan.
    pub fn mode(&self) -> Mode {
        common::Narration { dry_run: self.dry_run, explain: self.explain }.mode()
    }

    /// Refuses options that make namespaces where some are to be entered.
    pub fn check_target(&self) -> Result<(), Failure> {
        let making = [
            (self.users.given().unwrap_or_default(), self.users.given().is_some()),
            ("--owner", self.owning.owner.is_some()),
            ("--monotonic", self.clocks.monotonic.is_some()),
            ("--boottime", self.clocks.boottime.is_some()),
            ("--mount-proc", self.mount_proc.is_some()),
            ("--mount-binfmt", self.mount_binfmt.is_some()),
            ("--load-interp", self.load_interp.is_some()),
            ("--hostname", self.hostname.is_some()),
            ("--domainname", self.domainname.is_some()),
            ("--loopback", self.network.loopback),
            ("--ping", self.network.ping.is_some()),
            ("--propagation", self.propagation != Propagation::default()),
        ];
        match making.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((option, _)) => Err(Failure::usage(format!(
                "use {option} with --target: it is for new namespaces, and --target enters those \
                 that are there"
            ))
            .hint(
                "run one nsenter-lite inside the other: nsenter-lite -t PID -a nsenter-lite ...",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["TERM", "SIGTERM", "15"] {
            assert_eq!(signal(text), Ok(Signal::SIGTERM));
        }
        for text in ["", "0", "term!", "SIGSIGTERM", "99"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_end_at_the_first_word_of_the_command() {
        let cli = Cli::try_parse_from(["nsenter-lite", "-fp", "--mount-proc", "ps", "-e", "--net"]);
        let cli = cli.expect("a good command line");
        assert_eq!(cli.command, ["ps", "-e", "--net"]);
        assert_eq!(cli.mount_proc, Some("/proc".into()));
        assert!(cli.fork && cli.namespaces.pid.is_some() && cli.namespaces.net.is_none());
    }
}

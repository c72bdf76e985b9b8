//! The command line: the words of unshare(1) to make namespaces, those of nsenter(1) after `-t`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use common::{Failure, Mode};

/// Run a program in new namespaces, or in those of a process
///
/// Without --target the letters make new namespaces, as unshare(1) does; with it they enter those
/// of process PID, as nsenter(1) does. COMMAND defaults to $SHELL, else /bin/sh.
///
/// In a new PID or time namespace COMMAND is a child, so nsenter-lite stays, passes signals on,
/// and ends as COMMAND ends; if nsenter-lite is killed, COMMAND is too. COMMAND is then PID 1.
#[derive(Debug, Default, Parser)]
#[command(
    name = "nsenter-lite",
    version,
    override_usage = "nsenter-lite [OPTIONS] [COMMAND [ARG]...]\n       \
        nsenter-lite --target PID [OPTIONS] [COMMAND [ARG]...]"
)]
#[command(
    after_help = "Exit status: COMMAND's own, 128+N if signal N ended it; 125 if nsenter-lite \
    fails, 126 if COMMAND can't be run, 127 if it is not found."
)]
pub struct Cli {
    #[command(flatten)]
    pub namespaces: Namespaces,

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
    /// Be root in a new user namespace (implies --user)
    #[arg(short = 'r', long)]
    pub map_root_user: bool,
    /// Be oneself in a new user namespace (implies --user)
    #[arg(short = 'c', long, conflicts_with = "map_root_user")]
    pub map_current_user: bool,
    /// How mounts and unmounts pass between the new mount namespace and the old one
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    pub propagation: Propagation,
    /// Set the host name, in a UTS namespace (implies --uts)
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<OsString>,
    /// Write COMMAND's PID, as the caller sees it, to FILE before COMMAND runs
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Kill COMMAND when nsenter-lite dies (--pid implies it)
    #[arg(long)]
    pub kill_child: bool,

    /// Enter the namespaces of this process
    #[arg(short, long, value_name = "PID")]
    pub target: Option<String>,
    /// Enter all namespaces of the target that are not ours already
    #[arg(short, long, requires = "target")]
    pub all: bool,
    /// Keep user and group as they are when entering a user namespace, instead of being its root
    #[arg(long, requires = "target")]
    pub preserve_credentials: bool,

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

/// The eight kinds of namespaces(7).
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Namespaces {
    /// Mount table
    #[arg(short, long)]
    pub mount: bool,
    /// Host name
    #[arg(short, long)]
    pub uts: bool,
    /// System V IPC and POSIX message queues
    #[arg(short, long)]
    pub ipc: bool,
    /// Network devices, addresses, ports (-n is this, as in unshare; not --dry-run)
    #[arg(short, long)]
    pub net: bool,
    /// Processes
    #[arg(short, long)]
    pub pid: bool,
    /// Users, groups and capabilities
    #[arg(short = 'U', long)]
    pub user: bool,
    /// Control group root
    #[arg(short = 'C', long)]
    pub cgroup: bool,
    /// Monotonic and boot-time clocks
    #[arg(short = 'T', long)]
    pub time: bool,
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

impl Cli {
    /// What to do with the plan.
    pub fn mode(&self) -> Mode {
        common::Narration { dry_run: self.dry_run, explain: self.explain }.mode()
    }

    /// Refuses options that make namespaces where some are to be entered.
    pub fn check_target(&self) -> Result<(), Failure> {
        let making = [
            ("--mount-proc", self.mount_proc.is_some()),
            ("--map-root-user", self.map_root_user),
            ("--map-current-user", self.map_current_user),
            ("--hostname", self.hostname.is_some()),
            ("--pid-file", self.pid_file.is_some()),
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

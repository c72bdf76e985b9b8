//! The command line: what is asked for, before anything of the system is looked at.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use common::Narration;

/// Run a program in another root directory
///
/// ROOT becomes the root of a mount namespace of its own by pivot_root(2), so that there is no
/// way back to the old one. COMMAND defaults to the user's shell, as ROOT's /etc/passwd has it.
/// Users and groups are looked up in ROOT's own files.
#[derive(Debug, Parser)]
#[command(name = "chrootx", version, override_usage = "chrootx [OPTIONS] ROOT [COMMAND [ARG]...]")]
#[command(
    after_help = "Exit status: COMMAND's own; 125 if chrootx fails, 126 if COMMAND can't be \
    run, 127 if it is not found."
)]
pub struct Cli {
    #[command(flatten)]
    pub narration: Narration,
    /// Use chroot(2) alone, as chroot(8) does: root inside can leave it again
    #[arg(long)]
    pub chroot: bool,
    /// Run as this user and group, names or numbers; sets HOME, USER, LOGNAME and SHELL
    #[arg(short, long, visible_alias = "userspec", value_name = "USER[:GROUP]")]
    pub user: Option<OsString>,
    /// Supplementary groups instead of USER's own; an empty list for none
    #[arg(long, value_name = "GROUP,...", requires = "user")]
    pub groups: Option<OsString>,
    /// Start in this directory of ROOT instead of /
    #[arg(short, long, visible_alias = "wd", value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// The directory that becomes /
    pub root: PathBuf,
    /// The program to run in it
    #[arg(trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

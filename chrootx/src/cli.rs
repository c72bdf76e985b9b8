//! The command line: what is asked for, before anything of the system is looked at.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use common::Narration;

/// Run a program in another root directory
///
/// ROOTFS becomes the root of a mount namespace of its own by pivot_root(2), so that there is no
/// way back to the old one. COMMAND defaults to the user's shell, as ROOTFS's /etc/passwd has it.
/// Users and groups are looked up in ROOTFS's own files.
///
/// Descriptors from 3 on are closed, and no capability is inheritable or ambient. All else is as
/// the caller has it, unless it is asked for below.
#[derive(Debug, Parser)]
#[command(name = "chrootx", version, args_override_self = true)]
#[command(
    override_usage = "chrootx [OPTIONS] ROOTFS [COMMAND [ARG]...]",
    help_template = "{about-with-newline}\n{usage-heading} {usage}\n\n\
        Arguments:\n  \
          <ROOTFS>             The directory that becomes /\n  \
          [COMMAND [ARG]...]   The program to run in it; options stand in front of ROOTFS\n\n\
        Options:\n{options}{after-help}",
    after_help = "Exit status: COMMAND's own; 125 if chrootx fails, 126 if COMMAND can't be \
    run, 127 if it is not found."
)]
pub struct Cli {
    #[command(flatten)]
    pub narration: Narration,
    /// Use chroot(2) alone, as chroot(8) does. For root not to leave it again, it takes away the
    /// capabilities SYS_CHROOT, MKNOD, DAC_READ_SEARCH and SYS_ADMIN
    #[arg(long)]
    pub chroot: bool,
    /// Pivot in the mount namespace that is there, not in a new one; N is open on the one outside
    ///
    /// All others in it get ROOTFS, too, as PID 1 of nsenter-lite --init. That it is not the one outside,
    /// the descriptor shows: nsenter-lite --init --mount --fd 9=/proc/self/ns/mnt
    #[arg(long, value_name = "N", conflicts_with = "chroot")]
    pub in_place: Option<u32>,
    /// Run as this user and group, names or numbers; sets HOME, USER, LOGNAME and SHELL, which are
    /// /, the number and /bin/sh where ROOTFS's /etc/passwd has none
    #[arg(short, long, visible_alias = "userspec", value_name = "USER[:GROUP]")]
    pub user: Option<OsString>,
    /// Supplementary groups instead of USER's own; an empty list for none
    #[arg(long, value_name = "GROUP,...")]
    pub groups: Option<OsString>,
    /// Start in this directory of ROOTFS instead of /
    #[arg(short, long, visible_alias = "wd", value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// Leave the working directory where it is: only if ROOTFS is /
    #[arg(long, conflicts_with = "workdir")]
    pub skip_chdir: bool,
    /// Make the root itself read-only; what is mounted below it stays as it is
    #[arg(long, conflicts_with = "chroot")]
    pub read_only: bool,
    /// Let no device file open anything that is in the root itself; a dev that is mounted there does
    #[arg(long, conflicts_with = "chroot")]
    pub nodev: bool,
    /// Leave what a container usually gets of root's capabilities: CHOWN, DAC_OVERRIDE, FOWNER,
    /// FSETID, KILL, NET_BIND_SERVICE, SETFCAP, SETGID, SETPCAP, SETUID and SYS_CHROOT
    #[arg(long)]
    pub cap_default: bool,
    /// Take these capabilities away, for all programs that follow; all for each
    #[arg(long, value_name = "CAP,...")]
    pub cap_drop: Vec<String>,
    /// Leave these capabilities in any case. A COMMAND that is not root's has them in its bounding
    /// set alone, where a setuid program finds them
    #[arg(long, value_name = "CAP,...")]
    pub cap_keep: Vec<String>,
    /// Let no program that follows gain privileges by its file, as setuid ones do
    #[arg(long)]
    pub no_new_privs: bool,
    /// Refuse system calls that a container has no business with: default, as Docker does, or a
    /// FILE with a program, as seccomp_export_bpf(3) writes it; implies --no-new-privs
    #[arg(long, value_name = "default|FILE")]
    pub seccomp: Option<PathBuf>,
    /// Refuse all paths (r, w, x before the colon), TCP ports or signals and abstract sockets to
    /// other processes, but these: rx:/usr, rw:/tmp, connect:443, bind:none, scope:signal,
    /// scope:abstract-unix-socket; implies --no-new-privs. Where the kernel can't, nothing is run
    #[arg(long, value_name = "RULE,...")]
    pub landlock: Vec<OsString>,
    /// Print the program of --seccomp default, for these capabilities; do nothing
    #[arg(long, conflicts_with = "seccomp")]
    pub print_seccomp: bool,
    /// Leave this descriptor open, as the caller has it
    #[arg(long, value_name = "N")]
    pub keep_fd: Vec<u32>,
    /// Set a limit, as prlimit(1) names it: nofile=1024:4096, core=0, nproc=unlimited; nofile=1024:
    /// leaves the hard limit as it is, nofile=:4096 the soft one
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub rlimit: Vec<String>,
    /// Set the bits that new files don't get: 022
    #[arg(long, value_name = "MODE")]
    pub umask: Option<String>,
    /// Start with TERM and a usual PATH alone
    #[arg(long)]
    pub clear_env: bool,
    /// Set a variable; a NAME alone keeps the caller's with --clear-env
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<OsString>,
    /// Have a session keyring of one's own, with none of the caller's keys
    #[arg(long)]
    pub new_keyring: bool,
    /// Wait for a byte from this FIFO when all is set up, before privileges are given up
    #[arg(long, value_name = "FIFO")]
    pub hold: Option<PathBuf>,
    /// Write `ok` to this FIFO or descriptor when COMMAND has been found and all is set up, or
    /// `err MESSAGE` when something has failed before; then comes --hold
    #[arg(long, value_name = "FIFO|FD")]
    pub ready: Option<OsString>,
    /// Give COMMAND a new terminal of ROOTFS's /dev/pts, and send the other end of it by this socket,
    /// with its name; it is mounted on /dev/console, if there is one
    #[arg(long, value_name = "SOCKET", conflicts_with = "chroot")]
    pub console_socket: Option<PathBuf>,
    /// ROOTFS and COMMAND, as one argument: the first word that is no option ends the options.
    #[arg(
        value_name = "ROOTFS",
        required_unless_present = "print_seccomp",
        trailing_var_arg = true,
        hide = true
    )]
    pub words: Vec<OsString>,
}

impl Cli {
    /// The directory that becomes /, and the program to run in it. Words that look like options are
    /// COMMAND's, as with chroot(1); but `--` may stand before it, as with the other tools.
    pub fn take_words(&mut self) -> (PathBuf, Vec<OsString>) {
        let mut words = std::mem::take(&mut self.words).into_iter();
        let root = words.next().unwrap_or_default(); // clap has asked for it
        let command: Vec<OsString> = words.collect();
        match command.split_first() {
            Some((dashes, rest)) if dashes == "--" => (root.into(), rest.to_vec()),
            _ => (root.into(), command),
        }
    }
}

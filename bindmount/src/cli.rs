//! The command line: what is asked for, before anything of the system is looked at.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::Parser;
use common::{Failure, Narration, pid};
use nix::unistd::Pid;

use crate::inside::{Inside, Tree};
use crate::options::Options;
use crate::spec::{Spec, is_spec, place_inside, spec};

/// Make a tree visible at a second place
///
/// With --std the places are those that programs expect in a root file system: a small /dev, a new
/// /proc for this PID namespace, /sys read-only, and /etc/resolv.conf, a copy of the machine's if it
/// has one. Root can't change the machine by them, nor read its memory and keys, as long as it can't
/// unmount, so give it less power: chrootx --cap-default. All of it is mounted, nothing is written
/// into ROOTFS. Where ROOTFS has no file etc/resolv.conf to mount on, an overlay in memory covers
/// its etc: what is written to etc is not kept then (touch ROOTFS/etc/resolv.conf avoids that, or
/// --mkdir, where one may be made). A mount point that is a symbolic link is refused; on the way to
/// DST links are followed inside ROOTFS.
///
/// --root makes only what is named: --overlay without DST, --dev, --proc, --sys, --resolv-conf,
/// --mqueue, --overlay with DST, --tmpfs, --bind, in this order, whatever order they are given in.
///
/// With COMMAND, become it after the mounts; in a mount namespace of its own (nsenter-lite
/// --mount) they vanish with it. Without, they stay until bindmount -u.
#[derive(Debug, Default, Parser)]
#[command(
    name = "bindmount",
    version,
    args_override_self = true,
    override_usage = "bindmount [OPTIONS] SRC DST [-- COMMAND [ARG]...]\n       \
        bindmount [OPTIONS] SRC:DST[:OPTIONS]... [-- COMMAND [ARG]...]\n       \
        bindmount [OPTIONS] --std ROOTFS [SRC:DST[:OPTIONS]]... [-- COMMAND [ARG]...]\n       \
        bindmount [OPTIONS] --root ROOTFS [--proc] [--dev] [--tmpfs DST]... [-- COMMAND [ARG]...]\n       \
        bindmount --target PID [OPTIONS] SRC DST\n       \
        bindmount --unmount [--recursive] DST\n       \
        bindmount --list [DIR] [--json]"
)]
#[command(
    after_help = "OPTIONS of a mount, as in mount(8): ro, nosuid, nodev, noexec, nosymfollow, \
    noatime, nodiratime, strictatime, and their opposites rw, suid, dev, exec, symfollow, relatime, \
    diratime; rbind; private, slave, shared, unbindable, and with an r in front these four for all \
    mounts below. With --recursive, or rbind, they hold for all mounts below. In SRC:DST[:OPTIONS] a \
    colon of SRC or DST is written \\:. Of several mounts all are made, or none.\n\n\
    --map-users INNER:OUTER:COUNT shows the files that INNER owns on disk as OUTER's, and so on for \
    COUNT of them; what OUTER makes there is INNER's on disk. Of what is not in the map nobody here is \
    the owner; without --map-groups groups stay as they are. As one option: \
    'X-mount.idmap=u:INNER:OUTER:COUNT g:INNER:OUTER:COUNT', b: for both.\n\n\
    mount(8)'s own spellings do the same: --bind SRC DST, -B, --make-rslave, -m ...\n\n\
    --list prints a line for each mount at and under DIR: TARGET SOURCE TYPE OPTIONS, four words with \
    the escapes of proc_pid_mountinfo(5); with --json one array of objects with the keys target, \
    source, type, options.\n\n\
    Exit status: 0 done, 1 failed, 2 wrong usage. With COMMAND: its own; 125 if bindmount fails, \
    126 if COMMAND can't be run, 127 if it is not found."
)]
pub struct Cli {
    #[command(flatten)]
    pub narration: Narration,
    #[command(flatten)]
    pub inside: Inside,
    /// The mounts below SRC come along (mount's --rbind)
    #[arg(short = 'R', long, visible_alias = "rbind")]
    pub recursive: bool,
    /// Read-only, as -o ro
    #[arg(short, long, alias = "ro")]
    pub read_only: bool,
    /// Writable, as -o rw
    #[arg(short, long = "rw", alias = "read-write", conflicts_with = "read_only")]
    pub writable: bool,
    /// How it is mounted
    #[arg(short, long, value_name = "OPTIONS")]
    pub options: Vec<String>,
    /// Do it in the mount namespace of this process: SRC is here, DST is in its root
    #[arg(short, long, value_name = "PID", conflicts_with_all = ["std", "root"])]
    pub target: Option<String>,
    /// Show files as other users' (idmapped mount); any number of times
    #[arg(long, value_name = "INNER:OUTER:COUNT")]
    pub map_users: Vec<String>,
    /// Show files as other groups'
    #[arg(long, value_name = "INNER:OUTER:COUNT")]
    pub map_groups: Vec<String>,
    /// Make mount points that are missing (this does write into ROOTFS)
    #[arg(short, long)]
    pub mkdir: bool,
    /// Take the mount at DST away; with --recursive all at and under it
    #[arg(
        short,
        long,
        conflicts_with_all = ["std", "root", "list", "mkdir", "read_only", "writable", "options", "map_users", "map_groups"]
    )]
    pub unmount: bool,
    /// With --unmount: take it away from the tree now, and clean up when nobody uses it
    #[arg(short, long, requires = "unmount")]
    pub lazy: bool,
    /// List the mounts at and under DIR
    #[arg(
        long,
        conflicts_with_all = ["std", "root", "mkdir", "read_only", "writable", "options", "recursive", "map_users", "map_groups"]
    )]
    pub list: bool,
    /// With --list: as JSON
    #[arg(long, requires = "list")]
    pub json: bool,
    /// SRC and DST, or DST, or DIR
    #[arg(hide = true)]
    pub paths: Vec<PathBuf>,
    /// The program to run
    #[arg(last = true, hide = true)]
    pub command: Vec<OsString>,
}

/// The command line, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    Bind(Vec<Spec>),
    Into(Tree),
    Unmount {
        target: PathBuf,
        recursive: bool,
        lazy: bool,
    },
    List {
        dir: Option<PathBuf>,
        json: bool,
    },
    /// In the mount namespace of a process.
    BindIn {
        pid: Pid,
        spec: Spec,
    },
    UnmountIn {
        pid: Pid,
        target: PathBuf,
        lazy: bool,
    },
    ListIn {
        pid: Pid,
        dir: Option<PathBuf>,
        json: bool,
    },
}

impl Cli {
    /// What is asked for, or why it makes no sense.
    pub fn request(&self) -> Result<Request, Failure> {
        let request = self.request_here()?;
        let Some(pid) = &self.target else { return Ok(request) };
        let pid = pid::parse(pid).map_err(|failure| match pid.as_str() {
            "proc" | "sysfs" | "tmpfs" | "mqueue" | "overlay" => failure.hint(
                "-t takes a process; a new file system is made in a root: bindmount --root ROOTFS \
                 --proc --tmpfs DST",
            ),
            _ => failure,
        })?;
        if !self.command.is_empty() {
            return Err(Failure::usage("run a COMMAND after --target: it would be half in there")
                .hint(format!("nsenter-lite -t {pid} -a -- COMMAND runs one in a container")));
        }
        match request {
            Request::Bind(mut specs) => match (specs.pop(), specs.is_empty()) {
                (Some(spec), true) => {
                    let dst = place_inside(spec.dst.as_os_str(), spec.dst.as_os_str())?;
                    Ok(Request::BindIn { pid, spec: Spec { dst, ..spec } })
                }
                _ => Err(wrong("with --target one mount is made a time")),
            },
            Request::Unmount { target, recursive: false, lazy } => {
                let target = place_inside(target.as_os_str(), target.as_os_str())?;
                Ok(Request::UnmountIn { pid, target, lazy })
            }
            Request::Unmount { .. } => Err(wrong("with --target one mount is taken away a time")),
            Request::List { dir, json } => Ok(Request::ListIn { pid, dir, json }),
            _ => Err(wrong("--target takes SRC and DST, or --unmount, or --list")),
        }
    }

    fn request_here(&self) -> Result<Request, Failure> {
        let paths: Vec<&PathBuf> = self.paths.iter().collect();
        if self.unmount || self.list {
            if !self.command.is_empty() {
                return Err(Failure::usage("run a COMMAND: only after mounts are made").hint(DASH));
            }
            return match (self.unmount, paths.as_slice()) {
                (true, [target]) => Ok(Request::Unmount {
                    target: (*target).clone(),
                    recursive: self.recursive,
                    lazy: self.lazy,
                }),
                (true, _) => Err(wrong("--unmount takes one DST")),
                (false, [] | [_]) => {
                    Ok(Request::List { dir: self.paths.first().cloned(), json: self.json })
                }
                (false, _) => Err(wrong("--list takes one DIR")),
            };
        }
        match (self.inside.root(), paths.as_slice()) {
            (Some(_), words) if words.iter().all(|word| is_spec(word)) => {
                let words: Vec<&OsStr> = paths.iter().map(|path| path.as_os_str()).collect();
                self.inside.tree(&words).map(Request::Into)
            }
            (Some(_), _) => {
                Err(wrong("--std and --root take one ROOTFS, and COMMAND stands behind --"))
            }
            (None, []) if !self.command.is_empty() => {
                Err(Failure::usage("read the command line: SRC and DST are missing").hint(DASH))
            }
            (None, []) => Err(wrong("SRC and DST are missing")),
            (None, words) if words.iter().all(|word| is_spec(word)) => {
                let options = self.mount_options()?;
                let specs = words.iter().map(|text| spec(text.as_os_str(), &options, false));
                Ok(Request::Bind(specs.collect::<Result<_, _>>()?))
            }
            (None, [src, dst]) => Ok(Request::Bind(vec![Spec {
                src: (*src).clone(),
                dst: (*dst).clone(),
                options: self.mount_options()?,
            }])),
            (None, [_]) => Err(wrong("DST is missing: where is it to be seen?").hint(
                "what is mounted already is changed by mount(8): mount -o remount,bind,ro DST, mount \
                 --make-private DST",
            )),
            (None, _) => Err(wrong("there is more than SRC and DST; COMMAND stands behind --")),
        }
    }

    fn mount_options(&self) -> Result<Options, Failure> {
        let mut options = Options::parse(&self.options.join(","))?;
        options.recursive |= self.recursive;
        for (_, word) in
            [(self.read_only, "ro"), (self.writable, "rw")].iter().filter(|(is, _)| *is)
        {
            options.add(word)?;
        }
        for range in &self.map_users {
            options.idmap.get_or_insert_default().add_users(range)?;
        }
        for range in &self.map_groups {
            options.idmap.get_or_insert_default().add_groups(range)?;
        }
        Ok(options)
    }
}

const DASH: &str = "behind -- stands a COMMAND; a path that begins with - is written ./-x";

pub fn wrong(what: &str) -> Failure {
    Failure::usage(format!("read the command line: {what}"))
        .hint("bindmount --help shows the usage")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::{Dev, Proc};
    use crate::memory::Memory;

    fn request(args: &[&str]) -> Result<Request, String> {
        Cli::try_parse_from([&["bindmount"], args].concat())
            .map_err(|error| error.to_string())
            .and_then(|cli| cli.request().map_err(|failure| failure.lines("bindmount")))
    }

    #[test]
    fn the_forms_of_a_mount() {
        let options = Options::parse("rbind,ro").expect("known words");
        let wanted = Request::Bind(vec![Spec { src: "/a".into(), dst: "b".into(), options }]);
        assert_eq!(request(&["-R", "-r", "/a", "b", "--", "sh", "-c", "x"]), Ok(wanted));
        let options = Options::parse("ro,nosuid").expect("known words");
        let binds = vec![Spec { src: "/x".into(), dst: "/y".into(), options }];
        let std = Tree {
            rootfs: "r".into(),
            dev: Some(Dev::Minimal),
            proc: Some(Proc::Masked),
            sys: true,
            resolver: Some(Vec::new()),
            ..Tree::default()
        };
        assert_eq!(
            request(&["--std", "r", "--bind", "/x:/y:ro,nosuid", "--", "true"]),
            Ok(Request::Into(Tree { binds, ..std.clone() }))
        );
        let several = request(&["-r", "/a:b", r"/c\\\:d\x:e:noexec,X-mount.idmap=u:0:1:2"]);
        let spec = |src: &str, dst: &str, options: &str| {
            let options = Options::parse(options).expect("known words");
            Spec { src: src.into(), dst: dst.into(), options }
        };
        let second = spec(r"/c\:d\x", "e", "ro,noexec,X-mount.idmap=u:0:1:2");
        assert_eq!(several, Ok(Request::Bind(vec![spec("/a", "b", "ro"), second])));
        let (dev, proc) = (Some(Dev::Machine), Some(Proc::Plain));
        assert_eq!(
            request(&["--std", "r", "--dev=machine", "--proc=plain"]),
            Ok(Request::Into(Tree { dev, proc, ..std.clone() }))
        );
        let resolver = Some(vec!["192.0.2.1".parse().expect("an address")]);
        assert_eq!(
            request(&["--std", "r", "--dns", "192.0.2.1", "--mqueue"]),
            Ok(Request::Into(Tree { resolver: resolver.clone(), mqueue: true, ..std }))
        );
        let none = Tree { rootfs: "r".into(), ..Tree::default() };
        let memory = vec![("/tmp".into(), Memory::parse("size=1M").expect("known words"))];
        assert_eq!(
            request(&["--root", "r", "--proc", "--tmpfs", "/tmp:size=1M", "--", "x"]),
            Ok(Request::Into(Tree { proc: Some(Proc::Masked), memory, ..none.clone() }))
        );
        assert_eq!(
            request(&["--root", "r", "--dns", "192.0.2.1"]),
            Ok(Request::Into(Tree { resolver, ..none }))
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for (args, why) in [
            (&[][..], "SRC and DST are missing"),
            (&["a"], "DST is missing"),
            (&["a", "b", "c"], "COMMAND stands behind --"),
            (&["--std", "r", "x"], "take one ROOTFS"),
            (&["--std", "r", "--bind", "x"], "not of the form"),
            (&["--std", "r", "--bind", ":y"], "not of the form"),
            (&["--std", "r", "--bind", "a:b:c:d"], "no option is called \"c:d\""),
            (&["--std", "r", "--bind", "a:b:huge"], "no option is called \"huge\""),
            (&["--std", "r", "--bind", "a:/x/../../y"], "is no place in ROOTFS"),
            (&["--std", "r", "--bind", "a:/"], "is no place in ROOTFS"),
            (&["--std", "r", "--read-only"], "cannot be used with"),
            (&["--rw", "--ro", "a", "b"], "cannot be used with"),
            (&["--std", "r", "--dev=all"], "invalid value 'all'"),
            (&["--dev", "a", "b"], "--std"),
            (&["-u", "a", "--proc=plain"], "--std"),
            (&["--list", "--dev"], "--std"),
            (&["--root", "r"], "nothing is named"),
            (&["--root", "r", "--std", "r"], "cannot be used with"),
            (&["--std", "r", "--dns", "here"], "invalid value 'here'"),
            (&["--root", "r", "--tmpfs", "/"], "is no place in ROOTFS"),
            (&["--root", "r", "--tmpfs", "/x:size=much"], "read a size"),
            (&["-u"], "--unmount takes one DST"),
            (&["-u", "a", "--", "sh"], "run a COMMAND"),
            (&["--list", "a", "b"], "--list takes one DIR"),
            (&["--json", "a", "b"], "--list"),
            (&["-o", "ro,,x", "a", "b"], "no option is called \"x\""),
        ] {
            let error = request(args).expect_err("nonsense");
            assert!(error.contains(why), "{args:?}: {error}");
        }
    }
}

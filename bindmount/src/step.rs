//! What bindmount does, step by step.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use common::{Failure, Flow, Line, Tried, exec, shell, sys};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use crate::attach::{Mounted, explain_privilege};
use crate::options::Options;
use crate::place::Place;
use crate::resolver;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A mount point, where it is missing.
    Make { place: Place, folder: bool },
    /// A tree, or a file, at a second place.
    Bind { src: PathBuf, place: Place, options: Options },
    /// A new proc.
    Proc(Place),
    /// A resolv.conf where the root has none.
    Resolver { file: PathBuf, etc: Place },
    /// A mount taken away.
    Unmount { target: PathBuf, lazy: bool },
    /// COMMAND.
    Exec(Vec<OsString>),
}

impl common::Step for Step {
    type Hands = Mounted;

    fn line(&self) -> Line {
        match self {
            Self::Make { place, folder: true } => Line::Run(format!("mkdir -p {}", place.word())),
            Self::Make { place, folder: false } => Line::Run(format!("touch {}", place.word())),
            Self::Bind { src, place, options } => Line::Run(bind_line(src, place, *options)),
            Self::Proc(place) => {
                Line::Run(format!("mount -t proc -o nosuid,nodev,noexec proc {}", place.word()))
            }
            Self::Resolver { file, etc } => Line::Run(cover_line(file, etc)),
            Self::Unmount { target, lazy } => {
                let lazy = if *lazy { "--lazy " } else { "" };
                Line::Run(format!("umount {lazy}{}", shell::operand(target)))
            }
            Self::Exec(command) => Line::Exec(exec::line(command)),
        }
    }

    fn why(&self) -> String {
        match self {
            Self::Make { .. } => "a mount needs something to be mounted on; mkdir(2)",
            Self::Bind { options, .. } if options.attr().is_some() => {
                "the same tree at a second place, with attributes of its own; open_tree(2), \
                 mount_setattr(2), move_mount(2)"
            }
            Self::Bind { .. } => "the same tree at a second place; open_tree(2), move_mount(2)",
            Self::Proc(_) => "a new proc shows the processes of this PID namespace; proc(5)",
            Self::Resolver { .. } => {
                "no file to mount on, so an overlay in memory holds one and \
                the root stays as it is; resolv.conf(5)"
            }
            Self::Unmount { .. } => "the tree below is visible again; umount(2)",
            Self::Exec(_) => "become the command; execve(2)",
        }
        .into()
    }

    fn act(&self, mounted: &mut Mounted) -> Result<Flow, Failure> {
        match self {
            Self::Make { place, folder } => place.make(*folder)?,
            Self::Bind { src, place, options } => mounted.bind(src, place, *options)?,
            Self::Proc(place) => new_proc(mounted, place)?,
            Self::Resolver { file, etc } => resolver::cover(mounted, etc, file)?,
            Self::Unmount { target, lazy } => unmount(target, *lazy)?,
            Self::Exec(command) => return Err(exec::exec(command)),
        }
        Ok(Flow::Next)
    }

    fn undo(&self, mounted: &mut Mounted) -> Result<(), Failure> {
        let mounts = match self {
            Self::Bind { .. } | Self::Proc(_) => 1,
            Self::Resolver { .. } => 2,
            Self::Make { .. } | Self::Unmount { .. } | Self::Exec(_) => 0,
        };
        (0..mounts).try_for_each(|_| mounted.take_back())
    }
}

/// mount(8) sets attributes after the fact, and on one mount a time.
fn bind_line(src: &Path, place: &Place, options: Options) -> String {
    let kind = if options.recursive { "--rbind" } else { "--bind" };
    let make = options.make().map(|make| format!(" {make}")).unwrap_or_default();
    let dst = place.word();
    let bind = format!("mount {kind}{make} {} {dst}", shell::operand(src));
    match (options.words().as_str(), options.recursive) {
        ("", _) => bind,
        (words, false) => format!("{bind} && mount -o remount,bind,{words} {dst}"),
        (words, true) => format!(
            "{bind} && findmnt -Rnro TARGET {dst} | while read -r t; do mount -o \
             remount,bind,{words} \"$(printf %b \"$t\")\"; done"
        ),
    }
}

/// The lower layer is the working directory: no path leads there once the memory is mounted.
fn cover_line(file: &Path, etc: &Place) -> String {
    let (file, name) = (shell::operand(file), resolver::NAME);
    format!(
        "(etc=$(readlink -f {}); cd \"$etc\" && mount -t tmpfs -o mode=0755,size=1m tmpfs \"$etc\" && \
         mkdir \"$etc/upper\" \"$etc/work\" && cp -L {file} \"$etc/upper/{name}\" && \
         chmod 644 \"$etc/upper/{name}\" && mount -t overlay \
         -o lowerdir=.,\"upperdir=$etc/upper,workdir=$etc/work\" overlay \"$etc\")",
        etc.word()
    )
}

fn new_proc(mounted: &mut Mounted, place: &Place) -> Result<(), Failure> {
    let attrs = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
    let proc =
        sys::new_mount(c"proc", &[], attrs).tried(|| "make a new proc").map_err(|failure| {
            explain_privilege(failure).hint_if(Errno::EPERM, || {
                "that takes root; in a user namespace it takes a PID namespace of its own, and a \
                 /proc that no other mount covers in part: findmnt -R /proc"
                    .into()
            })
        })?;
    mounted.attach(proc, place)
}

fn unmount(target: &Path, lazy: bool) -> Result<(), Failure> {
    let lazy = if lazy { MntFlags::MNT_DETACH } else { MntFlags::empty() };
    umount2(target, MntFlags::UMOUNT_NOFOLLOW | lazy)
        .tried(|| format!("unmount {target:?}"))
        .map_err(|failure| {
            explain_privilege(failure).hint_if(Errno::EBUSY, || {
                let target = shell::operand(target);
                format!(
                    "a process is in it, fuser -m {target} names it, or a mount is below: \
                    bindmount -u -R {target}; -l takes it away all the same"
                )
            })
        })
}

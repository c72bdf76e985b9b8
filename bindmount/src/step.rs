//! What bindmount does, step by step.

use std::ffi::OsString;
use std::path::PathBuf;

use common::{Failure, Flow, Line, Tried, exec, shell, sys};
use nix::errno::Errno;

use crate::attach::{Mounted, explain_privilege};
use crate::options::Options;
use crate::place::Place;
use crate::{overlay, resolver, script, unmount};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A mount point, where it is missing.
    Make { place: Place, folder: bool },
    /// A tree, or a file, at a second place.
    Bind { src: PathBuf, place: Place, options: Options },
    /// A new proc.
    Proc(Place),
    /// A copy of the machine's resolv.conf.
    Resolver { file: PathBuf, place: Place },
    /// The same where the root has no file for it; in a user namespace or not.
    Cover { file: PathBuf, etc: Place, user: bool },
    /// A mount, by its number and its place, taken away.
    Unmount { id: u64, target: PathBuf, lazy: bool },
    /// COMMAND.
    Exec(Vec<OsString>),
}

impl common::Step for Step {
    type Hands = Mounted;

    fn line(&self) -> Line {
        match self {
            Self::Make { place, folder } => Line::Run(script::make(place, *folder)),
            Self::Bind { src, place, options } => Line::Run(script::bind(src, place, *options)),
            Self::Proc(place) => {
                Line::Run(format!("mount -t proc -o nosuid,nodev,noexec proc {}", place.word()))
            }
            Self::Resolver { file, place } => Line::Run(script::cover_file(file, place)),
            Self::Cover { file, etc, user } => Line::Run(script::cover_folder(file, etc, *user)),
            Self::Unmount { target, lazy, .. } => {
                let lazy = if *lazy { "--lazy " } else { "" };
                Line::Run(format!("umount {lazy}{}", shell::operand(target)))
            }
            Self::Exec(command) => Line::Exec(exec::line(command)),
        }
    }

    fn why(&self) -> String {
        match self {
            Self::Make { .. } => "a mount needs something to be mounted on; mount(2)",
            Self::Bind { options, .. } if options.attr().is_some() => {
                "the same tree at a second place, with attributes of its own; open_tree(2), \
                 mount_setattr(2), move_mount(2)"
            }
            Self::Bind { .. } => "the same tree at a second place; open_tree(2), move_mount(2)",
            Self::Proc(_) => "a new proc shows the processes of this PID namespace; proc(5)",
            Self::Resolver { .. } => {
                "a copy in memory, so that the one of the machine stays out of reach; resolv.conf(5)"
            }
            Self::Cover { .. } => {
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
            Self::Make { place, folder } => mounted.make(place, *folder)?,
            Self::Bind { src, place, options } => mounted.bind(src, place, *options)?,
            Self::Proc(place) => new_proc(mounted, place)?,
            Self::Resolver { file, place } => resolver::cover_file(mounted, place, file)?,
            Self::Cover { file, etc, user } => overlay::cover(mounted, etc, file, *user)?,
            Self::Unmount { id, target, lazy } => unmount::unmount(*id, target, *lazy)?,
            Self::Exec(command) => return Err(exec::exec(command)),
        }
        Ok(Flow::Next)
    }

    fn undo(&self, mounted: &mut Mounted) -> Result<(), Failure> {
        match self {
            Self::Make { .. } => mounted.unmake(),
            Self::Bind { .. } | Self::Proc(_) | Self::Resolver { .. } => mounted.take_back(),
            Self::Cover { .. } => mounted.take_back().and_then(|()| mounted.take_back()),
            Self::Unmount { .. } | Self::Exec(_) => Ok(()),
        }
    }
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

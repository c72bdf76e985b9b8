//! What bindmount does, step by step.

use std::ffi::OsString;
use std::path::PathBuf;

use common::{Failure, Flow, Line, exec, shell};
use nix::unistd::Pid;

use crate::attach::Mounted;
use crate::held::Held;
use crate::layers::Layers;
use crate::memory::Memory;
use crate::options::Options;
use crate::place::Place;
use crate::resolver::Servers;
use crate::spec::Spec;
use crate::{devices, mask, overlay, procfs, queues, resolver, script, target, unmount};

/// What is held while the steps are done: what they have made, and the signals, unless nothing is done.
#[derive(Debug, Default)]
pub struct Hands {
    pub mounted: Mounted,
    pub held: Option<Held>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A mount point, where it is missing.
    Make { place: Place, folder: bool },
    /// A tree, or a file, at a second place.
    Bind { src: PathBuf, place: Place, options: Options },
    /// A part of a small dev.
    Device { place: Place, part: devices::Part },
    /// A new proc; in a user namespace or not.
    Proc { place: Place, user: bool },
    /// An overlay; in a user namespace or not. One that covers the working folder is entered.
    Overlay { place: Place, layers: Layers, user: bool, enter: bool },
    /// A file system in memory.
    Memory { place: Place, memory: Memory },
    /// A new mqueue.
    Queues { place: Place },
    /// What is taken out of the mount that was made last, at `place`.
    Mask { place: Place, part: mask::Part },
    /// A copy of the machine's resolv.conf, in the memory of a small dev if there is one.
    Resolver { servers: Servers, place: Place, dev: Option<Place> },
    /// The same where the root has no file for it; in a user namespace or not.
    Cover { servers: Servers, etc: Place, user: bool },
    /// A mount, by its number and its place, taken away; perhaps with another one before.
    Unmount { id: u64, target: PathBuf, lazy: bool, again: bool },
    /// A tree of here in the mount namespace of a process.
    BindIn { pid: Pid, spec: Spec, mkdir: bool },
    /// A mount of a process taken away.
    UnmountIn { pid: Pid, target: PathBuf, lazy: bool },
    /// COMMAND.
    Exec(Vec<OsString>),
}

impl common::Step for Step {
    type Hands = Hands;

    fn line(&self) -> Line {
        match self {
            Self::Make { place, folder } => Line::Run(script::make(place, *folder)),
            Self::Bind { src, place, options } => Line::Run(script::bind(src, place, options)),
            Self::Device { place, part } => Line::Run(part.line(place)),
            Self::Proc { place, user } => Line::Run(procfs::line(place, *user)),
            Self::Memory { place, memory } => {
                Line::Run(format!("mount -t tmpfs -o {} tmpfs {}", memory.words(), place.word()))
            }
            Self::Overlay { place, layers, user, enter } => {
                Line::Run(script::overlay(place, layers, *user, *enter))
            }
            Self::Queues { place } => Line::Run(queues::line(place)),
            Self::Mask { place, part } => Line::Run(part.line(place)),
            Self::Resolver { servers, place, dev } => {
                Line::Run(script::cover_file(servers, place, dev.as_ref()))
            }
            Self::Cover { servers, etc, user } => {
                Line::Run(script::cover_folder(servers, etc, *user))
            }
            Self::Unmount { id, target, lazy, again } => {
                Line::Run(unmount::line(*id, target, *lazy, *again))
            }
            Self::BindIn { pid, spec, .. } => Line::Run(target::line(*pid, spec)),
            Self::UnmountIn { pid, target, lazy } => {
                let lazy = if *lazy { " -l" } else { "" };
                let target = shell::operand(target);
                Line::Run(format!("nsenter --target {pid} --mount --root umount{lazy} {target}"))
            }
            Self::Exec(command) => Line::Exec(shell::line(command)),
        }
    }

    fn why(&self) -> String {
        match self {
            Self::Make { .. } => "a mount needs something to be mounted on; mount(2)",
            Self::Bind { options, .. } if options.idmap.is_some() => {
                "the same tree at a second place, its owners seen as others; mount(8) of util-linux \
                 2.39, mount_setattr(2)"
            }
            Self::Bind { options, .. } if options.attr().is_some() => {
                "the same tree at a second place, with attributes of its own; open_tree(2), \
                 mount_setattr(2), move_mount(2)"
            }
            Self::Bind { .. } => "the same tree at a second place; open_tree(2), move_mount(2)",
            Self::Device { part, .. } => part.why(),
            Self::Mask { part, .. } => part.why(),
            Self::Proc { .. } => "a new proc shows the processes of this PID namespace; proc(5)",
            Self::Memory { .. } => "a folder in memory; tmpfs(5)",
            Self::Overlay { .. } => {
                "what is below is seen, what is changed goes to the folder above; overlayfs in the \
                 kernel's documentation, mount(8)"
            }
            Self::Queues { .. } => "message queues of its own; mq_overview(7)",
            Self::Resolver { .. } => {
                "a copy in memory, so that the one of the machine stays out of reach; resolv.conf(5)"
            }
            Self::Cover { .. } => {
                "no file to mount on, so an overlay in memory holds one and \
                the root stays as it is; resolv.conf(5)"
            }
            Self::BindIn { .. } => {
                "a tree of here at a place of there; open_tree(2), setns(2), move_mount(2)"
            }
            Self::UnmountIn { .. } => "the tree below is visible there again; setns(2), umount(2)",
            Self::Unmount { .. } => "the tree below is visible again; umount(2)",
            Self::Exec(_) => "become the command; execve(2)",
        }
        .into()
    }

    /// Where a signal has come meanwhile that will end us, it is undone at once.
    fn act(&self, hands: &mut Hands) -> Result<Flow, Failure> {
        self.make(hands)?;
        if let Some(Err(failure)) = hands.held.as_ref().map(Held::none_has_come) {
            self.undo(hands)?;
            return Err(failure);
        }
        Ok(Flow::Next)
    }

    fn undo(&self, Hands { mounted, .. }: &mut Hands) -> Result<(), Failure> {
        match self {
            Self::Make { .. } => mounted.unmake(),
            Self::Device { part: devices::Part::Memory, .. }
            | Self::Bind { .. }
            | Self::Proc { .. }
            | Self::Overlay { .. }
            | Self::Memory { .. }
            | Self::Queues { .. }
            | Self::Resolver { .. } => mounted.take_back(),
            Self::Cover { .. } => mounted.take_back().and_then(|()| mounted.take_back()),
            // What was mounted below a mount goes with it.
            Self::Device { .. }
            | Self::Mask { .. }
            | Self::Unmount { .. }
            | Self::BindIn { .. }
            | Self::UnmountIn { .. }
            | Self::Exec(_) => Ok(()),
        }
    }
}

impl Step {
    fn make(&self, Hands { mounted, held }: &mut Hands) -> Result<(), Failure> {
        match self {
            Self::Make { place, folder } => mounted.make(place, *folder)?,
            Self::Bind { src, place, options } => mounted.bind(src, place, options)?,
            Self::Device { place, part } => part.act(mounted, place)?,
            Self::Proc { place, user } => procfs::mount(mounted, place, *user)?,
            Self::Memory { place, memory } => {
                mounted.attach_with(memory.make()?, place, memory.options())?;
            }
            Self::Overlay { place, layers, user, enter } => {
                mounted.attach_with(layers.make(*user)?, place, layers.options())?;
                if *enter {
                    mounted.enter_last().inspect_err(|_| drop(mounted.take_back()))?;
                }
            }
            Self::Queues { place } => queues::mount(mounted, place)?,
            Self::Mask { part, .. } => part.act(mounted)?,
            Self::Resolver { servers, place, .. } => {
                resolver::cover_file(mounted, place, servers)?;
            }
            Self::Cover { servers, etc, user } => overlay::cover(mounted, etc, servers, *user)?,
            Self::Unmount { id, target, lazy, .. } => unmount::unmount(*id, target, *lazy)?,
            Self::BindIn { pid, spec, mkdir } => {
                target::bind(*pid, spec, *mkdir, held.as_ref())?;
            }
            Self::UnmountIn { pid, target, lazy } => target::unmount(*pid, target, *lazy)?,
            Self::Exec(command) => {
                let become_it = || exec::exec(command);
                return Err(match held {
                    Some(held) => held.but_for(become_it)?,
                    None => become_it(),
                });
            }
        }
        Ok(())
    }
}

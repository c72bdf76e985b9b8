//! Namespaces that outlive their processes: a file on which one is mounted keeps it.
//!
//! They are mounted from outside, by a process that stays there: inside there may be another mount
//! table, and no right to change this one. It is nobody's child, so that COMMAND gets none that it
//! did not make, and it ends when COMMAND starts.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use common::sys::{self, namespace};
use common::{Failure, Tried, shell};
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, pipe2};

use crate::namespace::Kind;
use crate::target::place_of;
use crate::{hint, idmap};

const NOTHING: Option<&str> = None;

/// What the keeper is told by the pipe.
const EXECUTES: u8 = b'x';
const UNDO: u8 = b'u';

/// What is kept where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Each of these on its own file.
    pub files: Vec<(Kind, PathBuf)>,
    /// All of these in one folder, under the names of `/proc/PID/ns`.
    pub dir: Option<(PathBuf, Vec<Kind>)>,
}

impl Keep {
    /// As a shell has it before unshare(1), which mounts them.
    pub fn line(&self) -> String {
        let mut lines = Vec::new();
        if let Some((dir, _)) = &self.dir {
            let dir = shell::operand(dir);
            lines.push(format!("[ -d {dir} ] || mkdir {dir}"));
            lines.push(format!("mount -t tmpfs -o mode=755 namespaces {dir}"));
            lines.push(format!("mount --make-private {dir}"));
        }
        let files = self.all().into_iter().map(|(_, file)| shell::operand(file));
        lines.push(format!("touch {}", files.collect::<Vec<_>>().join(" ")));
        lines.extend(self.user().map(|file| {
            let (waiting, file) = (shell::operand(waiting(&file)), shell::operand(&file));
            let bind = format!("mount --bind /proc/$$/ns/user {file} && rm {waiting}");
            format!(": >{waiting}; {}", idmap::beside(&bind))
        }));
        lines.join("; ")
    }

    /// The file of a user namespace: unshare(1) binds it only from util-linux 2.42 on.
    pub fn user(&self) -> Option<PathBuf> {
        self.all().into_iter().find(|(kind, _)| *kind == Kind::User).map(|(_, file)| file)
    }

    /// Every file, those of the folder too.
    pub fn all(&self) -> Vec<(Kind, PathBuf)> {
        let of_dir = self
            .dir
            .iter()
            .flat_map(|(dir, kinds)| kinds.iter().map(|kind| (*kind, dir.join(kind.link()))));
        self.files.iter().cloned().chain(of_dir).collect()
    }

    /// Makes what is missing; says what that was.
    fn prepare(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut made = Vec::new();
        self.prepare_into(&mut made).inspect_err(|_| remove(&made)).map(|()| made)
    }

    fn prepare_into(&self, made: &mut Vec<PathBuf>) -> Result<(), Failure> {
        for (_, file) in &self.files {
            match OpenOptions::new().write(true).create_new(true).open(file) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                outcome => {
                    outcome.tried(|| format!("make the file {file:?}"))?;
                    made.push(file.clone());
                }
            }
        }
        let Some((dir, _)) = &self.dir else { return Ok(()) };
        match fs::create_dir(dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let mut entries = fs::read_dir(dir).tried(|| format!("read the folder {dir:?}"))?;
                if entries.next().is_some() {
                    return Err(Failure::new(format!(
                        "keep namespaces in {dir:?}: it is not empty"
                    ))
                    .hint(format!("if they are namespaces no longer wanted: umount -R {dir:?}")));
                }
            }
            outcome => {
                outcome.tried(|| format!("make the folder {dir:?}"))?;
                made.push(dir.clone());
            }
        }
        Ok(())
    }

    /// Mounts all, or nothing; says what was mounted.
    fn bind(&self, pid: Pid) -> Result<Vec<Bound>, Failure> {
        let bound = self.all().into_iter().filter_map(|(kind, file)| {
            Some(Bound { namespace: place_of(&of(pid, kind)).ok()?, file })
        });
        let bound = bound.collect::<Vec<_>>();
        let files = self.files.iter().try_for_each(|(kind, file)| {
            bind(pid, *kind, file, file).map_err(|failure| hint::for_keeping(failure, file))
        });
        let dir = || self.dir.as_ref().map_or(Ok(()), |(dir, kinds)| bind_all(pid, kinds, dir));
        files.and_then(|()| dir()).inspect_err(|_| self.unbind(&bound)).map(|()| bound)
    }

    /// Only what is there still: the file may have kept another namespace before.
    fn unbind(&self, bound: &[Bound]) {
        for Bound { file, .. } in bound.iter().filter(|bound| bound.is_there()) {
            let is_named = self.files.iter().any(|(_, named)| named == file);
            detach(if is_named { file } else { file.parent().unwrap_or(file) });
        }
    }
}

/// A namespace that is mounted on a file.
struct Bound {
    namespace: (u64, u64),
    file: PathBuf,
}

impl Bound {
    fn is_there(&self) -> bool {
        place_of(&self.file) == Ok(self.namespace)
    }
}

/// The number of our mount namespace, where the kernel tells it.
pub fn mount_id() -> Option<u64> {
    File::open("/proc/self/ns/mnt").ok().and_then(|file| namespace::mount_id(file).ok())
}

/// Makes our new mount namespace anew until it has a higher number than the one that it is kept in.
/// By that the kernel sees which is older, and keeps none in a younger one; but from Linux 6.18 on
/// each CPU hands out numbers of its own. The CPU that the outer one has its number from has higher
/// ones left.
pub fn be_younger_than(outer: u64) -> nix::Result<()> {
    let us = Pid::from_raw(0);
    let Ok(all) = sched_getaffinity(us) else { return Ok(()) };
    for cpu in (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu) == Ok(true)) {
        if mount_id().is_none_or(|ours| ours > outer) {
            break;
        }
        let mut only = CpuSet::new();
        only.set(cpu)?;
        sched_setaffinity(us, &only)?;
        let made = unshare(CloneFlags::CLONE_NEWNS);
        sched_setaffinity(us, &all)?;
        made?;
    }
    Ok(())
}

/// In a script, what is there until the file of a user namespace is bound.
pub fn waiting(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".wait");
    file.with_file_name(name)
}

fn of(pid: Pid, kind: Kind) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/{}", kind.link()))
}

/// `shown` is its name in messages.
fn bind(pid: Pid, kind: Kind, file: &Path, shown: &Path) -> Result<(), Failure> {
    mount(Some(&of(pid, kind)), file, NOTHING, MsFlags::MS_BIND, NOTHING)
        .tried(|| format!("keep the namespace {} on {shown:?}", kind.option()))
}

/// The folder is put together beside its place, and comes there at once: whoever looks finds all of
/// the namespaces or none.
fn bind_all(pid: Pid, kinds: &[Kind], dir: &Path) -> Result<(), Failure> {
    let mut name = OsString::from(".");
    name.push(dir.file_name().unwrap_or_default());
    name.push(format!(".{pid}"));
    let staging = dir.with_file_name(name);
    fs::create_dir(&staging).tried(|| format!("make the folder {staging:?}"))?;
    let done = fill(pid, kinds, &staging, dir)
        .map_err(hint::for_keeping_in_folder)
        .and_then(|()| attach(&staging, dir));
    detach(&staging);
    let _ = fs::remove_dir(&staging);
    done
}

/// Private: a mount that others get a copy of can have no mount namespace on it.
fn fill(pid: Pid, kinds: &[Kind], staging: &Path, dir: &Path) -> Result<(), Failure> {
    let what = || format!("mount a folder for the namespaces in {dir:?}");
    mount(Some("namespaces"), staging, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .and_then(|()| mount(NOTHING, staging, NOTHING, MsFlags::MS_PRIVATE, NOTHING))
        .tried(what)?;
    for kind in kinds {
        let (file, shown) = (staging.join(kind.link()), dir.join(kind.link()));
        File::create_new(&file).tried(|| format!("make the file {shown:?}"))?;
        bind(pid, *kind, &file, &shown)?;
    }
    Ok(())
}

/// A copy of the mounts with all that is mounted in them, put there in one call.
fn attach(staging: &Path, dir: &Path) -> Result<(), Failure> {
    let what = || format!("keep namespaces in {dir:?}");
    let recursive = sys::AT_RECURSIVE.cast_unsigned();
    let flags = sys::OPEN_TREE_CLONE | sys::OPEN_TREE_CLOEXEC | recursive;
    let tree = sys::open_tree(AT_FDCWD, staging, flags).tried(what)?;
    let place = File::open(dir).tried(what)?;
    sys::move_mount(tree, place).tried(what)
}

fn detach(path: &Path) {
    let _ = umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
}

fn remove(made: &[PathBuf]) {
    for path in made.iter().rev() {
        let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
    }
}

/// The process outside, as we talk to it.
#[derive(Debug)]
pub struct Keeper {
    stream: BufReader<UnixStream>,
    /// The kernel closes it when COMMAND starts, and by that the keeper knows.
    held: Option<File>,
}

impl Keeper {
    /// To be started while this process is still outside.
    pub fn start(keep: &Keep) -> Result<Self, Failure> {
        let (ours, theirs) = UnixStream::pair().tried(|| "make a socket to the keeper")?;
        match sys::fork().tried(|| "fork a keeper").map_err(hint::for_fork)? {
            ForkResult::Child => {
                drop(ours);
                if matches!(sys::fork(), Ok(ForkResult::Child)) {
                    let _ = serve(keep, &theirs);
                }
                sys::end(0)
            }
            ForkResult::Parent { child } => {
                drop(theirs);
                let _ = waitpid(child, None);
                let mut keeper = Self { stream: BufReader::new(ours), held: None };
                keeper.answer().map(|()| keeper)
            }
        }
    }

    /// Has the namespaces of the process bound; it is this one, under its name outside. If that
    /// fails, all has been taken back.
    pub fn bind(mut self, pid: Pid) -> Result<Self, Failure> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).tried(|| "make a pipe to the keeper")?;
        self.held = Some(File::from(writer));
        self.say(&format!("{pid} {}\n", reader.as_raw_fd()))?;
        self.answer().map(|()| self)
    }

    /// COMMAND is about to start.
    pub fn executes(&mut self) -> Result<(), Failure> {
        self.held
            .as_mut()
            .map_or(Ok(()), |held| held.write_all(&[EXECUTES]))
            .tried(|| "tell the keeper")
    }

    /// Has all taken back.
    pub fn undo(mut self) -> Result<(), Failure> {
        match self.held.take() {
            Some(mut held) => held.write_all(&[UNDO]).tried(|| "tell the keeper")?,
            None => self.say("undo\n")?,
        }
        self.answer()
    }

    fn say(&mut self, line: &str) -> Result<(), Failure> {
        self.stream.get_mut().write_all(line.as_bytes()).tried(|| "tell the keeper")
    }

    /// Nothing, or what a failure has to say.
    fn answer(&mut self) -> Result<(), Failure> {
        let mut said = Vec::new();
        self.stream.read_until(0, &mut said).tried(|| "hear the keeper")?;
        if said.pop() != Some(0) {
            return Err(Failure::new("keep namespaces: the process that mounts them has ended"));
        }
        Failure::told(&String::from_utf8_lossy(&said))
    }
}

/// The keeper's life: it prepares, binds, and takes back what COMMAND could not be run for.
fn serve(keep: &Keep, stream: &UnixStream) -> io::Result<()> {
    let tell = |outcome: Result<(), Failure>| {
        let text = outcome.err().map(|failure| failure.lines("")).unwrap_or_default();
        let mut stream = stream;
        stream.write_all(text.as_bytes()).and_then(|()| stream.write_all(&[0]))
    };
    let made = match keep.prepare() {
        Ok(made) => made,
        Err(failure) => return tell(Err(failure)),
    };
    let _ = tell(Ok(()));
    let mut line = String::new();
    let _ = BufReader::new(stream).read_line(&mut line);
    let Some((pid, held)) = parse(&line) else {
        remove(&made);
        return tell(Ok(()));
    };
    let end = File::open(format!("/proc/{pid}/fd/{held}"));
    let bound = match keep.bind(pid) {
        Ok(bound) => bound,
        Err(failure) => {
            remove(&made);
            return tell(Err(failure));
        }
    };
    tell(Ok(()))?;
    if has_started(end?) {
        return Ok(());
    }
    keep.unbind(&bound);
    remove(&made);
    tell(Ok(()))
}

/// Waits until COMMAND has started, or never will: the pipe is closed by execve(2), but by the end of
/// a process that was killed before, too.
fn has_started(held: File) -> bool {
    let mut executes = false;
    for word in BufReader::new(held).bytes() {
        executes = matches!(word, Ok(EXECUTES));
        if !executes {
            break;
        }
    }
    executes
}

fn parse(line: &str) -> Option<(Pid, u32)> {
    let (pid, held) = line.trim_end().split_once(' ')?;
    Some((Pid::from_raw(pid.parse().ok()?), held.parse().ok()?))
}

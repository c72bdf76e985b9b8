//! Control files: read, written, and what stands behind the kernel's refusals.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use common::{Failure, Tried, file};
use nix::errno::Errno;
use nix::unistd::geteuid;

use crate::refusal;
use crate::setting::Write;

/// What stands in a file, without the newline.
pub fn read(file: &Path) -> Result<String, Failure> {
    let text = file::text(file).tried(|| format!("read {file:?}")).map_err(explain)?;
    Ok(text.trim_end().to_owned())
}

/// One write(2), for the kernel takes each for a command of its own; and its answer is looked at,
/// which a shell's echo does, but not every language's buffered file.
pub fn write(file: &Path, text: &str) -> Result<(), Failure> {
    // An empty list is an empty line: without a byte there is nothing to write.
    let line = if text.is_empty() { "\n" } else { text };
    OpenOptions::new()
        .write(true)
        .open(file)
        .and_then(|mut open| open.write_all(line.as_bytes()))
        .tried(|| format!("write {text:?} to {file:?}"))
        .map_err(explain)
}

/// Sets a limit and looks whether it is set; gives what makes it again as it was.
pub fn set(wanted: &Write) -> Result<String, Failure> {
    let Write { file, text } = wanted;
    let before = read(file).map_err(|failure| match file.parent().is_some_and(Path::is_dir) {
        true => refusal::of_reading(failure, file),
        false => failure,
    })?;
    let before = wanted.restores(&before);
    write(file, text).map_err(|failure| refusal::of_limit(failure, wanted))?;
    let shown = read(file)?;
    if wanted.agrees(&shown) {
        return Ok(before);
    }
    write(file, &before)?;
    Err(Failure::new(format!("write {text:?} to {file:?}: it reads back as {shown:?}")))
}

/// What stands behind an errno of the cgroup file system.
pub fn explain(failure: Failure) -> Failure {
    let hint = match failure.kernel_said() {
        Some(Errno::EACCES | Errno::EPERM) if geteuid().is_root() => {
            "root lacks the right here, as in a container; its engine may delegate it"
        }
        Some(Errno::EACCES | Errno::EPERM) => {
            "that takes root: sudo cgset ... (but sudo echo X > FILE opens FILE as you); or a \
             delegated group: systemd-run --user --scope -p Delegate=yes sh, or sudo cgset create \
             --delegate USER GROUP"
        }
        Some(Errno::EROFS) => {
            "the control groups are mounted read-only, as in a container; outside of one: mount -o \
             remount,rw DIR"
        }
        Some(Errno::EAGAIN) => {
            "a group above limits their number: see its cgroup.max.descendants and \
             cgroup.max.depth"
        }
        Some(Errno::ENOENT) => {
            "the group is gone, or the one above does not hand this controller down: see \
             cgroup.subtree_control there"
        }
        _ => return failure,
    };
    failure.hint(hint)
}

/// What stands behind an errno of `cgroup.subtree_control`.
pub fn explain_enable(failure: Failure) -> Failure {
    failure
        .hint_if(Errno::EBUSY, || {
            "the group holds processes itself, and cgroup v2 limits only groups without inner ones: \
             cgset --group GROUP"
                .into()
        })
        .hint_if(Errno::EINVAL, || {
            "cpu can't be limited while a real-time process is in one of the groups below".into()
        })
        .hint_if(Errno::EOPNOTSUPP, || "the group is threaded: see its cgroup.type".into())
}

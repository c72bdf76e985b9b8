//! One file, folder or link of the new root: what a person types for it, why it is there, and
//! how it is put there.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use common::inroot::open_plain;
use common::{Failure, Tried, shell};
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{linkat, symlinkat};

/// A piece of the root. Paths in it are relative to its top, and none leads through a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The top folder, which is there.
    Top { mode: u32 },
    /// A folder.
    Folder { path: PathBuf, mode: u32, why: &'static str },
    /// A file of this machine, with its times; its owner is whoever makes the root.
    Copy { from: PathBuf, to: PathBuf, mode: u32, why: &'static str },
    /// A second name of a piece that is there.
    HardLink { target: PathBuf, path: PathBuf },
    /// A symbolic link as this machine has it.
    Link { target: PathBuf, path: PathBuf },
    /// A file that is written for the root.
    Text { path: PathBuf, mode: u32, content: &'static str, why: &'static str },
}

impl Piece {
    /// The shell line that does the same below `root`.
    pub fn line(&self, root: &Path) -> String {
        let at = |path: &Path| shell::operand(root.join(path));
        match self {
            Self::Top { mode } => format!("chmod {mode:04o} {}", shell::operand(root)),
            Self::Folder { path, mode, .. } => format!("mkdir -m {mode:04o} {}", at(path)),
            Self::Copy { from, to, mode, .. } => {
                format!("install -p -m {mode:04o} {} {}", shell::operand(from), at(to))
            }
            Self::HardLink { target, path } => format!("ln {} {}", at(target), at(path)),
            Self::Link { target, path } => {
                let dash = target.as_os_str().as_bytes().starts_with(b"-");
                let target = shell::word(target);
                format!("ln -s {}{target} {}", if dash { "-- " } else { "" }, at(path))
            }
            Self::Text { path, mode, content: "", .. } => {
                format!("install -m {mode:04o} /dev/null {}", at(path))
            }
            Self::Text { path, mode, content, .. } => {
                let (lines, path) = (shell::line(content.lines()), at(path));
                format!("printf '%s\\n' {lines} >{path}; chmod {mode:04o} {path}")
            }
        }
    }

    /// The reason, and the manual page.
    pub fn why(&self) -> String {
        match self {
            Self::Top { .. } => "all who are in it pass through its top; path_resolution(7)",
            Self::Folder { why, .. } | Self::Copy { why, .. } | Self::Text { why, .. } => *why,
            Self::HardLink { .. } => "the same file by a second name; link(2)",
            Self::Link { .. } => "a name that this machine has for it; symlink(7)",
        }
        .into()
    }

    /// Puts it below `root`, where it must not be yet. Modes are exact, whatever the umask.
    pub fn place(&self, root: BorrowedFd<'_>) -> Result<(), Failure> {
        match self {
            Self::Top { mode } => {
                top(root, *mode).tried(|| "open the top folder of the root to all")
            }
            Self::Folder { path, mode, .. } => {
                folder(root, path, *mode).tried(|| format!("make the folder {path:?} of the root"))
            }
            Self::Copy { from, to, mode, .. } => copy(root, from, to, *mode),
            Self::HardLink { target, path } => hard_link(root, target, path)
                .tried(|| format!("give {target:?} of the root the second name {path:?}")),
            Self::Link { target, path } => symbolic_link(root, target, path)
                .tried(|| format!("make the link {path:?} of the root")),
            Self::Text { path, mode, content, .. } => text(root, path, *mode, content)
                .tried(|| format!("write the file {path:?} of the root")),
        }
    }
}

fn top(root: BorrowedFd<'_>, mode: u32) -> nix::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    fchmod(openat(root, ".", flags, Mode::empty())?, Mode::from_bits_truncate(mode))
}

fn folder(root: BorrowedFd<'_>, path: &Path, mode: u32) -> nix::Result<()> {
    let (parent, name) = parent(root, path)?;
    mkdirat(&parent, name, Mode::S_IRWXU)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    fchmod(openat(&parent, name, flags, Mode::empty())?, Mode::from_bits_truncate(mode))
}

/// The data goes by `copy_file_range(2)`, which shares blocks where the file system can.
fn copy(root: BorrowedFd<'_>, from: &Path, to: &Path, mode: u32) -> Result<(), Failure> {
    let reading = || format!("read {from:?}");
    let writing = || format!("write the copy of {from:?} into the root");
    // What was a file when the plan was made could be a FIFO by now, and open(2) would hang.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut source = File::from(open(from, flags, Mode::empty()).tried(reading)?);
    let stat = fstat(&source).tried(reading)?;
    if !source.metadata().tried(reading)?.is_file() {
        return Err(Failure::new(format!("{}: not a regular file", reading())));
    }
    let mut target = create(root, to).tried(writing)?;
    io::copy(&mut source, &mut target).tried(writing)?;
    finish(&target, &stat, mode).tried(writing)
}

fn finish(file: &File, source: &FileStat, mode: u32) -> nix::Result<()> {
    fchmod(file, Mode::from_bits_truncate(mode))?;
    let accessed = TimeSpec::new(source.st_atime, source.st_atime_nsec);
    let modified = TimeSpec::new(source.st_mtime, source.st_mtime_nsec);
    futimens(file, &accessed, &modified)
}

fn hard_link(root: BorrowedFd<'_>, target: &Path, path: &Path) -> nix::Result<()> {
    let (old_parent, old) = parent(root, target)?;
    let (new_parent, new) = parent(root, path)?;
    linkat(old_parent, old, new_parent, new, AtFlags::empty())
}

fn symbolic_link(root: BorrowedFd<'_>, target: &Path, path: &Path) -> nix::Result<()> {
    let (parent, name) = parent(root, path)?;
    symlinkat(target, parent, name)
}

fn text(root: BorrowedFd<'_>, path: &Path, mode: u32, content: &str) -> io::Result<()> {
    let mut file = create(root, path)?;
    file.write_all(content.as_bytes())?;
    Ok(fchmod(&file, Mode::from_bits_truncate(mode))?)
}

fn create(root: BorrowedFd<'_>, path: &Path) -> nix::Result<File> {
    let (parent, name) = parent(root, path)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).map(File::from)
}

/// The folder a piece is put in, reached through no link, and the name it has there.
fn parent<'a>(root: BorrowedFd<'_>, path: &'a Path) -> nix::Result<(OwnedFd, &'a OsStr)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(nix::errno::Errno::EINVAL);
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    Ok((open_plain(root.as_fd(), folder, OFlag::O_PATH | OFlag::O_DIRECTORY)?, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn opened(folder: &Path) -> OwnedFd {
        open(folder, OFlag::O_PATH, Mode::empty()).expect("a folder")
    }

    fn every_kind(from: PathBuf) -> Vec<Piece> {
        let why = "a test";
        vec![
            Piece::Top { mode: 0o751 },
            Piece::Folder { path: "it's a folder".into(), mode: 0o1777, why },
            Piece::Copy { from, to: "it's a folder/copy".into(), mode: 0o711, why },
            Piece::HardLink { target: "it's a folder/copy".into(), path: "-second".into() },
            Piece::Link { target: "-e".into(), path: "link".into() },
            Piece::Text { path: "text".into(), mode: 0o600, content: "a 'b'\n%s \\n\n\n-e\n", why },
            Piece::Text { path: "empty".into(), mode: 0o644, content: "", why },
        ]
    }

    /// Names, kinds, modes, link counts and targets, times of files, and the content.
    fn listing(folder: &Path) -> String {
        let script = r#"cd "$1"; find . -printf '%P %y %m %n %l ' \
            \( -type f -printf '%s\n' -o -printf '\n' \) | sort
            cat text; stat -c %y "it's a folder/copy""#;
        support::run(support::sh(script).arg(folder)).silent()
    }

    #[test]
    fn a_piece_does_what_its_line_says() {
        let (scratch, by_call, by_line) =
            (support::scratch(), support::scratch(), support::scratch());
        let from = scratch.path().join("a file");
        fs::write(&from, "content").expect("a file");
        for piece in every_kind(from) {
            piece.place(opened(by_call.path()).as_fd()).expect("an empty folder");
            support::run(&mut support::sh(piece.line(by_line.path()))).silent();
        }
        let listed = listing(by_call.path());
        assert!(listed.starts_with(" d 751") && listed.contains("link l 777 1 -e"), "{listed}");
        assert_eq!(listed, listing(by_line.path()));
        let copy = fs::metadata(by_call.path().join("-second")).expect("it is there");
        assert_eq!((copy.nlink(), copy.mode() & 0o7777), (2, 0o711));
    }

    #[test]
    fn no_link_is_followed_and_nothing_is_replaced() {
        let (outside, root) = (support::scratch(), support::scratch());
        symlink(outside.path(), root.path().join("out")).expect("a link");
        symlink(outside.path().join("new"), root.path().join("file")).expect("a link");
        let text =
            |path: &str| Piece::Text { path: path.into(), mode: 0o644, content: "x", why: "" };
        for (piece, why) in [
            (text("out/file"), "(ELOOP)"),
            (text("file"), "(EEXIST)"),
            (Piece::Folder { path: "out".into(), mode: 0o755, why: "" }, "(EEXIST)"),
        ] {
            let failure = piece.place(opened(root.path()).as_fd()).expect_err("a link is there");
            assert!(failure.lines("t").contains(why), "{}", failure.lines("t"));
        }
        assert_eq!(fs::read_dir(outside.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn what_has_become_a_fifo_is_not_waited_for() {
        let (scratch, root) = (support::scratch(), support::scratch());
        let from = scratch.path().join("fifo");
        nix::unistd::mkfifo(&from, Mode::S_IRWXU).expect("a FIFO");
        let piece = Piece::Copy { from, to: "x".into(), mode: 0o755, why: "" };
        let failure = piece.place(opened(root.path()).as_fd()).expect_err("no file");
        assert!(failure.lines("t").contains("not a regular file"), "{}", failure.lines("t"));
    }
}

//! The machine that programs are taken from: its file names, and where they lead.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// Where programs are even if PATH doesn't say so.
const FOLDERS: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/// As many symbolic links as the kernel follows for one path, see `path_resolution(7)`.
const MOST_LINKS: usize = 40;

/// A machine's files. All paths are those that a process on it uses.
#[derive(Debug)]
pub struct Machine {
    root: PathBuf,
    path: Vec<PathBuf>,
}

/// What lies on the way to a file, and the file.
#[derive(Debug)]
pub struct Trail {
    /// The real folders, outermost first, relative to the machine's root as all of these are.
    pub folders: Vec<PathBuf>,
    /// The symbolic links and what they say.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// The real path.
    pub real: PathBuf,
    /// What the real path is.
    pub metadata: Metadata,
}

impl Machine {
    /// This machine, and the PATH of this process.
    pub fn this() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self::at("/", std::env::split_paths(&path))
    }

    /// The machine whose files are in a folder. Only absolute entries of PATH are looked at.
    pub fn at(root: impl Into<PathBuf>, path: impl Iterator<Item = PathBuf>) -> Self {
        Self { root: root.into(), path: path.filter(|folder| folder.is_absolute()).collect() }
    }

    /// Where this process finds a file of the machine.
    pub fn file(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Opens a regular file for reading. Nothing else is opened: a FIFO would hang, and some
    /// devices act on it.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let path = self.file(path);
        if !fs::metadata(&path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
    }

    /// Follows a path to its end, component by component, as the kernel would.
    pub fn walk(&self, path: &Path) -> io::Result<Trail> {
        let mut todo: VecDeque<OsString> = parts(path).collect();
        let (mut folders, mut links) = (Vec::new(), Vec::new());
        let (mut here, mut metadata) = (PathBuf::new(), fs::metadata(&self.root)?);
        while let Some(part) = todo.pop_front() {
            if part == ".." {
                here.pop();
                metadata = fs::symlink_metadata(self.root.join(&here))?;
                continue;
            }
            let next = here.join(part);
            metadata = fs::symlink_metadata(self.root.join(&next))?;
            if metadata.is_symlink() {
                if links.len() == MOST_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                let target = fs::read_link(self.root.join(&next))?;
                if target.is_absolute() {
                    here = PathBuf::new();
                }
                parts(&target).rev().for_each(|part| todo.push_front(part));
                links.push((next, target));
                continue;
            }
            if metadata.is_dir() {
                folders.push(next.clone());
            }
            here = next;
        }
        Ok(Trail { folders, links, real: here, metadata })
    }

    /// The program that a person means by a bare name: in PATH, else where programs are.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let usual = FOLDERS.iter().map(PathBuf::from);
        self.first(self.path.iter().cloned().chain(usual), name)
    }

    /// The system's own program of this name, whatever stands before it in PATH.
    pub fn find_own(&self, name: &str) -> Option<PathBuf> {
        let usual = FOLDERS.iter().map(PathBuf::from);
        self.first(usual.chain(self.path.iter().cloned()), name)
    }

    fn first(&self, mut folders: impl Iterator<Item = PathBuf>, name: &str) -> Option<PathBuf> {
        folders.find_map(|folder| {
            let path = folder.join(name);
            self.walk(&path).is_ok_and(|trail| trail.is_program()).then_some(path)
        })
    }
}

impl Trail {
    /// Whether it leads to a file that somebody may run.
    pub fn is_program(&self) -> bool {
        self.metadata.is_file() && mode(&self.metadata) & 0o111 != 0
    }
}

/// The permissions of a file, without set-user-ID and the like.
pub fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o777
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn links_are_followed_within_the_machine() {
        let folder = support::scratch();
        let top = folder.path();
        fs::create_dir_all(top.join("usr/bin")).expect("a folder");
        symlink("usr/bin", top.join("bin")).expect("a link");
        symlink("/bin/../bin/dash", top.join("usr/bin/sh")).expect("a link");
        fs::write(top.join("usr/bin/dash"), "").expect("a file");
        let machine = Machine::at(top, std::iter::empty());
        let trail = machine.walk(Path::new("/bin/sh")).expect("it is there");
        assert_eq!(trail.real, Path::new("usr/bin/dash"));
        let names: Vec<&Path> = trail.links.iter().map(|(link, _)| link.as_path()).collect();
        assert_eq!(names, ["bin", "usr/bin/sh", "bin"].map(Path::new));
        assert_eq!(trail.folders[..2], ["usr", "usr/bin"].map(PathBuf::from));
        assert_eq!(machine.find("sh"), None, "nobody may run it");
        let anyone = fs::Permissions::from_mode(0o755);
        fs::set_permissions(top.join("usr/bin/dash"), anyone).expect("our file");
        assert_eq!(machine.find("sh"), Some("/usr/bin/sh".into()));
    }

    #[test]
    fn a_path_may_not_lead_round_in_a_circle() {
        let folder = support::scratch();
        symlink("b", folder.path().join("a")).expect("a link");
        symlink("/a", folder.path().join("b")).expect("a link");
        let machine = Machine::at(folder.path(), std::iter::empty());
        let error = machine.walk(Path::new("/a")).expect_err("it has no end");
        assert_eq!(error.raw_os_error(), Some(Errno::ELOOP as i32));
    }

    #[test]
    fn what_stands_first_in_path_is_what_a_person_means() {
        let folder = support::scratch();
        for name in ["opt", "usr/bin"] {
            let file = folder.path().join(name).join("ls");
            fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
            fs::write(&file, "").expect("a file");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("our file");
        }
        let path = ["relative", "", "/opt"].map(PathBuf::from);
        let machine = Machine::at(folder.path(), path.into_iter());
        assert_eq!(machine.find("ls"), Some("/opt/ls".into()));
        assert_eq!(machine.find_own("ls"), Some("/usr/bin/ls".into()));
    }
}

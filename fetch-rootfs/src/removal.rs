//! A tree taken away: of any depth, with any modes, and never through a symbolic link.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use nix::NixPath;
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// A folder on the way down: its name in the one above, if it is not the first, and the folders in it
/// still to be removed.
struct Level {
    name: CString,
    folders: Vec<CString>,
}

/// Removes `name` in `parent`. Goes down and up by one descriptor, for a tree may be deeper than a
/// process may have descriptors, or a path have bytes.
pub fn remove_tree<N: NixPath + ?Sized>(parent: impl AsFd, name: &N) -> nix::Result<()> {
    let mut at = open(&parent, name)?;
    let mut levels = vec![Level { name: CString::default(), folders: empty(&at)? }];
    while let Some(level) = levels.last_mut() {
        if let Some(folder) = level.folders.pop() {
            at = open(&at, folder.as_c_str())?;
            levels.push(Level { folders: empty(&at)?, name: folder });
            continue;
        }
        let Some(done) = levels.pop() else { break };
        if levels.is_empty() {
            return unlinkat(&parent, name, UnlinkatFlags::RemoveDir);
        }
        at = open(&at, c"..")?;
        unlinkat(&at, done.name.as_c_str(), UnlinkatFlags::RemoveDir)?;
    }
    Ok(())
}

/// Opens a folder, not through a link, and makes it one that can be.
pub fn open<N: NixPath + ?Sized>(parent: impl AsFd, name: &N) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(&parent, name, flags, Mode::empty()) {
        // A folder of mode 000, and we are not root.
        Err(Errno::EACCES) => {
            fchmodat(&parent, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
            openat(parent, name, flags, Mode::empty())
        }
        outcome => outcome,
    }
}

/// Removes all that is no folder; gives the folders.
fn empty(folder: &OwnedFd) -> nix::Result<Vec<CString>> {
    let mut folders = Vec::new();
    let mut entries = Dir::openat(folder, c".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    for entry in entries.iter() {
        let entry = entry?;
        let name = entry.file_name();
        match entry.file_type() {
            _ if name == c"." || name == c".." => {}
            Some(Type::Directory) => folders.push(name.to_owned()),
            _ => remove_file(folder, name)?,
        }
    }
    Ok(folders)
}

/// Removes what is no folder.
pub fn remove_file<N: NixPath + ?Sized>(folder: &OwnedFd, name: &N) -> nix::Result<()> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        // Not writable, and we are not root.
        Err(Errno::EACCES) => {
            nix::sys::stat::fchmod(folder, Mode::S_IRWXU)?;
            unlinkat(folder, name, UnlinkatFlags::NoRemoveDir)
        }
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_deep_tree_with_links_and_modes_goes_and_nothing_else() {
        let top = std::env::temp_dir().join(format!("removal-{}", std::process::id()));
        fs::create_dir_all(top.join("tree/a/b")).expect("a temporary folder");
        fs::write(top.join("kept"), "x").expect("a new file");
        symlink(&top, top.join("tree/a/out")).expect("a new link");
        let parent = fs::File::open(&top).expect("it was just made");
        let mut at: OwnedFd = fs::File::open(top.join("tree")).expect("it was just made").into();
        for _ in 0..1500 {
            nix::sys::stat::mkdirat(&at, "deep", Mode::S_IRWXU).expect("a new folder");
            at = open(&at, c"deep").expect("it was just made");
        }
        let modes = fs::Permissions::from_mode(0o0);
        fs::set_permissions(top.join("tree/a/b"), modes).expect("our own folder");
        remove_tree(&parent, c"tree").expect("all of it is ours");
        let left: Vec<_> = fs::read_dir(&top).expect("it is there").flatten().collect();
        assert_eq!(left.len(), 1);
        fs::remove_dir_all(&top).expect("it was just made");
    }
}

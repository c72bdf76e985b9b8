//! A root file system of this machine's own programs: `fetch-rootfs host DIR`.
//!
//! Nothing is run, and nothing comes from a network. What a program needs is read from its
//! headers; where a name leads through symbolic links, the root gets the same links, so that a
//! script finds `/bin/sh` and `/usr/bin/sh` there as it does here. Set-user-ID bits are left
//! behind: who is root in the new root needs none, and a copy gets no security updates.

pub mod cache;
mod libraries;
pub mod loader;
mod machine;
mod piece;
pub mod programs;
mod skeleton;
mod tree;

use common::Failure;

use machine::Machine;
pub use piece::Piece;
use tree::Tree;

/// What a root with these programs, and always a shell, is made of; the usual programs if none
/// is named. Reads the machine, and writes nothing.
pub fn pieces(programs: &[String]) -> Result<Vec<Piece>, Failure> {
    pieces_of(&Machine::this(), programs)
}

fn pieces_of(machine: &Machine, programs: &[String]) -> Result<Vec<Piece>, Failure> {
    let mut tree = Tree::of(machine);
    for closure in programs::closures(machine, programs)? {
        closure.programs.iter().for_each(|trail| tree.take(trail, "a program; execve(2)"));
        let why = "what it is linked with, by its ELF headers; ld.so(8)";
        closure.libraries.iter().for_each(|trail| tree.take(trail, why));
    }
    skeleton::add(&mut tree)?;
    skeleton::add_for_libraries(&mut tree, machine);
    Ok([Piece::Top { mode: 0o755 }].into_iter().chain(tree.into_pieces()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::{Path, PathBuf};

    fn path_of(piece: &Piece) -> &Path {
        match piece {
            Piece::Top { .. } => Path::new(""),
            Piece::Folder { path, .. }
            | Piece::Copy { to: path, .. }
            | Piece::HardLink { path, .. }
            | Piece::Link { path, .. }
            | Piece::Text { path, .. } => path,
        }
    }

    /// A machine with a shell, `/home` elsewhere, and one program by two names and a link.
    fn machine(folder: &Path) -> Machine {
        for path in ["usr/bin", "var/home", "srv"] {
            fs::create_dir_all(folder.join(path)).expect("a folder");
        }
        symlink("usr/bin", folder.join("bin")).expect("a link");
        symlink("/var/home", folder.join("home")).expect("a link");
        symlink("../../srv/many", folder.join("usr/bin/three")).expect("a link");
        fs::write(folder.join("usr/bin/sh"), "shell").expect("a file");
        fs::write(folder.join("srv/many"), "many").expect("a file");
        for (name, mode) in [("usr/bin/sh", 0o755), ("srv/many", 0o4711)] {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(folder.join(name), mode).expect("our file");
        }
        for name in ["one", "two"] {
            fs::hard_link(folder.join("srv/many"), folder.join("usr/bin").join(name)).expect("ln");
        }
        Machine::at(folder, std::iter::empty())
    }

    #[test]
    fn the_root_has_the_links_of_the_machine() {
        let folder = support::scratch();
        let named = ["one", "two", "three"].map(str::to_owned);
        let pieces = pieces_of(&machine(folder.path()), &named).expect("all are there");
        let link =
            |target: &str, path: &str| Piece::Link { target: target.into(), path: path.into() };
        assert!(pieces.contains(&link("usr/bin", "bin")));
        assert!(pieces.contains(&link("/var/home", "home")));
        assert!(pieces.contains(&link("../../srv/many", "usr/bin/three")));
        let many = pieces.iter().find(|piece| path_of(piece) == "srv/many").expect("the program");
        let from = folder.path().join("srv/many");
        let why = "a program; execve(2)";
        assert_eq!(*many, Piece::Copy { from, to: "srv/many".into(), mode: 0o711, why });
        for name in ["usr/bin/one", "usr/bin/two"] {
            let (target, path) = (PathBuf::from("srv/many"), PathBuf::from(name));
            assert!(pieces.contains(&Piece::HardLink { target, path }));
        }
    }

    #[test]
    fn each_piece_comes_after_the_folder_it_is_in() {
        let folder = support::scratch();
        for pieces in [pieces_of(&machine(folder.path()), &[]), pieces(&[])] {
            let pieces = pieces.expect("both machines have a shell");
            assert_eq!(pieces[0], Piece::Top { mode: 0o755 });
            for (index, piece) in pieces.iter().enumerate().skip(1) {
                let parent = path_of(piece).parent().expect("a relative path");
                let made = |earlier: &Piece| {
                    matches!(earlier, Piece::Folder { .. }) && path_of(earlier) == parent
                };
                assert!(parent == "" || pieces[..index].iter().any(made), "{piece:?}");
                assert!(piece.why().contains('(') && !piece.why().contains('\''), "{piece:?}");
            }
            let folder = |path: &str| pieces.iter().find(|piece| path_of(piece) == path).cloned();
            assert!(matches!(folder("tmp"), Some(Piece::Folder { mode: 0o1777, .. })));
            assert!(matches!(folder("root"), Some(Piece::Folder { mode: 0o700, .. })));
        }
    }
}

//! A user with subordinate ids, and the user namespace in which these are somebody.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{need_program, need_root, run, scratch, skip};

use crate::FINGERPRINT;
use crate::archive::{Head, block, sum};

/// One line is what unshare(1) reads of these files before util-linux 2.39.
pub const LINE: &str = "nobody:200000:70000\n";
pub const INSIDE: [&str; 4] =
    ["unshare", "--map-root-user", "--map-users=200000,1,70000", "--map-groups=200000,1,70000"];

/// A user, nobody, with subordinate ids of the test's own, and a folder to work in.
pub struct User(support::TempDir);

impl User {
    pub fn with(ids: &str) -> Result<Self, support::Skip> {
        need_root()?;
        need_program("newuidmap")?;
        need_program("setpriv")?;
        if !Path::new("/etc/subuid").exists() || !Path::new("/etc/subgid").exists() {
            return Err(skip("needs /etc/subuid and /etc/subgid to mount its own over"));
        }
        let folder = scratch();
        fs::write(folder.path().join("ids"), ids).expect("our own folder");
        fs::create_dir(folder.path().join("work")).expect("our own folder");
        for (name, mode) in [("", 0o755), ("work", 0o777), ("ids", 0o644)] {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(folder.path().join(name), mode).expect("our own");
        }
        Ok(Self(folder))
    }

    /// What the user can't write into; what is in `work` they can.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    pub fn work(&self) -> PathBuf {
        self.0.path().join("work")
    }

    /// Runs something as this user, in the folder, where the two files are this user's: that ends
    /// with the mount namespace it is in.
    pub fn runs<S: AsRef<std::ffi::OsStr>>(&self, words: &[S]) -> Command {
        let script = "mount --bind \"$1\" /etc/subuid; mount --bind \"$1\" /etc/subgid; cd \"$2\"
            shift 2; exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
        let mut command = support::private_sh(script);
        command.arg(self.0.path().join("ids")).arg(self.work()).args(words);
        for name in ["HOME", "XDG_CACHE_HOME", "NETRC"] {
            command.env_remove(name);
        }
        command
    }

    pub fn fetch(&self, words: &[&str]) -> Command {
        self.runs(&[&[env!("CARGO_BIN_EXE_fetch-rootfs")], words].concat())
    }

    /// Fetches it, and insists that there is nothing to be told.
    #[track_caller]
    pub fn maps(&self, source: &str, root: &str) {
        run(&mut self.fetch(&["--owner", "map", source, root])).silent();
    }

    /// What is seen of a tree in the namespace.
    pub fn seen(&self, root: &str) -> String {
        run(&mut self.runs(&[&INSIDE[..], &["sh", "-ec", FINGERPRINT, "sh", root]].concat()))
            .silent()
    }
}

/// An entry of somebody.
pub fn owned(head: &Head, uid: u32, gid: u32) -> [u8; 512] {
    let mut block = block(head);
    block[108..116].copy_from_slice(format!("{uid:07o}\0").as_bytes());
    block[116..124].copy_from_slice(format!("{gid:07o}\0").as_bytes());
    sum(&mut block);
    block
}

pub fn file(name: &str, uid: u32, gid: u32) -> [u8; 512] {
    owned(&Head::new(b'0', name), uid, gid)
}

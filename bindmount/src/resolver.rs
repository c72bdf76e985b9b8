//! `/etc/resolv.conf` for a root file system, without writing into it.
//!
//! What is mounted is a copy in memory: the machine's own file stays out of reach, and when a
//! resolver service replaces it by another, nobody is left with the old one's name.

use std::fs::{File, Permissions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::{Failure, Tried, file, inroot, shell, sys};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{AccessFlags, faccessat};

use crate::attach::{Mounted, explain_privilege};
use crate::memory;
use crate::options::Options;
use crate::place::Place;

/// The name in etc.
pub const NAME: &str = "resolv.conf";

/// What the root has at etc/resolv.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A regular file, here when the links that lead to it are followed inside the root.
    File(Place),
    /// Nothing that can be mounted on: a link that leads nowhere, a folder, a device.
    NoFile,
    /// Nothing at all, perhaps not even etc.
    Nothing,
}

/// Looks at the root.
pub fn look(rootfs: &Path) -> Result<Found, Failure> {
    let etc = Place::inside(rootfs, "etc").open();
    let etc = match etc {
        Err(failure) if failure.kernel_said() == Some(Errno::ENOENT) => return Ok(Found::Nothing),
        etc => etc?,
    };
    match inroot::open_plain(&etc, Path::new(NAME), OFlag::O_PATH) {
        Ok(file) if is_regular(&file) => Ok(Found::File(place(rootfs))),
        Err(Errno::ELOOP) => behind_links(rootfs),
        Err(Errno::ENOENT) => Ok(Found::Nothing),
        Ok(_) | Err(Errno::ENOTDIR) => Ok(Found::NoFile),
        // Else a root that can only be read would get an etc that can be written to.
        Err(errno) => Err(Failure::errno(format!("look at {:?}", rootfs.join(path())), errno)),
    }
}

/// Why no file may be made in etc: a root can be one to be read only, or another user's.
pub fn denied(etc: &Place) -> Option<Errno> {
    faccessat(etc.open().ok()?, ".", AccessFlags::W_OK, AtFlags::empty()).err()
}

/// A file in dev, proc or sys is covered by what is mounted there.
fn behind_links(rootfs: &Path) -> Result<Found, Failure> {
    let place = Place::resolved(rootfs, &path())?;
    let covered = ["dev", "proc", "sys"].iter().any(|name| place.is_under(name));
    match place.open() {
        Ok(file) if is_regular(&file) && !covered => Ok(Found::File(place)),
        Err(failure) if failure.kernel_said() == Some(Errno::EIO) => Err(failure),
        _ => Ok(Found::NoFile),
    }
}

fn is_regular(file: &OwnedFd) -> bool {
    fstat(file).is_ok_and(|stat| file::is(&stat, SFlag::S_IFREG))
}

/// Where it is in a root.
pub fn path() -> PathBuf {
    Path::new("etc").join(NAME)
}

/// The place in a root.
pub fn place(rootfs: &Path) -> Place {
    Place::inside(rootfs, path())
}

/// What is to be in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Servers {
    /// What is in this one.
    File(PathBuf),
    /// These.
    Listed(Vec<IpAddr>),
}

impl Servers {
    /// Those of the machine's file, behind whatever links lead to it.
    ///
    /// It may name a service of the machine's alone, 127.0.0.53. In a network namespace where that
    /// does not listen, the file that the service has its own servers from does better.
    pub fn of_the_machine() -> Option<Self> {
        let file = std::fs::canonicalize(Path::new("/etc").join(NAME)).ok()?;
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let behind = Path::new("/run/systemd/resolve").join(NAME);
        let file = if is_deaf(&text, is_heard) && behind.is_file() { behind } else { file };
        Some(Self::File(file))
    }

    fn text(&self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::File(file) => std::fs::read(file).tried(|| format!("read {file:?}")),
            Self::Listed(addresses) => {
                let line = |address: &IpAddr| format!("nameserver {address}\n");
                Ok(addresses.iter().map(line).collect::<String>().into_bytes())
            }
        }
    }

    /// A command that writes them to a file, which is a word of the script.
    pub fn line(&self, to: &str) -> String {
        match self {
            Self::File(file) => format!("cp -L {} {to}", shell::operand(file)),
            Self::Listed(addresses) => {
                let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                format!("printf 'nameserver %s\\n' {} >{to}", words.join(" "))
            }
        }
    }
}

/// Whether a file names none but one of the machine's own services, and that is not heard here.
fn is_deaf(text: &str, is_heard: impl Fn(Ipv4Addr) -> bool) -> bool {
    let servers = text.lines().filter_map(|line| line.strip_prefix("nameserver")).map(str::trim);
    let mut servers = servers.peekable();
    servers.peek().is_some()
        && servers.all(|server| {
            let Ok(server) = server.parse::<Ipv4Addr>() else { return false };
            server.is_loopback() && !is_heard(server)
        })
}

/// Whether somebody waits for questions at this address; see proc_pid_net(5).
///
/// Many a service waits at all addresses, of IPv4 or of both: a socket of IPv6 hears IPv4 too unless
/// it is `IPV6_V6ONLY`, which the table does not tell. So it is taken to hear, for that is what the
/// machine's own file says.
fn is_heard(server: Ipv4Addr) -> bool {
    let waits = |table: &str, at: &[String]| {
        file::text(Path::new("/proc/self/net").join(table)).is_ok_and(|table| {
            let mut local = table.lines().filter_map(|line| line.split_whitespace().nth(1));
            local.any(|local| at.iter().any(|at| at == local))
        })
    };
    let one = format!("{:08X}:0035", u32::from_ne_bytes(server.octets()));
    let [all, all_of_both] = [8, 32].map(|digits| "0".repeat(digits) + ":0035");
    waits("udp", &[one, all]) || waits("udp6", &[all_of_both])
}

/// Mounts them on a file. It lies in the memory of a small dev, if there is one: a memory of its own
/// would be taken down as soon as the file alone is mounted, for which the kernel has to wait until no
/// processor looks at it.
pub fn cover_file(mounted: &mut Mounted, place: &Place, servers: &Servers) -> Result<(), Failure> {
    let copy = if let Some(hidden) = mounted.hidden.take() {
        servers.write(&hidden)?;
        copy(&hidden)
    } else {
        let memory = memory()?;
        servers.write(&memory)?;
        match copy(&memory) {
            // Before Linux 6.15 only what is mounted somewhere can be copied.
            Err(Errno::EINVAL) => mounted.for_a_moment(memory, &place.folder(), copy)?,
            done => done,
        }
    };
    let copy = copy.tried(|| format!("copy the mount of {NAME:?} in memory"));
    let copy = copy.map_err(explain_privilege)?;
    mounted.attach_with(copy, place, &Options::to_read())
}

/// The file in this folder alone, as a mount.
fn copy(folder: &OwnedFd) -> nix::Result<OwnedFd> {
    let flags = sys::OPEN_TREE_CLONE | sys::OPEN_TREE_CLOEXEC;
    sys::open_tree(folder.as_fd(), Path::new(NAME), flags)
}

/// A new file system in memory.
pub fn memory() -> Result<OwnedFd, Failure> {
    memory::new(c"0755", c"1m", 0)
}

impl Servers {
    /// Writes the file there, readable for all, whatever the umask is.
    pub fn write(&self, folder: impl AsFd) -> Result<(), Failure> {
        let text = self.text()?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let failed = || format!("make {NAME:?} in memory");
        let file = openat(folder, NAME, flags, Mode::from_bits_truncate(0o644)).tried(failed)?;
        let mut file = File::from(file);
        file.set_permissions(Permissions::from_mode(0o644)).tried(failed)?;
        file.write_all(&text).tried(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_is_not_heard_is_told_from_servers() {
        for (text, deaf) in [
            ("nameserver 127.0.0.199\n", true),
            ("# x\nnameserver 127.0.0.199\noptions edns0\n", true),
            ("nameserver 127.0.0.199\nnameserver 192.0.2.1\n", false),
            ("nameserver 192.0.2.1\n", false),
            ("nameserver ::1\n", false),
            ("search x\n", false),
            ("", false),
        ] {
            assert_eq!(is_deaf(text, |_| false), deaf, "{text:?}");
            assert!(!is_deaf(text, |_| true), "{text:?}");
        }
    }
}

//! Block devices: the ways in which people name one, and the disk that the kernel limits.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use common::{Failure, Tried, file};
use nix::sys::stat::{major, minor};

/// A whole disk, which is what the kernel limits.
#[derive(Debug, PartialEq, Eq)]
pub struct Disk {
    /// `8:0`, as the control files have it.
    pub number: String,
    /// Whether only a part of it was named.
    pub in_part: bool,
}

/// The disk of `sda`, `8:0`, `/dev/sda`, of a partition, or of what a path lies on.
pub fn find(name: &str) -> Result<Disk, Failure> {
    let number = number(name)?;
    let folder = Path::new("/sys/dev/block").join(&number);
    if !folder.exists() {
        let path = name.contains('/');
        let why = if path { "it is on no disk of its own" } else { "there is none of this name" };
        return Err(unknown(name, why));
    }
    if !folder.join("partition").exists() {
        return Ok(Disk { number, in_part: false });
    }
    // A partition's folder is in that of its disk; `..` goes there from behind the link.
    Ok(Disk { number: read(&folder.join("../dev"))?, in_part: true })
}

fn number(name: &str) -> Result<String, Failure> {
    if name.contains('/') {
        let there = fs::metadata(name).tried(|| format!("look at {name:?}"))?;
        let block = there.file_type().is_block_device();
        let device = if block { there.rdev() } else { there.dev() };
        return Ok(format!("{}:{}", major(device), minor(device)));
    }
    if name.contains(':') {
        return Ok(name.to_owned());
    }
    let file = Path::new("/sys/class/block").join(name).join("dev");
    if !file.exists() {
        return Err(unknown(name, "there is none of this name"));
    }
    read(&file)
}

fn read(file: &Path) -> Result<String, Failure> {
    let text = file::text(file).tried(|| format!("read {file:?}"))?;
    Ok(text.trim_end().to_owned())
}

fn unknown(name: &str, why: &str) -> Failure {
    Failure::new(format!("find the disk {name:?}: {why}"))
        .hint("lsblk lists the disks; findmnt --target PATH shows what a path is on")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_disk_is_refused() {
        for name in ["no-such-disk", "0:1", "/proc", "/dev/null", "/nowhere/at/all", "..", "x:y"] {
            let lines = find(name).expect_err(name).lines("cgset");
            assert!(lines.contains(&format!("{name:?}")), "{lines}");
        }
    }
}

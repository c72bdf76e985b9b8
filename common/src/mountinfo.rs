//! The mount table of a process: `/proc/PID/mountinfo`, see `proc_pid_mountinfo(5)`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::report::{Failure, Tried};
use crate::{file, pid};

const OURS: &str = "/proc/self/mountinfo";

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The mount's number, which no other mount has while it is there.
    pub id: u64,
    /// The mount it is on.
    pub parent: u64,
    /// The folder of the file system that is mounted: `/` unless it is a bind mount of a part.
    pub root: PathBuf,
    /// Where it is seen.
    pub target: PathBuf,
    /// The mount's own options: `rw,nosuid`.
    pub options: String,
    /// The optional fields: `shared:1`, `master:2`.
    pub propagation: Vec<String>,
    /// `ext4`, `proc`, `cgroup2` …
    pub kind: String,
    /// The device, or whatever the file system calls its source.
    pub source: OsString,
    /// The file system's options, for all its mounts: `rw,memory`.
    pub super_options: String,
}

/// Reads the mount table of this process.
pub fn read() -> Result<Vec<Mount>, Failure> {
    read_from(Path::new(OURS))
}

/// The mounts of these kinds of file systems in the mount table of this process, read one by one: a
/// machine may have thousands of others, and whoever has found what was looked for can stop.
pub fn of_kinds(kinds: &[&str]) -> Result<impl Iterator<Item = Result<Mount, Failure>>, Failure> {
    let table = BufReader::new(File::open(OURS).tried(what(OURS)).map_err(hint)?);
    Ok(table.split(b'\n').filter_map(|line| match line.tried(what(OURS)) {
        Ok(line) if kinds.iter().any(|kind| is_of_kind(&line, kind)) => Some(parse_line(&line)),
        Ok(_) => None,
        Err(failure) => Some(Err(failure)),
    }))
}

/// The kind follows the only field that is `-`; spaces in paths are written in another way.
fn is_of_kind(line: &[u8], kind: &str) -> bool {
    let mut fields = line.split(|byte| *byte == b' ').skip_while(|field| field != b"-").skip(1);
    fields.next() == Some(kind.as_bytes())
}

fn what(file: impl AsRef<Path>) -> impl FnOnce() -> String {
    move || format!("read the mount table {:?}", file.as_ref())
}

fn hint(failure: Failure) -> Failure {
    failure.hint(pid::NO_PROC)
}

/// Reads a mount table.
pub fn read_from(file: &Path) -> Result<Vec<Mount>, Failure> {
    parse(&file::bytes(file).tried(what(file)).map_err(hint)?)
}

/// Parses a mount table.
pub fn parse(table: &[u8]) -> Result<Vec<Mount>, Failure> {
    table.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Result<Mount, Failure> {
    mount(line).ok_or_else(|| {
        let line = String::from_utf8_lossy(line);
        Failure::new(format!("read the mount table: no such line in the manual: {line:?}"))
    })
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = text(fields.next()?).parse().ok()?;
    let parent = text(fields.next()?).parse().ok()?;
    let _device = fields.next()?;
    let root = path(fields.next()?);
    let target = path(fields.next()?);
    let options = text(fields.next()?);
    let propagation = fields.by_ref().take_while(|field| field != b"-").map(text).collect();
    Some(Mount {
        id,
        parent,
        root,
        target,
        options,
        propagation,
        kind: text(fields.next()?),
        source: OsString::from_vec(unescape(fields.next()?)),
        super_options: text(fields.next()?),
    })
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).into_owned()
}

fn path(field: &[u8]) -> PathBuf {
    OsString::from_vec(unescape(field)).into()
}

/// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|three| three.iter().all(|d| (b'0'..=b'7').contains(d)));
        if let (b'\\', Some(three)) = (first, octal) {
            bytes.push(three.iter().fold(0u8, |sum, digit| sum << 3 | (digit - b'0')));
            rest = &after[3..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_kind_is_told_from_what_looks_like_it() {
        let line =
            |kind: &str| format!("36 35 98:0 / /- rw master:1 - {kind} cgroup rw").into_bytes();
        assert!(is_of_kind(&line("cgroup"), "cgroup"));
        assert!(!is_of_kind(&line("cgroup2"), "cgroup") && !is_of_kind(&line("-"), "cgroup"));
        assert!(!is_of_kind(b"", "cgroup") && !is_of_kind(b"36 35 -", "cgroup"));
    }

    #[test]
    fn the_line_of_the_manual() {
        let line =
            b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime shared:7 master:1 - ext3 /dev/root rw,x\n";
        let mounts = parse(line).expect("a good table");
        assert_eq!(mounts.len(), 1);
        let mount = &mounts[0];
        assert_eq!((mount.id, mount.parent), (36, 35));
        assert_eq!(
            (mount.root.as_path(), mount.target.as_path()),
            (Path::new("/mnt1"), Path::new("/mnt 2"))
        );
        assert_eq!(mount.propagation, ["shared:7", "master:1"]);
        assert_eq!((mount.kind.as_str(), mount.super_options.as_str()), ("ext3", "rw,x"));
        assert!(parse(b"36 35 98:0 /\n").is_err());
    }

    #[test]
    fn the_machines_own_table_is_understood() {
        assert!(read().expect("a kernel's table").iter().any(|m| m.target == Path::new("/")));
    }

    proptest! {
        #[test]
        fn escapes_are_taken_back(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            let escaped: Vec<u8> = bytes.iter().flat_map(|byte| match byte {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                _ => vec![*byte],
            }).collect();
            prop_assert_eq!(unescape(&escaped), bytes);
        }
    }
}

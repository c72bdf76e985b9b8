//! The mounts that are there.

use std::path::{Path, PathBuf};

use common::mountinfo::{self, Mount};
use common::{Failure, Tried};

/// The mounts at and under a folder, in the order in which they were made; all for `None`.
pub fn under(dir: Option<&Path>) -> Result<Vec<Mount>, Failure> {
    let mounts = mountinfo::read()?;
    Ok(match dir {
        Some(dir) => at_and_under(mounts, &real(dir)?),
        None => mounts,
    })
}

/// Those whose path begins with this one.
pub fn at_and_under(mut mounts: Vec<Mount>, dir: &Path) -> Vec<Mount> {
    mounts.retain(|mount| mount.target.starts_with(dir));
    mounts
}

/// The path that the mount table has for it.
pub fn real(path: &Path) -> Result<PathBuf, Failure> {
    std::fs::canonicalize(path).tried(|| format!("look at {path:?}"))
}

/// What is mounted, as findmnt(8) has it: the device, and the folder of it in brackets.
fn source(mount: &Mount) -> String {
    let source = mount.source.to_string_lossy();
    match mount.root.as_path() {
        root if root == Path::new("/") => source.into_owned(),
        root => format!("{source}[{}]", root.display()),
    }
}

/// A table with a head line, its columns aligned.
pub fn text(mounts: &[Mount]) -> String {
    let head = ["TARGET", "SOURCE", "TYPE", "OPTIONS"].map(str::to_owned);
    let rows: Vec<[String; 4]> = std::iter::once(head)
        .chain(mounts.iter().map(|mount| {
            let target = format!("{:?}", mount.target);
            let target = target.trim_matches('"').to_owned();
            [target, source(mount), mount.kind.clone(), mount.options.clone()]
        }))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..3).filter_map(width).collect();
    rows.iter().fold(String::new(), |table, row| {
        let [target, source, kind, options] = row;
        let (a, b, c) = (widths[0], widths[1], widths[2]);
        table + &format!("{target:a$}  {source:b$}  {kind:c$}  {options}\n")
    })
}

/// An array of objects.
pub fn json(mounts: &[Mount]) -> String {
    let objects: Vec<serde_json::Value> = mounts
        .iter()
        .map(|mount| {
            serde_json::json!({
                "target": mount.target.to_string_lossy(),
                "source": source(mount),
                "type": mount.kind,
                "options": mount.options,
            })
        })
        .collect();
    format!("{:#}\n", serde_json::Value::from(objects))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"1 0 8:1 / / rw - ext4 /dev/vda rw\n\
        2 1 8:1 /srv\\040x /r/dev ro,nosuid - ext4 /dev/vda rw\n";

    #[test]
    fn a_table_is_aligned() {
        let mounts = mountinfo::parse(TABLE).expect("a good table");
        assert_eq!(
            text(&mounts),
            "TARGET  SOURCE            TYPE  OPTIONS\n\
             /       /dev/vda          ext4  rw\n\
             /r/dev  /dev/vda[/srv x]  ext4  ro,nosuid\n"
        );
    }

    #[test]
    fn json_has_the_same() {
        let mounts = mountinfo::parse(TABLE).expect("a good table");
        let value: serde_json::Value = serde_json::from_str(&json(&mounts)).expect("JSON");
        assert_eq!(value[1]["source"], "/dev/vda[/srv x]");
        assert_eq!(value[1]["options"], "ro,nosuid");
    }
}

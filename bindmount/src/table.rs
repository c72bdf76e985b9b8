//! The mounts that are there.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
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
fn source(mount: &Mount) -> OsString {
    let mut source = mount.source.clone();
    if mount.root != Path::new("/") {
        source.push("[");
        source.push(&mount.root);
        source.push("]");
    }
    source
}

/// Whether a terminal shows it and does nothing else: a control is a command, and some letters turn
/// the order of the others around.
fn is_shown(letter: char) -> bool {
    let turns = matches!(
        letter,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    !turns && !letter.is_control()
}

/// The kernel's word for a mount whose source has no name.
const NO_NAME: &str = "none";

/// One word for a name, which whoever has mounted was free to choose: written as the kernel writes
/// what would separate the fields of the mount table, by `\` and three octal digits for a byte.
fn cell(name: impl AsRef<OsStr>) -> String {
    let is_plain = |letter: char| is_shown(letter) && !letter.is_whitespace() && letter != '\\';
    let mut cell = String::new();
    for chunk in name.as_ref().as_bytes().utf8_chunks() {
        for letter in chunk.valid().chars() {
            match is_plain(letter) {
                true => cell.push(letter),
                false => escape(letter.encode_utf8(&mut [0; 4]).as_bytes(), &mut cell),
            }
        }
        escape(chunk.invalid(), &mut cell);
    }
    if cell.is_empty() { NO_NAME.into() } else { cell }
}

fn escape(bytes: &[u8], cell: &mut String) {
    for byte in bytes {
        let _ = write!(cell, "\\{byte:03o}");
    }
}

/// A table with a head line, its columns aligned.
pub fn text(mounts: &[Mount]) -> String {
    let head = ["TARGET", "SOURCE", "TYPE", "OPTIONS"].map(str::to_owned);
    let rows: Vec<[String; 4]> = std::iter::once(head)
        .chain(mounts.iter().map(|mount| {
            let source = source(mount);
            let cells =
                [mount.target.as_os_str(), &source, mount.kind.as_ref(), mount.options.as_ref()];
            cells.map(cell)
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

/// An array of objects. JSON itself wants no more to be escaped than the first of the controls.
pub fn json(mounts: &[Mount]) -> String {
    let objects: Vec<serde_json::Value> = mounts
        .iter()
        .map(|mount| {
            serde_json::json!({
                "target": mount.target.to_string_lossy(),
                "source": source(mount).to_string_lossy(),
                "type": mount.kind,
                "options": mount.options,
            })
        })
        .collect();
    let shown = |letter: char| match is_shown(letter) || letter == '\n' {
        true => letter.to_string(),
        false => format!("\\u{:04x}", u32::from(letter)),
    };
    format!("{:#}\n", serde_json::Value::from(objects)).chars().map(shown).collect()
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
            "TARGET  SOURCE               TYPE  OPTIONS\n\
             /       /dev/vda             ext4  rw\n\
             /r/dev  /dev/vda[/srv\\040x]  ext4  ro,nosuid\n"
        );
    }

    #[test]
    fn a_name_is_a_word_and_letters_of_all_languages_stay() {
        for (name, word) in [
            (&b""[..], "none"),
            (b"/srv/a b", r"/srv/a\040b"),
            ("/Zürich/ライブラリ".as_bytes(), "/Zürich/ライブラリ"),
            (
                "\u{a0}\u{2028}\u{202e}\u{9b}".as_bytes(),
                r"\302\240\342\200\250\342\200\256\302\233",
            ),
            (b"a\n\t\x1b[m\x7f\\040\xff", r"a\012\011\033[m\177\134040\377"),
        ] {
            assert_eq!(cell(OsStr::from_bytes(name)), word);
        }
    }

    #[test]
    fn json_has_the_same() {
        let mounts = mountinfo::parse(TABLE).expect("a good table");
        let value: serde_json::Value = serde_json::from_str(&json(&mounts)).expect("JSON");
        assert_eq!(value[1]["source"], "/dev/vda[/srv x]");
        assert_eq!(value[1]["options"], "ro,nosuid");
    }
}

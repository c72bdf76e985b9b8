//! Words that a POSIX shell reads back as the bytes they were.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Quotes one word, if it needs it: `it's` becomes `'it'\''s'`.
///
/// Bytes that are not UTF-8 can't stand in a script that is text: they become `"$(printf '\377')"`.
pub fn word(word: impl AsRef<OsStr>) -> String {
    let bytes = word.as_ref().as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut quoted = String::new();
    for chunk in bytes.utf8_chunks() {
        if !chunk.valid().is_empty() || bytes.is_empty() {
            quoted += &quote(chunk.valid());
        }
        if !chunk.invalid().is_empty() {
            quoted += "\"$(printf '";
            for byte in chunk.invalid() {
                let _ = write!(quoted, "\\{byte:03o}");
            }
            quoted += "')\"";
        }
    }
    if quoted.is_empty() { "''".into() } else { quoted }
}

/// Quotes a path so that no command takes it for an option: `-x` becomes `./-x`.
pub fn operand(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    if path.as_os_str().as_bytes().starts_with(b"-") {
        return word(Path::new(".").join(path));
    }
    word(path)
}

/// A directory for cd, with `-P` or without: a relative one is looked for here, not in CDPATH.
pub fn folder(dir: impl AsRef<Path>) -> String {
    let dir = dir.as_ref();
    match dir.is_absolute() {
        true => word(dir),
        false => word(Path::new(".").join(dir)),
    }
}

/// Puts text between single quotes.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A command line: every word quoted, a space between.
pub fn line<I>(words: I) -> String
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    words.into_iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    #[test]
    fn plain_words_stay_plain() {
        assert_eq!(line(["mount", "--bind", "/dev", "a b", ""]), "mount --bind /dev 'a b' ''");
        assert_eq!(word("it's"), r"'it'\''s'");
        assert_eq!((operand("-x y"), operand("/a")), ("'./-x y'".into(), "/a".into()));
        assert_eq!(word(OsStr::from_bytes(b"a\xff b")), r#"'a'"$(printf '\377')"' b'"#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn sh_reads_back_what_was_quoted(bytes in proptest::collection::vec(1u8..=255, 0..24)) {
            let script = format!("printf %s {}", word(OsStr::from_bytes(&bytes)));
            let out = Command::new("sh").arg("-c").arg(script).output().expect("sh runs");
            prop_assert_eq!(out.stdout, bytes);
        }
    }
}

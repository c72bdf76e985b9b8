//! Digests: given on the command line, or listed in a checksum file as coreutils and BSD write it.

use std::fmt;

use common::Failure;
use sha1::Sha1;
use sha2::digest::DynDigest;
use sha2::{Digest as _, Sha256, Sha512};

use crate::cli::hex;

/// How a digest is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sha256,
    Sha512,
    /// What git calls a file: the SHA-1 of its length and its bytes.
    GitBlob,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "SHA-256",
            Self::Sha512 => "SHA-512",
            Self::GitBlob => "git blob id",
        })
    }
}

impl Kind {
    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
            Self::GitBlob => 40,
        }
    }

    fn program(self) -> &'static str {
        if self == Self::Sha512 { "sha512sum" } else { "sha256sum" }
    }
}

/// What a file's bytes come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    pub kind: Kind,
    pub bytes: Vec<u8>,
}

impl Digest {
    /// Reads it from hexadecimal digits.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, Failure> {
        let digits = kind.digits();
        match bytes(text).filter(|bytes| bytes.len() * 2 == digits) {
            Some(bytes) => Ok(Self { kind, bytes }),
            None => Err(Failure::usage(format!(
                "read the {kind} {text:?}: not {digits} hexadecimal digits"
            ))
            .hint(match kind {
                Kind::GitBlob => "git hash-object FILE prints one".into(),
                kind => format!("{} FILE prints one, in front of the name", kind.program()),
            })),
        }
    }

    /// The shell line that compares it.
    pub fn line(&self, file: &str) -> String {
        let digits = hex(&self.bytes);
        match self.kind {
            Kind::GitBlob => format!("test \"$(git hash-object --no-filters {file})\" = {digits}"),
            kind => format!("echo {digits}'  '{file} | {} --check --quiet", kind.program()),
        }
    }
}

/// The bytes that hexadecimal digits stand for.
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = text.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

/// The digests that are made of one stream.
pub struct Digester(Vec<(Kind, Box<dyn DynDigest>)>);

impl Digester {
    /// Of these kinds. Git's begins with the length, so that has to be known.
    pub fn new(kinds: &[Kind], length: Option<u64>) -> Result<Self, Failure> {
        let mut digests: Vec<(Kind, Box<dyn DynDigest>)> = Vec::new();
        for kind in kinds {
            let digest: Box<dyn DynDigest> = match kind {
                _ if digests.iter().any(|(known, _)| known == kind) => continue,
                Kind::Sha256 => Box::new(Sha256::new()),
                Kind::Sha512 => Box::new(Sha512::new()),
                Kind::GitBlob => {
                    let length = length.ok_or_else(|| {
                        Failure::new("verify the git blob id: nobody tells the archive's length")
                            .hint("download it first: a file has a length")
                    })?;
                    Box::new(Sha1::new_with_prefix(format!("blob {length}\0")))
                }
            };
            digests.push((*kind, digest));
        }
        Ok(Self(digests))
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|(_, digest)| digest.update(bytes));
    }

    pub fn finish(self) -> Vec<Digest> {
        let made = |(kind, digest): (Kind, Box<dyn DynDigest>)| Digest {
            kind,
            bytes: digest.finalize().into_vec(),
        };
        self.0.into_iter().map(made).collect()
    }
}

/// Whether the archive has this digest.
pub fn verify(wanted: &Digest, made: &[Digest]) -> Result<(), Failure> {
    let kind = wanted.kind;
    let found = made.iter().find(|digest| digest.kind == kind);
    if found == Some(wanted) {
        return Ok(());
    }
    let found = found.map_or_else(|| "unknown".into(), |digest| hex(&digest.bytes));
    let wanted = hex(&wanted.bytes);
    Err(Failure::new(format!("verify the archive: its {kind} is {found}, not {wanted}"))
        .hint("it is damaged, or another version, or not what its maker published: do not use it"))
}

/// What BSD's programs and coreutils, and what OpenSSL, call the kinds.
const TAGS: [(Kind, &str); 4] = [
    (Kind::Sha256, "SHA256"),
    (Kind::Sha512, "SHA512"),
    (Kind::Sha256, "SHA2-256"),
    (Kind::Sha512, "SHA2-512"),
];

/// The digests that a checksum file lists for a name. All that it lists count.
pub fn listed(list: &str, text: &[u8], name: &str) -> Result<Vec<Digest>, Failure> {
    let text = String::from_utf8_lossy(text);
    // The mark that some editors put in front of all text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut weak = false;
    let mut found = Vec::new();
    for (tag, digits, listed) in text.lines().filter_map(entry) {
        if listed.strip_prefix("./").unwrap_or(listed) != name {
            continue;
        }
        let mut kinds = TAGS.into_iter().filter(|(_, known)| tag.is_none_or(|tag| tag == *known));
        match kinds.find_map(|(kind, _)| Digest::parse(kind, digits).ok()) {
            Some(digest) => found.push(digest),
            None => weak = true,
        }
    }
    let failed = |why: &str| Failure::new(format!("look up {name:?} in {list:?}: {why}"));
    match (found.is_empty(), weak) {
        (false, _) => Ok(found),
        (true, true) => Err(failed("its digest is neither SHA-256 nor SHA-512")
            .hint("MD5 and SHA-1 can be forged: the maker may publish SHA256SUMS, too")),
        (true, false) => Err(match nameless(text) {
            Some(option) => failed("a digest is there without a name").hint(option),
            None => failed("it is not listed")
                .hint("--name NAME says under which name the archive is listed"),
        }),
    }
}

/// The option for the only digest of a list, if it has no name: of what file it is, nobody says, and
/// sha256sum(1) does not take it either. One of standard input has a name that is none.
fn nameless(text: &str) -> Option<String> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let digits = match entry(line) {
        Some((_, digits, "-" | "stdin")) => digits,
        _ => line,
    };
    let option = |(kind, option)| Digest::parse(kind, digits).ok().map(|_| option);
    let option = [(Kind::Sha256, "sha256"), (Kind::Sha512, "sha512")].into_iter().find_map(option);
    option.map(|option| format!("if it is the archive's: --{option} {digits}"))
}

/// `HASH  NAME`, `HASH *NAME`, `SHA256 (NAME) = HASH` or `SHA256(NAME)= HASH`: the kind if it is
/// named, the digits, and the name.
fn entry(line: &str) -> Option<(Option<&str>, &str, &str)> {
    let line = line.trim();
    let words = line.split_once([' ', '\t']).filter(|(word, _)| bytes(word).is_some());
    if let Some((digits, name)) = words {
        return Some((None, digits, name.strip_prefix([' ', '*']).unwrap_or(name)));
    }
    let (before, digits) = line.rsplit_once('=')?;
    let (tag, name) = before.trim_end().strip_suffix(')')?.split_once('(')?;
    let digits = digits.trim_start();
    bytes(digits).map(|_| (Some(tag.strip_suffix(' ').unwrap_or(tag)), digits, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_digest_has_the_digits_of_its_kind() {
        let text = "00fF".repeat(16);
        assert_eq!(
            hex(&Digest::parse(Kind::Sha256, &text).expect("64").bytes),
            text.to_lowercase()
        );
        assert!(Digest::parse(Kind::Sha512, &text.repeat(2)).is_ok());
        for text in ["", "00", "zz", &"0".repeat(63), &"0".repeat(66), &"+0".repeat(32)] {
            assert!(Digest::parse(Kind::Sha256, text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_digests_are_those_of_the_programs() {
        let kinds = [Kind::Sha256, Kind::Sha512, Kind::GitBlob];
        let mut digester = Digester::new(&kinds, Some(6)).expect("a length");
        digester.update(b"hel");
        digester.update(b"lo\n");
        let digests: Vec<String> = digester.finish().iter().map(|one| hex(&one.bytes)).collect();
        assert!(digests[0].starts_with("5891b5b522d5df086d0ff0b110fbd9d2"), "sha256sum");
        assert!(digests[1].starts_with("e7c22b994c59d9cf2b48e549b1e24666"), "sha512sum");
        assert_eq!(digests[2], "ce013625030ba8dba906f756967f9e9ca394464a", "git hash-object");
        assert!(Digester::new(&[Kind::GitBlob], None).is_err());
    }

    #[test]
    fn a_checksum_file_lists_names_in_three_forms() {
        let (one, two) = ("11".repeat(32), "22".repeat(64));
        let text = format!(
            "# a comment\n{one}  other\n{one} *a b.tar\n{two}  ./a b.tar\n\
             SHA256 (c (1).tar) = {one}\r\nMD5 (d) = {}\n{}  e\n",
            "00".repeat(16),
            "00".repeat(20)
        );
        let listed = |name: &str| listed("SUMS", text.as_bytes(), name);
        let found = listed("a b.tar").expect("two");
        assert_eq!(
            found.iter().map(|one| one.kind).collect::<Vec<_>>(),
            [Kind::Sha256, Kind::Sha512]
        );
        assert_eq!(listed("c (1).tar").expect("one").len(), 1);
        for (name, why) in [("d", "neither"), ("e", "neither"), ("b.tar", "not listed")] {
            let failure = listed(name).expect_err(name).lines("t");
            assert!(failure.contains(why), "{failure}");
        }
    }

    #[test]
    fn blanks_and_marks_are_those_of_other_programs() {
        let (one, two) = ("11".repeat(32), "22".repeat(64));
        for text in [
            format!("{one}\ta b\n"),
            format!("  {one}  a b\r\n"),
            format!("\u{feff}{one}  a b\n"),
            format!("SHA256(a b)= {one}\n"),
            format!("SHA2-256(a b)= {one}\n"),
            format!("SHA256 (a b)={one}\n"),
        ] {
            let found = listed("SUMS", text.as_bytes(), "a b");
            let found = found.map_err(|failure| failure.lines("t"));
            assert_eq!(found, Ok(vec![Digest::parse(Kind::Sha256, &one).expect("64")]), "{text:?}");
        }
        let text = format!("SHA2-512(a)= {two}\nSHA1(a)= {}\n", "0".repeat(40));
        assert_eq!(listed("SUMS", text.as_bytes(), "a").expect("one").len(), 1);
        let text = format!("SHA2-256(a)= {two}\n");
        assert!(listed("SUMS", text.as_bytes(), "a").is_err(), "not of that length");
    }

    #[test]
    fn a_digest_without_a_name_is_told_with_its_option() {
        let (one, two) = ("1f".repeat(32), "22".repeat(64));
        let lines = |text: &str| {
            listed("SUMS", text.as_bytes(), "a").expect_err("it has no name").lines("t")
        };
        for (text, option) in [
            (one.clone(), format!("--sha256 {one}")),
            (format!("\u{feff}{one}\n"), format!("--sha256 {one}")),
            (format!("{one}  -\n"), format!("--sha256 {one}")),
            (format!("SHA2-256(stdin)= {one}\n"), format!("--sha256 {one}")),
            (format!("{two}\r\n\n"), format!("--sha512 {two}")),
        ] {
            assert!(lines(&text).contains(&format!("archive's: {option}\n")), "{}", lines(&text));
        }
        for text in [format!("{one}\n{one}\n"), format!("{one}  b\n"), "00".repeat(20)] {
            assert!(lines(&text).contains("--name NAME"), "{}", lines(&text));
        }
    }

    /// NetBSD's pkgsrc has BLAKE2s beside SHA512, OpenSSL SHA3-256: of the same length as SHA256.
    #[test]
    fn a_tag_says_of_which_kind_a_digest_is() {
        let (one, two) = ("11".repeat(32), "22".repeat(64));
        let text = format!("BLAKE2s (a) = {one}\nSHA3-512 (a) = {two}\nSHA512 (a) = {two}\n");
        let found = listed("SUMS", text.as_bytes(), "a").expect("one of them");
        assert_eq!(found, [Digest::parse(Kind::Sha512, &two).expect("its digits")]);
        for tag in ["BLAKE2s", "SHA3-256", "SHA512/256", "SHA512"] {
            let text = format!("{tag} (a) = {one}\n");
            let lines = listed("SUMS", text.as_bytes(), "a").expect_err(tag).lines("t");
            assert!(lines.contains("neither"), "{lines}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_text_is_read_without_harm(text in "[0-9a-f ()=*./\\PC\n]{0,200}") {
            let _ = listed("SUMS", text.as_bytes(), "a");
        }
    }
}

//! What an archive is compared with: the options, and what they come to.

use std::path::{Path, PathBuf};

use common::{Failure, shell};

use crate::checksum::{Digest, Kind};
use crate::cli::Source;
use crate::signature;

/// The options.
#[derive(clap::Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Options {
    /// The SHA-256 of the archive, compressed as it is: 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<String>,
    /// The SHA-512 of the archive, compressed as it is: 128 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    pub sha512: Option<String>,
    /// What git calls the archive's bytes, as its host shows it: 40 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    pub git_blob: Option<String>,
    /// A file that lists digests and names, as sha256sum, BSD's sha256 or openssl dgst write it
    #[arg(long, value_name = "FILE|URL")]
    pub checksums: Option<String>,
    /// The archive's name in it [default: the last part of SOURCE]
    #[arg(long, requires = "checksums")]
    pub name: Option<String>,
    /// A detached OpenPGP signature: of the file of --checksums if there is one, else of the archive
    #[arg(long, value_name = "FILE|URL", requires = "keyring")]
    pub signature: Option<String>,
    /// The keys that may have made it, as `gpg --export` writes them; gpgv(1) verifies
    #[arg(long, value_name = "FILE", requires = "signature")]
    pub keyring: Option<PathBuf>,
}

/// What they come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub digests: Vec<Digest>,
    pub list: Option<(Source, String)>,
    pub signature: Option<(Source, PathBuf)>,
}

impl Wanted {
    /// What is asked for goes before what is known: a list with its signature, and each kind of
    /// digest.
    pub fn or(mut self, known: Self) -> Self {
        if self.list.is_none() && self.digests.is_empty() {
            self.list = known.list;
        }
        self.digests.extend(known.digests);
        self
    }
}

impl Options {
    pub fn wanted(&self, source: &Source) -> Result<Wanted, Failure> {
        let given = [
            (Kind::Sha256, &self.sha256),
            (Kind::Sha512, &self.sha512),
            (Kind::GitBlob, &self.git_blob),
        ];
        let digests = given
            .into_iter()
            .filter_map(|(kind, text)| Some(Digest::parse(kind, text.as_deref()?)))
            .collect::<Result<_, _>>()?;
        let list = match &self.checksums {
            Some(text) => Some((file_or_url(text)?, self.name(source)?)),
            None => None,
        };
        let signature = match (&self.signature, &self.keyring) {
            (Some(text), Some(keyring)) => Some((file_or_url(text)?, keyring.clone())),
            _ => None,
        };
        Ok(Wanted { digests, list, signature })
    }

    fn name(&self, source: &Source) -> Result<String, Failure> {
        let last = match source {
            Source::Url(url) => {
                let path = url.split(['?', '#']).next().unwrap_or_default();
                path.rsplit_once('/').map(|(_, name)| name.to_owned())
            }
            Source::File(file) => file.file_name().map(|name| name.to_string_lossy().into_owned()),
            _ => None,
        };
        let name = self.name.clone().or(last).unwrap_or_default();
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        match name.split('/').all(plain) {
            true => Ok(name),
            false => Err(Failure::usage(format!(
                "look for the name {name:?} in --checksums: it is none"
            ))
            .hint("--name NAME says under which name the archive is listed")),
        }
    }
}

fn file_or_url(text: &str) -> Result<Source, Failure> {
    match Source::parse(text)? {
        source @ (Source::Url(_) | Source::File(_)) => Ok(source),
        _ => Err(Failure::usage(format!("read {text:?}: it is neither a file nor a URL"))),
    }
}

/// One comparison of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    Digest(Digest),
    /// The digests that a list has for a name; `shown` is what the list is called.
    Listed {
        list: PathBuf,
        shown: String,
        name: String,
    },
    Signed {
        signature: PathBuf,
        keyring: PathBuf,
    },
}

/// sha256sum(1) knows neither the mark that some editors put first, nor what OpenSSL 3 calls SHA-256.
const AS_COREUTILS: &str = r"'1s/^\xef\xbb\xbf//; s/^SHA2-/SHA/'";
const CHECK: &str = "--check --ignore-missing --quiet ../listed";

impl Check {
    /// The shell line that does the same.
    pub fn line(&self, archive: &Path, unfinished: &Path) -> String {
        let file = shell::operand(archive);
        match self {
            Self::Digest(digest) => digest.line(&file),
            Self::Signed { signature, keyring } => signature::line(keyring, signature, &file),
            Self::Listed { list, name, .. } => {
                let sums = unfinished.join("sums");
                let link = sums.join(name);
                let folder = link.parent().unwrap_or(&sums);
                format!(
                    "LC_ALL=C sed {AS_COREUTILS} {} >{}; mkdir -p {} && ln -s {} {} && (cd {} && \
                     {{ sha256sum {CHECK} 2>/dev/null || sha512sum {CHECK}; }})",
                    shell::operand(list),
                    shell::operand(unfinished.join("listed")),
                    shell::operand(folder),
                    shell::operand(std::path::absolute(archive).unwrap_or_else(|_| archive.into())),
                    shell::operand(&link),
                    shell::folder(&sums),
                )
            }
        }
    }

    pub fn why(&self) -> &'static str {
        match self {
            Self::Digest(Digest { kind: Kind::GitBlob, .. }) => {
                "before it gets its name; git-hash-object(1)"
            }
            Self::Digest(Digest { kind: Kind::Sha512, .. }) => {
                "before it gets its name; sha512sum(1)"
            }
            Self::Digest(_) => "before it gets its name; sha256sum(1)",
            Self::Listed { .. } => "the name must be listed with this digest; sha256sum(1)",
            Self::Signed { .. } => "by a key of the keyring; gpgv(1)",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_listed_by_its_last_part() {
        let name = |source: Source, name: Option<&str>| {
            Options { name: name.map(str::to_owned), ..Options::default() }.name(&source).ok()
        };
        let url = || Source::Url("https://h/a/b.tar?x=/y".into());
        assert_eq!(name(url(), None).as_deref(), Some("b.tar"));
        assert_eq!(name(url(), Some("c/d")).as_deref(), Some("c/d"));
        assert_eq!(name(Source::File("a/b".into()), None).as_deref(), Some("b"));
        assert_eq!(name(Source::Stdin, None), None);
        for bad in ["", "../x", "/x", "a//b", "."] {
            assert_eq!(name(url(), Some(bad)), None, "{bad}");
        }
    }
}

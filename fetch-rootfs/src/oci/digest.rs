//! Digests as images have them, and bytes that are held against theirs.

use std::fmt;
use std::io::{self, Read};

use common::Failure;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::checksum::bytes;
use crate::cli::hex;

/// `sha256:` and 64 hexadecimal digits, lower-case: nothing else can be part of a path or a URL.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash)]
#[serde(try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:")?;
        let lower = !digits.bytes().any(|digit| digit.is_ascii_uppercase());
        bytes(digits).filter(|_| lower)?.try_into().ok().map(Self)
    }

    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }

    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// Where an image layout has the blob.
    pub fn path(&self) -> String {
        format!("blobs/sha256/{}", self.hex())
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| {
            format!("the digest {text:?} is not sha256: and 64 hexadecimal digits, lower-case")
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

/// Bytes that have to have a digest, and perhaps a size.
pub struct Verified<R> {
    read: R,
    sum: Sha256,
    count: u64,
    size: Option<u64>,
}

impl<R: Read> Verified<R> {
    pub fn new(read: R, size: Option<u64>) -> Self {
        Self { read, sum: Sha256::new(), count: 0, size }
    }

    /// That of all that was read.
    pub fn digest(self) -> Digest {
        self.sum.into()
    }

    /// Reads what nobody wanted, and compares. `what` is named by the failure.
    pub fn finish(mut self, wanted: Option<Digest>, what: &str) -> Result<(), Failure> {
        let fail = |why: String| Err(Failure::new(format!("verify {what}: {why}")).hint(DAMAGED));
        if let Err(error) = io::copy(&mut self, &mut io::sink()) {
            return fail(error.to_string());
        }
        if let Some(size) = self.size.filter(|size| *size != self.count) {
            return fail(format!("it has {} bytes, not {size}", self.count));
        }
        wanted.map_or(Ok(()), |wanted| compare(self.sum.into(), wanted, what))
    }
}

/// A digest that was made of what came.
pub fn compare(found: Digest, wanted: Digest, what: &str) -> Result<(), Failure> {
    if found == wanted {
        return Ok(());
    }
    Err(Failure::new(format!("verify {what}: its digest is {found}, not {wanted}")).hint(DAMAGED))
}

impl From<Sha256> for Digest {
    fn from(sum: Sha256) -> Self {
        Self(sum.finalize().into())
    }
}

const DAMAGED: &str =
    "the image is damaged, or not what its maker published: do not use it, fetch it again";

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.read.read(buffer)?;
        self.sum.update(&buffer[..read]);
        self.count += read as u64;
        match self.size {
            Some(size) if self.count > size => {
                Err(io::Error::other(format!("it has more than its {size} bytes")))
            }
            _ => Ok(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_strict() {
        let digits = "0123456789abcdef".repeat(4);
        let digest = Digest::parse(&format!("sha256:{digits}")).expect("64 digits");
        assert_eq!(digest.path(), format!("blobs/sha256/{digits}"));
        for text in [
            "sha256:".to_owned(),
            format!("sha256:{}", digits.to_uppercase()),
            format!("sha256:{digits}0"),
            format!("sha256:{}", &digits[1..]),
            format!("sha256:../../{}", &digits[6..]),
            format!("sha512:{digits}"),
            format!("SHA256:{digits}"),
            format!(" sha256:{digits}"),
            digits,
        ] {
            assert_eq!(Digest::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn size_and_digest_are_compared_at_the_end() {
        let wanted = Some(Digest::of(b"layer"));
        let check = |bytes: &[u8], size| Verified::new(bytes, size).finish(wanted, "it");
        assert!(check(b"layer", Some(5)).is_ok() && check(b"layer", None).is_ok());
        for (bytes, size, why) in [
            (&b"other"[..], Some(5), "not sha256:"),
            (b"laye", Some(5), "4 bytes, not 5"),
            (b"layers", Some(5), "more than its 5 bytes"),
        ] {
            let lines = check(bytes, size).expect_err("it is another").lines("t");
            assert!(lines.contains(why), "{lines}");
        }
    }
}

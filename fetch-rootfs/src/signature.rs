//! Detached OpenPGP signatures, verified by the installed gpgv while the bytes stream by: it is
//! given the very bytes that are extracted.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{Failure, Tried, shell};

/// gpgv at work, or gone already: then its status says why.
pub struct Verifier {
    child: Child,
    keyring: PathBuf,
}

/// The shell line that does the same.
pub fn line(keyring: &Path, signature: &Path, file: &str) -> String {
    format!(
        "gpgv --quiet --keyring {} {} {file}",
        shell::word(absolute(keyring)),
        shell::operand(signature)
    )
}

/// gpgv looks for a name without a slash in ~/.gnupg.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl Verifier {
    /// Starts it; what is to be verified is then written.
    pub fn start(keyring: &Path, signature: &Path) -> Result<Self, Failure> {
        let mut command = Command::new("gpgv");
        command
            .args(["--status-fd", "1", "--keyring"])
            .arg(absolute(keyring))
            .arg(signature)
            .arg("-");
        let child = command
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        match child {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(error).tried(|| "run \"gpgv\"").map_err(|f| f.hint("apt-get install gpgv"))
            }
            child => {
                Ok(Self { child: child.tried(|| "run \"gpgv\"")?, keyring: keyring.to_owned() })
            }
        }
    }

    /// Says whether `what` was signed by a key of the keyring.
    pub fn finish(mut self, what: &str) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        let status = all_of(self.child.stdout.take());
        let said = all_of(self.child.stderr.take());
        let failed = |why: String| Failure::new(format!("verify the signature of {what}: {why}"));
        match judge(&status) {
            Ok(()) => Ok(()),
            Err(Some(why)) => Err(failed(why.into()).hint(match why {
                NO_KEY if is_armored(&self.keyring) => self.dearmor(),
                NO_KEY => "is it the maker's keyring, and of this year?".into(),
                _ => "it is damaged, or not what its maker published: do not use it".into(),
            })),
            Err(None) => {
                let said = said.lines().last().unwrap_or("gpgv says nothing").to_owned();
                Err(failed(said).hint(
                    "a detached signature is wanted; what is signed inside is got out by \
                     gpgv --keyring ./KEYRING --output LIST FILE",
                ))
            }
        }
    }

    fn dearmor(&self) -> String {
        let keyring = shell::operand(&self.keyring);
        format!("gpgv wants a binary keyring: gpg --dearmor <{keyring} >{keyring}.gpg")
    }
}

fn is_armored(keyring: &Path) -> bool {
    fs::read(keyring).is_ok_and(|bytes| bytes.starts_with(b"-----BEGIN PGP"))
}

fn all_of(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    // What can't be read is no good signature.
    let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Write for Verifier {
    /// A gpgv that has gone away takes no more; its status tells.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(pipe) = &mut self.child.stdin else { return Ok(bytes.len()) };
        match pipe.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.child.stdin = None;
                Ok(bytes.len())
            }
            outcome => outcome,
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        // Without its input it ends by itself.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

const NO_KEY: &str = "it is by a key that the keyring does not have";

/// One good signature by a key of the keyring is enough, for makers sign with their next key, too;
/// a bad one spoils it.
pub fn judge(status: &str) -> Result<(), Option<&'static str>> {
    let words: Vec<&str> = status
        .lines()
        .filter_map(|line| line.strip_prefix("[GNUPG:] ")?.split(' ').next())
        .collect();
    let said = |word: &str| words.contains(&word);
    if said("BADSIG") {
        return Err(Some("it is not of these bytes"));
    }
    if said("GOODSIG") && said("VALIDSIG") {
        return Ok(());
    }
    let reasons = [
        ("REVKEYSIG", "its key was revoked"),
        ("EXPKEYSIG", "its key has expired"),
        ("EXPSIG", "it has expired"),
        ("NO_PUBKEY", NO_KEY),
    ];
    Err(reasons.into_iter().find(|(word, _)| said(word)).map(|(_, why)| why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_good_signature_is_enough_and_a_bad_one_spoils_it() {
        let good = "[GNUPG:] GOODSIG 1 me\n[GNUPG:] VALIDSIG 2 3\n";
        let unknown = "[GNUPG:] ERRSIG 4\n[GNUPG:] NO_PUBKEY 4\n";
        assert_eq!(judge(&format!("[GNUPG:] NEWSIG\n{good}{unknown}")), Ok(()));
        let bad = format!("{good}[GNUPG:] BADSIG 1 me\n");
        assert_eq!(judge(&bad), Err(Some("it is not of these bytes")));
        assert_eq!(judge(unknown), Err(Some(NO_KEY)));
        for (status, why) in [("EXPKEYSIG", "key has expired"), ("REVKEYSIG", "revoked")] {
            let status = format!("[GNUPG:] {status} 1 me\n[GNUPG:] VALIDSIG 2 3\n");
            assert!(judge(&status).expect_err("no good one").expect("a reason").contains(why));
        }
        for forged in ["", "GOODSIG 1 me\nVALIDSIG 2\n", "[GNUPG:] GOODSIG 1 me\n"] {
            assert_eq!(judge(forged), Err(None), "{forged}");
        }
    }
}

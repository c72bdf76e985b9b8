//! The archive, and what goes with it.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use common::{Failure, Tried};

use super::Hands;
use crate::checksum::{self, Kind};
use crate::cli::Source;
use crate::input::Input;
use crate::signature::Verifier;
use crate::transfer::Transfer;
use crate::wanted::Check;

/// A list of digests or a signature that is longer is none.
const MOST_BESIDE: u64 = 16 << 20;

/// Everything that can be refused before the archive comes is looked at first.
pub fn open(
    source: &Source,
    transfer: &Transfer,
    checks: &[Check],
    mut kinds: Vec<Kind>,
    show: bool,
    hands: &mut Hands,
) -> Result<Input, Failure> {
    let mut verifier = None;
    for check in checks {
        match check {
            Check::Digest(digest) => kinds.push(digest.kind),
            Check::Listed { list, shown, name } => {
                let text = match hands.list.take() {
                    Some(text) => text,
                    None => read_list(list)?,
                };
                hands.listed = checksum::listed(shown, &text, name)?;
                kinds.extend(hands.listed.iter().map(|digest| digest.kind));
            }
            Check::Signed { signature, keyring } => {
                verifier = Some(Verifier::start(keyring, signature)?);
            }
        }
    }
    Input::open(source, transfer, &kinds, verifier, show)
}

pub fn get(
    source: &Source,
    copy: &Path,
    transfer: &Transfer,
    hands: &mut Hands,
) -> Result<(), Failure> {
    let mut input = Input::open(source, transfer, &[], None, false)?;
    let mut bytes = Vec::new();
    if let Err(error) = input.by_ref().take(MOST_BESIDE).read_to_end(&mut bytes) {
        let failed = Err(error).tried(|| "read what goes with the archive");
        return failed.map_err(|failure| input.blame(failure));
    }
    hands.kept.push(input.finish()?);
    fs::write(copy, bytes).tried(|| format!("write {copy:?}"))
}

fn read_list(list: &Path) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let file = fs::File::open(list).tried(|| format!("open {list:?}"))?;
    file.take(MOST_BESIDE).read_to_end(&mut text).tried(|| format!("read {list:?}"))?;
    Ok(text)
}

/// What was verified is what counts, whatever becomes of the file.
pub fn verified_list(
    list: &Path,
    shown: &str,
    signature: &Path,
    keyring: &Path,
) -> Result<Vec<u8>, Failure> {
    let text = read_list(list)?;
    let mut verifier = Verifier::start(keyring, signature)?;
    verifier.write_all(&text).tried(|| "write to gpgv")?;
    verifier.finish(&format!("{shown:?}"))?;
    Ok(text)
}

//! The entries of what came: a tree is made of them, or a list.

use std::fs::File;
use std::os::fd::AsFd;

use common::{Failure, Tried};

use super::{Content, Hands};
use crate::cli::Rules;
use crate::extract::Extractor;
use crate::input::{Fetched, Input};
use crate::list::List;
use crate::oci::{self, Format, Target};
use crate::overlap::{self, Pieces};
use crate::staging;

pub fn extract(content: &Content, rules: &Rules, hands: &mut Hands) -> Result<(), Failure> {
    let (input, staging) = (hands.input.take(), hands.staging()?);
    let counter = input.as_ref().map(Input::entries).unwrap_or_default();
    let mut extractor = Extractor::new(staging.tree().as_fd(), rules).counted_in(counter);
    let fetched = work(content, rules, input, || staging.scratch(), &mut extractor)?;
    hands.outcome = Some(extractor.outcome());
    hands.fetched = fetched;
    Ok(())
}

pub fn list(
    content: &Content,
    rules: &Rules,
    json: bool,
    hold: bool,
    hands: &mut Hands,
) -> Result<(), Failure> {
    let input = hands.input.take();
    let scratch = || match &hands.staging {
        Some(staging) => staging.scratch(),
        None => staging::nameless(),
    };
    let waiting = hold.then(scratch).transpose()?;
    let to = waiting.as_ref().map(|file| file.try_clone().tried(|| "hold the list back"));
    let mut list = List::new(to.transpose()?, rules, json);
    let fetched = work(content, rules, input, scratch, &mut list)?;
    drop(list);
    hands.waiting = waiting;
    hands.fetched = fetched;
    Ok(())
}

/// Has the entries taken by a tree or a list. `scratch` makes a file for the time being.
fn work(
    content: &Content,
    rules: &Rules,
    input: Option<Input>,
    scratch: impl FnOnce() -> Result<File, Failure> + Send,
    target: &mut impl Target,
) -> Result<Fetched, Failure> {
    match content {
        Content::Archive { archive, format: Some(Format::Layout) } => {
            oci::extract_folder(archive, &rules.choice, target)?;
        }
        Content::Archive { .. } => {
            return read(input, rules.max_ratio, |pieces| {
                oci::extract(pieces, scratch, rules.max_size, &rules.choice, target)
            });
        }
        Content::Image { reference, transfer, .. } => {
            oci::pull(reference, rules, transfer, scratch()?, target)?;
        }
        Content::Layers(layers) => oci::extract_layers(layers, target)?,
    }
    Ok(Fetched::default())
}

/// Reads, decodes and does something with it in one pass; then reads what is left, for the digest
/// is of all.
fn read(
    input: Option<Input>,
    ratio: u64,
    work: impl FnOnce(Pieces) -> Result<(), Failure> + Send,
) -> Result<Fetched, Failure> {
    let mut input = input.ok_or_else(|| Failure::new("read without an archive"))?;
    match overlap::decoded(&mut input, ratio, work) {
        Ok(()) => input.finish(),
        Err(failure) => Err(input.blame(failure)),
    }
}

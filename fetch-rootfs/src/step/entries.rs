//! The entries of what came: a tree is made of them, or a list.

use std::fs::File;
use std::os::fd::AsFd;

use common::{Failure, Tried};

use super::{Hands, Step};
use crate::cli::Rules;
use crate::extract::Extractor;
use crate::input::{Fetched, Input};
use crate::list::List;
use crate::oci::{self, Format, Target};
use crate::overlap::{self, Pieces};
use crate::staging;

pub fn extract(step: &Step, hands: &mut Hands) -> Result<(), Failure> {
    let Some(rules) = step.rules() else { return Ok(()) };
    let (input, staging) = (hands.input.take(), hands.staging()?);
    let counter = input.as_ref().map(Input::entries).unwrap_or_default();
    let mut extractor = Extractor::new(staging.tree().as_fd(), rules).counted_in(counter);
    let fetched = work(step, input, || staging.scratch(), &mut extractor)?;
    hands.outcome = Some(extractor.outcome());
    hands.fetched = fetched;
    Ok(())
}

pub fn list(step: &Step, json: bool, hold: bool, hands: &mut Hands) -> Result<(), Failure> {
    let Some(rules) = step.rules() else { return Ok(()) };
    let input = hands.input.take();
    let scratch = || match &hands.staging {
        Some(staging) => staging.scratch(),
        None => staging::nameless(),
    };
    let waiting = hold.then(scratch).transpose()?;
    let to = waiting.as_ref().map(|file| file.try_clone().tried(|| "hold the list back"));
    let mut list = List::new(to.transpose()?, rules, json);
    let fetched = work(step, input, scratch, &mut list)?;
    drop(list);
    hands.waiting = waiting;
    hands.fetched = fetched;
    Ok(())
}

/// Has the entries of what a step names taken by a tree or a list. `scratch` makes a file for the
/// time being.
fn work(
    step: &Step,
    input: Option<Input>,
    scratch: impl FnOnce() -> Result<File, Failure> + Send,
    target: &mut impl Target,
) -> Result<Fetched, Failure> {
    match step {
        Step::Extract { archive, format: Some(Format::Layout), rules, .. } => {
            oci::extract_folder(archive, &rules.choice, target)?;
        }
        Step::Pull { reference, transfer, rules, .. } => {
            oci::pull(reference, rules, transfer, scratch()?, target)?;
        }
        Step::Layers { layers, .. } => oci::extract_layers(layers, target)?,
        Step::Extract { rules, .. } => {
            return read(input, rules, |pieces| {
                oci::extract(pieces, scratch, rules.max_size, &rules.choice, target)
            });
        }
        _ => {}
    }
    Ok(Fetched::default())
}

/// Reads, decodes and does something with it in one pass; then reads what is left, for the digest
/// is of all.
fn read(
    input: Option<Input>,
    rules: &Rules,
    work: impl FnOnce(Pieces) -> Result<(), Failure> + Send,
) -> Result<Fetched, Failure> {
    let mut input = input.ok_or_else(|| Failure::new("read without an archive"))?;
    match overlap::decoded(&mut input, rules.max_ratio, work) {
        Ok(()) => input.finish(),
        Err(failure) => Err(input.blame(failure)),
    }
}

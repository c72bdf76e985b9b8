//! Extracting and listing, as a script does it.

use std::path::Path;

use common::shell;

use super::Step;
use crate::cli::{Owner, Rules};
use crate::oci::{Format, script};

/// Makes the tree that a step extracts.
pub fn tree_line(step: &Step) -> String {
    match step {
        Step::Extract { archive, format, unfinished, root, rules, privileged } => {
            let (root, archive) = (shell::operand(root), archive);
            let command = match format.and_then(script::transport) {
                None => {
                    let archive = shell::operand(archive);
                    tar_line(*format, &archive, unfinished, &root, rules, *privileged)
                }
                Some(transport) => {
                    let from = script::local(transport, archive, &rules.choice);
                    chosen(rules, unfinished, &root, |root| {
                        script::image(&from, &rules.choice, unfinished, root, *privileged)
                    })
                }
            };
            extract_line(command, &root, rules, *privileged)
        }
        Step::Pull { reference, transfer, cached, unfinished, root, rules, privileged } => {
            let (before, from) = match cached.is_empty() {
                true => {
                    (String::new(), script::remote(reference, rules.plain_http, transfer.retries))
                }
                false => script::cached(cached, &unfinished.join("files")),
            };
            let root = shell::operand(root);
            let image = chosen(rules, unfinished, &root, |root| {
                script::image(&from, &rules.choice, unfinished, root, *privileged)
            });
            extract_line(before + &image, &root, rules, *privileged)
        }
        Step::Layers { layers, unfinished, root, rules, privileged } => {
            let root = shell::operand(root);
            let command = chosen(rules, unfinished, &root, |root| {
                script::layers(layers, unfinished, root, *privileged)
            });
            extract_line(command, &root, rules, *privileged)
        }
        _ => String::new(),
    }
}

/// umoci(1) unpacks the whole of an image. Where names are chosen, tar(1) takes them from there.
fn chosen(
    rules: &Rules,
    unfinished: &Path,
    root: &str,
    unpacked: impl Fn(&str) -> String,
) -> String {
    let options = rules.names.options();
    if options.is_empty() {
        return unpacked(root);
    }
    let whole = shell::operand(unfinished.join("whole"));
    let archive = shell::operand(unfinished.join("archive"));
    let all = "--numeric-owner --xattrs --xattrs-include='*' --acls";
    format!(
        "mkdir {whole}; {}; find {whole} -mindepth 1 -maxdepth 1 -printf '%P\\0' | \
         tar --create --file {archive} --directory {whole} {all} --null --files-from=-; \
         tar --extract --file {archive} --directory {root} --preserve-permissions {all}{options}",
        unpacked(&whole)
    )
}

/// Whether what a step extracts is an image.
pub fn is_image(step: &Step) -> bool {
    match step {
        Step::Extract { format, .. } => format.and_then(script::transport).is_some(),
        step => matches!(step, Step::Pull { .. } | Step::Layers { .. }),
    }
}

/// Tells the names in it: of an archive as they come, of layers when they are a tree.
pub fn list_line(step: &Step, hold: bool) -> String {
    let (line, unfinished) = match step {
        Step::Extract { archive, format, unfinished, rules, .. } if !is_image(step) => {
            let tar = if format.is_some() { "bsdtar" } else { "tar" };
            let (file, options) = (shell::operand(archive), rules.names.options());
            (format!("{tar} --list --file {file}{options}"), unfinished)
        }
        Step::Extract { unfinished, root, .. }
        | Step::Pull { unfinished, root, .. }
        | Step::Layers { unfinished, root, .. } => {
            let names = "'(' -type d -printf '%P/\\n' -o -printf '%P\\n' ')' | LC_ALL=C sort";
            let find = format!("find {} -mindepth 1 {names}", shell::operand(root));
            (format!("{}; {find}", tree_line(step)), unfinished)
        }
        _ => return String::new(),
    };
    match hold {
        true => format!("{line} >{}", shell::operand(unfinished.join("list"))),
        false => line,
    }
}

/// Whether the files are to belong to whom the archive says.
fn keeps_owners(rules: &Rules, privileged: bool) -> bool {
    privileged && rules.owner != Owner::Me
}

/// Whether the kernel makes device nodes for us.
fn makes_devices(rules: &Rules, privileged: bool) -> bool {
    privileged && rules.owner != Owner::Map
}

/// libarchive's tar(1) reads more than GNU's.
fn tar_line(
    format: Option<Format>,
    archive: &str,
    unfinished: &Path,
    root: &str,
    rules: &Rules,
    privileged: bool,
) -> String {
    let (tar, xattrs) = match format {
        None => ("tar", "--xattrs --xattrs-include='*'"),
        Some(_) => ("bsdtar", "--xattrs"),
    };
    let owner = if keeps_owners(rules, privileged) { "--same-owner" } else { "--no-same-owner" };
    let devices = shell::operand(unfinished.join("devices"));
    let (before, except) = match makes_devices(rules, privileged) {
        true => (String::new(), String::new()),
        false => without_devices(tar, archive, &devices, rules),
    };
    format!(
        "{before}{tar} --extract --file {archive} --directory {root} --preserve-permissions \
         --numeric-owner {owner} {xattrs} --acls{}{except}",
        rules.names.options()
    )
}

/// The name of a device node in the list that tar(1) makes for people; as a pattern for bsdtar.
const TAR_NAME: &str = "'/^[bc]/!d; s/^[^ ]* [^ ]* *[0-9]*,[0-9]* [^ ]* [^ ]* //'";
const BSDTAR_NAME: &str = concat!(
    "'/^[bc]/!d; s/^[^ ]*  *[^ ]* *[^ ]* *[^ ]* *[0-9]*,[0-9]* [^ ]* *[^ ]* *[^ ]* //; ",
    r"s/[]*?[\\]/\\&/g; s/^/^/'"
);

/// tar(1) fails where it can't make a device node: it is told to leave out those that it lists, of
/// which a person, too, is told.
fn without_devices(tar: &str, archive: &str, devices: &str, rules: &Rules) -> (String, String) {
    let list = format!("LC_ALL=C {tar} --list --verbose --numeric-owner --file {archive}");
    let told =
        if rules.skip_devices { format!(">{devices}") } else { format!("| tee {devices} >&2") };
    match tar {
        "tar" => (
            format!("{list} --quoting-style=literal | sed {TAR_NAME} {told}\n"),
            format!(" --anchored --no-wildcards --exclude-from={devices}"),
        ),
        _ => (format!("{list} | sed {BSDTAR_NAME} {told}\n"), format!(" -X {devices}")),
    }
}

fn extract_line(command: String, root: &str, rules: &Rules, privileged: bool) -> String {
    let mut commands = vec![command];
    if !keeps_owners(rules, privileged) {
        commands.push(format!("find {root} -type f -perm /6000 -exec chmod ug-s {{}} +"));
    }
    if rules.skip_devices && makes_devices(rules, privileged) {
        commands.push(format!("find {root} '(' -type b -o -type c ')' -exec rm {{}} +"));
    }
    commands.join("; ")
}

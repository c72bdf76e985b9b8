//! Extracting, as a script does it.

use std::path::Path;

use common::shell;

use crate::cli::{Owner, Rules};
use crate::oci::Format;

/// Whether the files are to belong to whom the archive says.
fn keeps_owners(rules: &Rules, privileged: bool) -> bool {
    privileged && rules.owner != Owner::Me
}

/// Whether the kernel makes device nodes for us.
fn makes_devices(rules: &Rules, privileged: bool) -> bool {
    privileged && rules.owner != Owner::Map
}

/// libarchive's tar(1) reads more than GNU's.
pub fn tar_line(
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

pub fn extract_line(command: String, root: &str, rules: &Rules, privileged: bool) -> String {
    let mut commands = vec![command];
    if !keeps_owners(rules, privileged) {
        commands.push(format!("find {root} -type f -perm /6000 -exec chmod ug-s {{}} +"));
    }
    if rules.skip_devices && makes_devices(rules, privileged) {
        commands.push(format!("find {root} '(' -type b -o -type c ')' -exec rm {{}} +"));
    }
    commands.join("; ")
}

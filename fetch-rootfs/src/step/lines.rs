//! Extracting, as a script does it.

use crate::cli::{Owner, Rules};
use crate::oci::Format;

/// Whether the files are to belong to whom the archive says.
fn keeps_owners(rules: &Rules, privileged: bool) -> bool {
    privileged && rules.owner == Owner::Keep
}

/// libarchive's tar(1) reads more than GNU's.
pub fn tar_line(
    format: Option<Format>,
    archive: &str,
    root: &str,
    rules: &Rules,
    privileged: bool,
) -> String {
    let (tar, xattrs) = match format {
        None => ("tar", "--xattrs --xattrs-include='*'"),
        Some(_) => ("bsdtar", "--xattrs"),
    };
    let owner = if keeps_owners(rules, privileged) { "--same-owner" } else { "--no-same-owner" };
    format!(
        "{tar} --extract --file {archive} --directory {root} --preserve-permissions \
         --numeric-owner {owner} {xattrs} --acls{}",
        rules.names.options()
    )
}

pub fn extract_line(command: String, root: &str, rules: &Rules, privileged: bool) -> String {
    let mut commands = vec![command];
    if !keeps_owners(rules, privileged) {
        commands.push(format!("find {root} -type f -perm /6000 -exec chmod ug-s {{}} +"));
    }
    if rules.skip_devices {
        commands.push(format!("find {root} '(' -type b -o -type c ')' -exec rm {{}} +"));
    }
    commands.join("; ")
}

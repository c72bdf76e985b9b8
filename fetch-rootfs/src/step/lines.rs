//! Extracting, as a script does it.

use crate::cli::{Owner, Rules};

/// Whether the files are to belong to whom the archive says.
fn keeps_owners(rules: &Rules, privileged: bool) -> bool {
    privileged && rules.owner == Owner::Keep
}

pub fn tar_line(archive: &str, root: &str, rules: &Rules, privileged: bool) -> String {
    let owner = if keeps_owners(rules, privileged) { "--same-owner" } else { "--no-same-owner" };
    format!(
        "tar --extract --file {archive} --directory {root} --preserve-permissions --numeric-owner \
         {owner} --xattrs --xattrs-include='*' --acls{}",
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

//! A map that somebody else has to write: in a script, a shell that runs beside it.

use common::idmap::{By, text};
use common::subordinate::Extent;

use crate::users::Mapping;

/// Runs what follows when there is a map: until then there is nobody to be. For ten seconds, for
/// whoever should write it may have failed.
pub fn wait(mapping: &Mapping) -> String {
    let last = if mapping.map.groups.is_empty() { "uid_map" } else { "gid_map" };
    format!(
        "sh -e -c 'until read -r _ </proc/self/{last}; do n=$((n + 1)); [ $n -lt 1000 ]; \
         sleep 0.01; done; exec \"$@\"' sh"
    )
}

/// Started before the namespace is made, it waits until it is: `$$` is the process that makes it.
pub fn line(mapping: &Mapping) -> String {
    let parts = [
        ("newuidmap", "uid_map", &mapping.map.users),
        ("newgidmap", "gid_map", &mapping.map.groups),
    ];
    let writes: Vec<String> = parts
        .into_iter()
        .filter(|(.., extents)| !extents.is_empty())
        .map(|(program, file, extents)| match mapping.by {
            Some(By::Itself) => {
                let text = text(extents).replace('\n', "\\n");
                format!("printf '{text}' >/proc/$$/{file}")
            }
            _ => format!("{program} $${}", words(extents)),
        })
        .collect();
    beside(&writes.join(" && "))
}

/// Has a shell do something as soon as this process, `$$`, has a user namespace of its own.
pub fn beside(commands: &str) -> String {
    format!(
        "was=$(readlink /proc/$$/ns/user); ( (while [ \"$(readlink /proc/$$/ns/user)\" = \"$was\" ]; \
         do sleep 0.01; done; {commands} || kill -9 $$) & )"
    )
}

fn words(extents: &[Extent]) -> String {
    extents.iter().fold(String::new(), |words, Extent { inside, outside, count }| {
        format!("{words} {inside} {outside} {count}")
    })
}

/// Why, for the reader of the line.
pub fn why(mapping: &Mapping) -> &'static str {
    match mapping.by {
        Some(By::Itself) => "who is inside has no power over ids of outside; user_namespaces(7)",
        _ => {
            "only who has power outside maps other ids than their own; newuidmap(1), subuid(5), \
             user_namespaces(7)"
        }
    }
}

//! What came of an extraction, and what could not be done.

use std::collections::HashSet;

use common::report;
use serde::Serialize;
use serde_json::{Value, json};

/// More are not read by anybody; --json has all.
const SHOWN: usize = 10;

/// All that is told of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub entries: u64,
    /// Those that the options leave are none.
    pub nothing: bool,
    /// Those that the kernel refused to make.
    pub devices: Vec<Device>,
    pub owners: Unset,
    pub attributes: Unset,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    pub name: String,
    /// As ls(1) has it.
    #[serde(rename = "type")]
    pub kind: char,
    pub major: u64,
    pub minor: u64,
}

/// What could not be set: an example, and of what.
#[derive(Clone, Debug, Default)]
pub struct Unset {
    first: Option<String>,
    names: HashSet<Vec<u8>>,
}

impl Unset {
    /// `key` tells it from others: the same may be tried twice.
    pub fn add(&mut self, key: Vec<u8>, what: impl FnOnce() -> String) {
        self.names.insert(key);
        self.first.get_or_insert_with(what);
    }

    fn tell(&self, what: &str, cure: &str) {
        let Some(first) = &self.first else { return };
        note(&format!("{what}: {first}{}{cure}", more(self.names.len() - 1)));
    }

    fn json(&self) -> Value {
        json!({ "count": self.names.len(), "first": self.first })
    }
}

impl Outcome {
    /// A line for all devices, one for all owners, and one for all attributes; or that there is
    /// nothing.
    pub fn tell(&self) {
        if self.nothing {
            let entries = self.entries;
            note(&format!(
                "it is empty: --strip-components or --exclude leave nothing of {entries} entries"
            ));
        }
        self.attributes.tell("attributes that can't be set here", "");
        self.owners.tell("owners that only root can set", "; --owner map has them mapped");
        if self.devices.is_empty() {
            return;
        }
        let shown: Vec<String> = self.devices.iter().take(SHOWN).map(Device::shown).collect();
        note(&format!(
            "device nodes that can't be made here: {}{}; bindmount --std mounts a /dev",
            shown.join(", "),
            more(self.devices.len() - shown.len())
        ));
    }

    /// Puts it into a summary.
    pub fn put_into(&self, summary: &mut Value) {
        summary["entries"] = self.entries.into();
        summary["skipped"] = json!(self.devices);
        summary["owners_not_set"] = self.owners.json();
        summary["attributes_not_set"] = self.attributes.json();
    }
}

impl Device {
    fn shown(&self) -> String {
        let Self { name, kind, major, minor } = self;
        format!("{} {kind}:{major}:{minor}", crate::entry::quoted(name.as_bytes()))
    }
}

fn more(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" and {count} more") }
}

fn note(text: &str) {
    report::tell(&format!("fetch-rootfs: note: {text}\n"));
}

//! The rules for networks and devices, shown; these are the folders of one group.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::group::v2;
use crate::{dev, dev_filter, dev_list, net_filter};

/// None, too, where we may not know them.
fn network_rules(dirs: &[PathBuf]) -> Vec<net_filter::Rule> {
    v2(dirs).and_then(|dir| net_filter::state(dir).ok()).unwrap_or_default()
}

fn device_rules(dirs: &[PathBuf]) -> Vec<dev::Rule> {
    let programs = v2(dirs).and_then(|dir| dev_filter::state(dir).ok()).unwrap_or_default();
    let v1 = dirs.iter().find(|dir| dir.join("devices.list").exists());
    match v1.map(|dir| dev_list::state(dir)) {
        Some(Ok(state)) if programs.is_empty() => dev_list::rules(state),
        _ => programs,
    }
}

/// A key and a value for each.
pub fn rows(dirs: &[PathBuf]) -> Vec<(&'static str, Option<String>)> {
    let (networks, devices) = (network_rules(dirs), device_rules(dirs));
    let networks = networks.iter().map(|rule| (rule.key(), Some(rule.network.to_string())));
    let devices = devices.iter().map(|rule| (rule.key(), Some(rule.text())));
    networks.chain(devices).collect()
}

/// The networks that are allowed, or those that are denied; null where there is no rule at all.
pub fn networks(dirs: &[PathBuf], allow: bool) -> Value {
    let rules = network_rules(dirs);
    let these = rules.iter().filter(|rule| rule.allow == allow);
    let networks: Vec<String> = these.map(|rule| rule.network.to_string()).collect();
    if rules.is_empty() { Value::Null } else { networks.into() }
}

/// The rules for devices, the last of which counts first; null where there are none.
pub fn devices(dirs: &[PathBuf]) -> Value {
    let rules = device_rules(dirs);
    let rule = |rule: &dev::Rule| {
        json!({
            "rule": if rule.allow { "allow" } else { "deny" },
            "device": rule.devices.to_string(),
            "access": rule.access.to_string(),
        })
    };
    if rules.is_empty() { Value::Null } else { rules.iter().map(rule).collect() }
}

//! Huge pages: what a group may use of each size, and what may be set aside for it.

use std::fs;
use std::path::{Path, PathBuf};

use common::size;
use serde_json::{Value as Json, json};

use crate::hierarchy::Version;
use crate::key::{Key, Setting};
use crate::setting::{Write, limit, read_number};
use crate::value::{Value, page_size};

/// The file for a setting of huge pages.
pub fn write(setting: &Setting, version: Version, dir: &Path) -> Option<Write> {
    let Value::Huge { pages, bytes } = &setting.value else { return None };
    let reserved = if setting.key == Key::HugeReserved { ".rsvd" } else { "" };
    let (limit, none) = match version {
        Version::V1 => ("limit_in_bytes", "-1"),
        Version::V2 => ("max", "max"),
    };
    let text = bytes.map_or_else(|| none.to_owned(), |bytes| bytes.to_string());
    Some(Write::new(dir, &format!("hugetlb.{pages}{reserved}.{limit}"), text))
}

/// What holds for pages of a size.
struct Pages {
    size: String,
    limit: Option<u64>,
    reserved: Option<u64>,
    current: Option<u64>,
}

/// The sizes of which the group has files.
fn pages(dirs: &[PathBuf]) -> Vec<Pages> {
    let mut found = Vec::new();
    for dir in dirs {
        let names = fs::read_dir(dir).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        for size in names.filter_map(|name| size_of_limit(&name)) {
            let of = |ends: [&str; 2]| {
                let mut files = ends.iter().map(|end| dir.join(format!("hugetlb.{size}.{end}")));
                files.find(|file| file.exists())
            };
            found.push(Pages {
                limit: of(["max", "limit_in_bytes"]).and_then(|file| limit(&file).ok()?),
                reserved: of(["rsvd.max", "rsvd.limit_in_bytes"])
                    .and_then(|file| limit(&file).ok()?),
                current: of(["current", "usage_in_bytes"])
                    .and_then(|file| read_number(&file).ok()?),
                size,
            });
        }
    }
    found.sort_by_key(|pages| page_size(&pages.size));
    found
}

/// The size in `hugetlb.2MB.max`.
fn size_of_limit(name: &str) -> Option<String> {
    let rest = name.strip_prefix("hugetlb.")?;
    let size = rest.strip_suffix(".max").or_else(|| rest.strip_suffix(".limit_in_bytes"))?;
    page_size(size).map(|_| size.to_owned())
}

/// A line for each limit, as `show` has them.
pub fn rows(dirs: &[PathBuf]) -> Vec<(&'static str, Option<String>)> {
    let mut rows = Vec::new();
    for Pages { size, limit, reserved, .. } in pages(dirs) {
        let shown = |bytes: u64| format!("{size} {bytes} ({})", size::human(bytes));
        rows.extend(limit.map(|bytes| ("huge.limit", Some(shown(bytes)))));
        rows.extend(reserved.map(|bytes| ("huge.rsvd", Some(shown(bytes)))));
    }
    rows
}

/// The same as JSON, and what is used.
pub fn json(dirs: &[PathBuf]) -> Json {
    let object = |Pages { size, limit, reserved, current }| {
        (size, json!({ "limit": limit, "reserved_limit": reserved, "current": current }))
    };
    pages(dirs).into_iter().map(object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_shown_alike() {
        for (limit, reserved, none) in [
            ("max", "rsvd.max", "max\n"),
            ("limit_in_bytes", "rsvd.limit_in_bytes", "9223372036854771712\n"),
        ] {
            let dir = support::scratch();
            let file = |size: &str, end: &str| dir.path().join(format!("hugetlb.{size}.{end}"));
            fs::write(file("1GB", limit), none).expect("ours");
            fs::write(file("2MB", limit), "4194304\n").expect("ours");
            fs::write(file("2MB", reserved), none).expect("ours");
            let dirs = [dir.path().to_owned()];
            assert_eq!(rows(&dirs), [("huge.limit", Some("2MB 4194304 (4 MiB)".to_owned()))]);
            let json = json(&dirs);
            assert_eq!(json["2MB"]["limit"], 4 << 20);
            assert_eq!(json["1GB"]["limit"], Json::Null);
        }
    }
}

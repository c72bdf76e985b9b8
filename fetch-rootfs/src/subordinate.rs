//! Subordinate ids: those that a user may hand out in a user namespace, see subuid(5).

use std::fs;
use std::ops::Range;

/// The two files.
pub const USERS: &str = "/etc/subuid";
pub const GROUPS: &str = "/etc/subgid";

/// How many useradd(8) gives each user, from where on, and where it ends; see login.defs(5).
pub const USUAL: u64 = 65_536;
const FIRST: u64 = 100_000;
const LAST: u64 = 600_100_000;

/// A part of a map: so many ids from `inside` on are those from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub inside: u64,
    pub outside: u64,
    pub count: u64,
}

/// The map that makes `me` 0, and what the lines give to this user 1 and so on, in their order.
/// The kernel takes no id twice, and neither do we. `None` if they give nothing.
pub fn extents(text: &str, name: Option<&str>, uid: u32, me: u32) -> Option<Vec<Extent>> {
    let number = uid.to_string();
    let mut extents = vec![Extent { inside: 0, outside: me.into(), count: 1 }];
    for (owner, ids) in lines(text) {
        if Some(owner) != name && owner != number {
            continue;
        }
        let fresh = extents.iter().fold(vec![ids], |parts, known| {
            parts.into_iter().flat_map(|part| without(part, known)).collect()
        });
        for part in fresh.into_iter().filter(|part| !part.is_empty()) {
            let inside = extents.last().map_or(0, |last| last.inside + last.count);
            let count = part.end - part.start;
            extents.push(Extent { inside, outside: part.start, count });
        }
    }
    (extents.len() > 1).then_some(extents)
}

/// `NAME:FIRST:COUNT`; what is no such line gives nothing.
fn lines(text: &str) -> impl Iterator<Item = (&str, Range<u64>)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let mut number = || fields.next()?.parse::<u32>().ok().map(u64::from);
        let (first, count) = (number()?, number()?);
        // The last number of all means nobody.
        let ids = first..(first + count).min(u32::MAX.into());
        (fields.next().is_none() && !ids.is_empty()).then_some((owner, ids))
    })
}

fn without(ids: Range<u64>, known: &Extent) -> [Range<u64>; 2] {
    let below = ids.start..ids.end.min(known.outside);
    let above = ids.start.max(known.outside + known.count)..ids.end;
    [below, above]
}

/// The command that gives so many more to whoever runs it, if that many are to be had. They begin
/// behind all that are given: two users with the same ones could change each other's files.
pub fn add(users: u64, groups: u64) -> Option<String> {
    let texts = [USERS, GROUPS].map(|file| fs::read_to_string(file).unwrap_or_default());
    let given = texts.iter().flat_map(|text| lines(text)).map(|(_, ids)| ids.end);
    let first = given.max().unwrap_or(0).max(FIRST);
    let mut words = vec!["sudo usermod".to_owned()];
    for (option, count) in [("--add-subuids", users), ("--add-subgids", groups)] {
        let last = first.checked_add(count)?.saturating_sub(1);
        if last >= LAST {
            return None;
        }
        if count > 0 {
            words.push(format!("{option} {first}-{last}"));
        }
    }
    words.push("\"$(id -un)\"".into());
    Some(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Option<Vec<(u64, u64, u64)>> {
        let extents = extents(text, Some("me"), 1000, 1000)?;
        Some(extents.into_iter().map(|e| (e.inside, e.outside, e.count)).collect())
    }

    #[test]
    fn all_lines_count_by_name_and_by_number() {
        let text = "you:5:5\nme:100000:65536\n1000:300000:10\n10:7:7\nme:50:1\n";
        let wanted = vec![(0, 1000, 1), (1, 100_000, 65536), (65537, 300_000, 10), (65547, 50, 1)];
        assert_eq!(map(text), Some(wanted));
    }

    #[test]
    fn no_id_is_taken_twice() {
        let text = "me:990:20\nme:990:20\n1000:1005:10\nme:900:200\n";
        let wanted = vec![
            (0, 1000, 1),
            (1, 990, 10),
            (11, 1001, 9),
            (20, 1010, 5),
            (25, 900, 90),
            (115, 1015, 85),
        ];
        assert_eq!(map(text), Some(wanted));
    }

    #[test]
    fn what_is_no_line_gives_nothing() {
        for text in ["", "me:1", "me:1:0", "me:x:1", "me:-1:5", "me:1:5:9", "me:1000:1", "you:1:9"]
        {
            assert_eq!(map(text), None, "{text}");
        }
        assert_eq!(map("me:4294967290:100"), Some(vec![(0, 1000, 1), (1, 4_294_967_290, 5)]));
    }
}

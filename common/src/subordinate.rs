//! Subordinate ids: those that a user may hand out in a user namespace, see subuid(5).

use std::fs;
use std::ops::Range;

/// Of users.
pub const USERS: &str = "/etc/subuid";
/// Of groups.
pub const GROUPS: &str = "/etc/subgid";

/// How many useradd(8) gives each user, from where on, and where it ends; see login.defs(5).
pub const USUAL: u64 = 65_536;
/// The last number of all means nobody.
pub const NOBODY: u64 = u32::MAX as u64;
const FIRST: u64 = 100_000;
const LAST: u64 = 600_100_000;

/// A part of a map: so many ids from `inside` on are those from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first one, as the namespace has it.
    pub inside: u64,
    /// The first one, as it is seen from outside.
    pub outside: u64,
    /// How many.
    pub count: u64,
}

impl Extent {
    /// `None` if it is empty, or there are no such ids.
    pub fn of(numbers: [u32; 3]) -> Option<Self> {
        let [inside, outside, count] = numbers.map(u64::from);
        let is_one = count > 0 && inside.max(outside) + count <= NOBODY;
        is_one.then_some(Self { inside, outside, count })
    }
}

/// Reads an id. The kernel's parser takes `010` for 8.
pub fn decimal(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ => Err(format!("{text:?} is no decimal number")),
    }
}

/// Reads an id that somebody may have: the last number tells setresuid(2) to leave things as they are.
pub fn id(text: &str) -> Result<u32, String> {
    decimal(text).and_then(|id| match u64::from(id) < NOBODY {
        true => Ok(id),
        false => Err(format!("ids go up to {}", NOBODY - 1)),
    })
}

/// The map that makes `me` 0, and what the lines give to this user 1 and so on, in their order.
/// `None` if they give nothing.
pub fn extents(text: &str, name: Option<&str>, uid: u32, me: u32) -> Option<Vec<Extent>> {
    let me = Extent { inside: 0, outside: me.into(), count: 1 };
    let inside = 1..NOBODY;
    let given = pair(
        std::slice::from_ref(&inside),
        &without(&given(text, name, uid), me.outside..me.outside + 1),
    );
    (!given.is_empty()).then(|| [vec![me], given].concat())
}

/// What all lines for this user give, by name and by number, in their order. The kernel takes no id
/// twice, and neither do we.
pub fn given(text: &str, name: Option<&str>, uid: u32) -> Vec<Range<u64>> {
    let number = uid.to_string();
    let own = lines(text).filter(|(owner, _)| Some(*owner) == name || *owner == number);
    own.fold(Vec::new(), |mut known: Vec<Range<u64>>, (_, ids)| {
        let fresh = known.iter().fold(vec![ids], |parts, known| without(&parts, known.clone()));
        known.extend(fresh);
        known
    })
}

/// The ids of the one list and those of the other, one by one, until either is at its end.
pub fn pair(inside: &[Range<u64>], outside: &[Range<u64>]) -> Vec<Extent> {
    let (mut inner, mut outer) = (inside.iter().cloned(), outside.iter().cloned());
    let (mut here, mut there) = (inner.next(), outer.next());
    let mut extents = Vec::new();
    while let (Some(ours), Some(theirs)) = (&mut here, &mut there) {
        let count = (ours.end - ours.start).min(theirs.end - theirs.start);
        if count > 0 {
            extents.push(Extent { inside: ours.start, outside: theirs.start, count });
        }
        (ours.start, theirs.start) = (ours.start + count, theirs.start + count);
        if ours.is_empty() {
            here = inner.next();
        }
        if there.as_ref().is_some_and(Range::is_empty) {
            there = outer.next();
        }
    }
    extents
}

/// The ids of a list that are not among these.
pub fn without(ids: &[Range<u64>], taken: Range<u64>) -> Vec<Range<u64>> {
    let parts = ids
        .iter()
        .flat_map(|ids| [ids.start..ids.end.min(taken.start), ids.start.max(taken.end)..ids.end]);
    parts.filter(|part| !part.is_empty()).collect()
}

/// `NAME:FIRST:COUNT`; what is no such line gives nothing.
fn lines(text: &str) -> impl Iterator<Item = (&str, Range<u64>)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let mut number = || fields.next()?.parse::<u32>().ok().map(u64::from);
        let (first, count) = (number()?, number()?);
        let ids = first..(first + count).min(NOBODY);
        (fields.next().is_none() && !ids.is_empty()).then_some((owner, ids))
    })
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

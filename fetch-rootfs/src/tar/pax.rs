//! Extended headers: records of the form `LENGTH KEY=VALUE\n`, see pax(1).
//!
//! Tools that differ in what they make of a malformed record see different archives, so anything
//! that is not to the letter of the standard is refused.

use common::Failure;

use super::libarchive;
use super::sparse::Map;
use crate::acl::{self, Unusable};
use crate::entry::Time;

/// More extended attributes than any file has, and more bytes in them than file systems take.
/// Global headers add up, and each entry has what they say.
const MOST_ATTRIBUTES: usize = 1000;
const LARGEST_ATTRIBUTES: usize = 1 << 20;

/// What the records say of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<Time>,
    pub atime: Option<Time>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub foreign: Vec<&'static str>,
    /// The file has holes, and its data are not its content.
    pub sparse: Option<Sparse>,
}

/// What they say of its holes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sparse {
    /// 0.0, 0.1 or 1.0; the first two don't say.
    pub version: (u64, u64),
    pub name: Option<Vec<u8>>,
    pub length: Option<u64>,
    pub map: Option<Map>,
    /// An offset whose size is to come.
    offset: Option<u64>,
}

/// Reads the data of an extended header.
pub fn parse(data: &[u8]) -> Result<Pax, Failure> {
    let fail = |why: &str| Failure::new(format!("read an extended header: {why}"));
    let mut pax = Pax::default();
    let mut rest = data;
    while !rest.is_empty() {
        let (record, after) = split(rest).ok_or_else(|| fail("a record of a wrong length"))?;
        rest = after;
        let equals = record.iter().position(|byte| *byte == b'=');
        let equals = equals.filter(|at| *at > 0).ok_or_else(|| fail("a record without a key"))?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        pax.set(key, value).ok_or_else(|| {
            fail(&format!("{} can't be {}", super::quoted(key), super::quoted(value)))
        })?;
        if pax.xattrs.len() > MOST_ATTRIBUTES {
            return Err(too_many());
        }
    }
    match &pax.sparse {
        Some(Sparse { offset: Some(_), .. }) => Err(fail("a part of a sparse file has no size")),
        _ => Ok(pax),
    }
}

fn too_many() -> Failure {
    Failure::new("read an extended header: it has more attributes than a file can have")
}

/// One record and the rest. The length counts all of the record, its own digits too.
fn split(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = decimal(&data[..space])?;
    if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
        return None;
    }
    Some((&data[space + 1..length - 1], &data[length..]))
}

/// Nothing but digits.
pub fn decimal<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

/// `-12.5` is 12 and a half seconds before 1970: -13 seconds and 500,000,000 nanoseconds.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b"0"[..]),
    };
    let seconds: i64 = decimal(whole)?;
    let digits: Vec<u8> = fraction.iter().copied().chain(*b"000000000").take(9).collect();
    let nanoseconds: i64 = decimal(&digits)?;
    match (negative, nanoseconds) {
        (false, nanoseconds) => Some((seconds, nanoseconds)),
        (true, 0) => Some((-seconds, 0)),
        (true, nanoseconds) => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}

impl Pax {
    /// A later record of the same key wins. `None` if the value is none of this key's.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = Some(text(value)?),
            b"linkpath" => self.link = Some(text(value)?),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            b"atime" => self.atime = Some(time(value)?),
            b"SCHILY.acl.access" => self.acl("system.posix_acl_access", value)?,
            b"SCHILY.acl.default" => self.acl("system.posix_acl_default", value)?,
            _ => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.get_or_insert_default().set(key, value)?;
                } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattr(text(&without_escapes(name))?, value.to_vec());
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    self.xattr(text(&libarchive::name(name)?)?, libarchive::value(value)?);
                }
            }
        }
        Some(())
    }

    fn xattr(&mut self, name: Vec<u8>, value: Vec<u8>) {
        self.xattrs.retain(|(known, _)| *known != name);
        self.xattrs.push((name, value));
    }

    fn acl(&mut self, name: &'static str, value: &[u8]) -> Option<()> {
        match acl::attribute(value) {
            Ok(value) => self.xattr(name.as_bytes().to_vec(), value),
            Err(Unusable::Named) if self.foreign.contains(&name) => {}
            Err(Unusable::Named) => self.foreign.push(name),
            Err(Unusable::Malformed) if value.is_empty() => {}
            Err(Unusable::Malformed) => return None,
        }
        Some(())
    }

    /// What a global header may say of all entries; they can't all have one name or size, and
    /// programs disagree on what that would mean.
    pub fn is_for_all(&self) -> bool {
        let one = self.path.is_some() || self.link.is_some() || self.size.is_some();
        !one && self.sparse.is_none()
    }

    /// Takes over what another header says; where both say something, the other.
    pub fn overridden(&mut self, by: Pax) -> Result<(), Failure> {
        self.path = by.path.or(self.path.take());
        self.link = by.link.or(self.link.take());
        self.size = by.size.or(self.size);
        self.uid = by.uid.or(self.uid);
        self.gid = by.gid.or(self.gid);
        self.mtime = by.mtime.or(self.mtime);
        self.atime = by.atime.or(self.atime);
        self.sparse = by.sparse.or(self.sparse.take());
        self.foreign.extend(by.foreign);
        self.foreign.sort_unstable();
        self.foreign.dedup();
        for (name, value) in by.xattrs {
            self.xattr(name, value);
        }
        let bytes: usize = self.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        match self.xattrs.len() > MOST_ATTRIBUTES || bytes > LARGEST_ATTRIBUTES {
            true => Err(too_many()),
            false => Ok(()),
        }
    }
}

impl Sparse {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"major" => self.version.0 = decimal(value)?,
            b"minor" => self.version.1 = decimal(value)?,
            b"name" => self.name = Some(text(value)?),
            b"size" | b"realsize" => self.length = Some(decimal(value)?),
            b"map" => self.map = Some(Map::listed(value)?),
            b"offset" if self.offset.is_none() => self.offset = Some(decimal(value)?),
            b"numbytes" => {
                let start = self.offset.take()?;
                self.map.get_or_insert_default().push(start, decimal(value)?)?;
            }
            b"numblocks" => drop(decimal::<u64>(value)?),
            _ => return None,
        }
        Some(())
    }
}

/// A name: not empty, and without a NUL.
fn text(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty() && !value.contains(&0)).then(|| value.to_vec())
}

/// GNU tar writes `=` as `%3D` in the name of an attribute, where it would end the key, and `%` as
/// `%25`; nothing else.
fn without_escapes(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [first, after @ ..] = rest {
        let (byte, after) = match rest {
            [b'%', b'3', b'D', after @ ..] => (b'=', after),
            [b'%', b'2', b'5', after @ ..] => (b'%', after),
            _ => (*first, after),
        };
        plain.push(byte);
        rest = after;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A well-formed record: its length counts its own digits.
    fn record(text: &str) -> Vec<u8> {
        let mut length = text.len() + 2;
        while length != text.len() + 2 + length.to_string().len() {
            length = text.len() + 2 + length.to_string().len();
        }
        format!("{length} {text}\n").into_bytes()
    }

    #[test]
    fn records_of_every_kind() {
        let records = ["path=a", "path=b/c\nd", "mtime=1350244992.5", "size=10"];
        let mut data = records.map(record).concat();
        data.extend(record("SCHILY.xattr.user.a=x=\ny"));
        let pax = parse(&data).expect("well-formed");
        assert_eq!(pax.path.as_deref(), Some(&b"b/c\nd"[..]), "lengths decide, not lines");
        assert_eq!((pax.size, pax.mtime), (Some(10), Some((1_350_244_992, 500_000_000))));
        assert_eq!(pax.xattrs, [(b"user.a".to_vec(), b"x=\ny".to_vec())]);
    }

    #[test]
    fn attributes_in_every_spelling() {
        let data = [
            "SCHILY.xattr.user.a%3Db%2541=1",
            "LIBARCHIVE.xattr.user.a%3Db%2541=Mg",
            "SCHILY.acl.default=user::rwx,group::r-x,other::---",
            "SCHILY.acl.access=user::rwx,user:mail:r--,group::r-x,mask::r-x,other::---",
        ];
        let pax = parse(&data.map(record).concat()).expect("well-formed");
        assert_eq!(pax.xattrs[0], (b"user.a=b%41".to_vec(), b"2".to_vec()));
        assert_eq!(pax.xattrs[1].0, b"system.posix_acl_default");
        assert_eq!((pax.xattrs.len(), &pax.foreign[..]), (2, &["system.posix_acl_access"][..]));
    }

    #[test]
    fn what_a_later_header_says_wins() {
        let parse = |records: &[&str]| {
            let data: Vec<u8> = records.iter().flat_map(|text| record(text)).collect();
            parse(&data).expect("well-formed")
        };
        let mut all = parse(&["uid=7", "gid=8", "mtime=1", "SCHILY.xattr.user.a=1"]);
        assert!(all.is_for_all() && !parse(&["size=1"]).is_for_all());
        let one = parse(&["uid=9", "SCHILY.xattr.user.a=2", "path=x"]);
        all.overridden(one).expect("few attributes");
        assert_eq!((all.uid, all.gid, all.mtime), (Some(9), Some(8), Some((1, 0))));
        assert_eq!(all.xattrs, [(b"user.a".to_vec(), b"2".to_vec())]);
        assert!(!all.is_for_all(), "a name is of one entry");
    }

    #[test]
    fn attributes_have_an_end() {
        let many = |start: usize, count: usize| -> Vec<u8> {
            (start..start + count).flat_map(|at| record(&format!("SCHILY.xattr.{at}=x"))).collect()
        };
        let most = MOST_ATTRIBUTES;
        assert!(parse(&many(0, most)).is_ok() && parse(&many(0, most).repeat(2)).is_ok());
        assert!(parse(&many(0, most + 1)).is_err());
        let mut all = parse(&many(0, most)).expect("as many as may be");
        all.overridden(parse(&many(0, most)).expect("the same")).expect("no more than before");
        assert!(all.overridden(parse(&many(most, 1)).expect("one")).is_err());
        let large = |name: &str| {
            let text = format!("SCHILY.xattr.{name}={}", "x".repeat(LARGEST_ATTRIBUTES / 2));
            parse(&record(&text)).expect("one")
        };
        let mut all = large("a");
        all.overridden(large("a")).expect("no more than before");
        assert!(all.overridden(large("b")).is_err());
        let acl = record("SCHILY.acl.access=user::rwx,user:x:r--,group::r-x,mask::r-x,other::---");
        assert_eq!(parse(&acl.repeat(9)).expect("all the same").foreign.len(), 1);
    }

    #[test]
    fn times_before_1970() {
        assert_eq!(time(b"-12.5"), Some((-13, 500_000_000)));
        assert_eq!(time(b"-1"), Some((-1, 0)));
        assert_eq!(time(b"1.123456789123"), Some((1, 123_456_789)));
        assert_eq!(time(b"1."), Some((1, 0)));
        assert!(time(b"x").is_none() && time(b"").is_none() && time(b"1.x").is_none());
    }

    #[test]
    fn what_is_malformed_is_refused() {
        assert!(parse(b"9 path=a\n").is_ok() && parse(b"10 path=a\n").is_ok());
        for data in [
            &b"8 path=a\n"[..],
            b"11 path=a\n",
            b"10 path=a",
            b"10path=a\n",
            b"+10 path=a\n",
            b"010 path=a\nx",
            b"5 =a\n",
            b"4 a\n",
            b"3 \n",
            b"0 ",
            b"99999999999999999999 path=a\n",
            b"10 path=a\nx",
        ] {
            assert!(parse(data).is_err(), "{:?}", String::from_utf8_lossy(data));
        }
        for text in [
            "path=",
            "size=-1",
            "size=1x",
            "path=a\0",
            "mtime=1.x",
            "uid=",
            "SCHILY.xattr.=x",
            "LIBARCHIVE.xattr.=aGk",
            "LIBARCHIVE.xattr.a%0=aGk",
            "LIBARCHIVE.xattr.a%00b=aGk",
            "LIBARCHIVE.xattr.a=a",
            "SCHILY.acl.access=x",
            "GNU.sparse.map=0,1,2",
            "GNU.sparse.numbytes=1",
            "GNU.sparse.offset=1",
            "GNU.sparse.future=1",
        ] {
            assert!(parse(&record(text)).is_err(), "{text:?}");
        }
    }
}

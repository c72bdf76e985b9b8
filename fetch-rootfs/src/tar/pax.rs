//! Extended headers: records of the form `LENGTH KEY=VALUE\n`, see pax(1).
//!
//! Tools that differ in what they make of a malformed record see different archives, so anything
//! that is not to the letter of the standard is refused.

use common::Failure;

/// What the records say of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    /// Seconds and nanoseconds.
    pub mtime: Option<(i64, i64)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The file has holes, and its data are not its content.
    pub sparse: bool,
}

/// Reads the data of an extended header; `None` where it is malformed.
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
    }
    Ok(pax)
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

fn decimal<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

/// `-12.5` is 12 and a half seconds before 1970: -13 seconds and 500,000,000 nanoseconds.
fn time(text: &[u8]) -> Option<(i64, i64)> {
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
        let path =
            |value: &[u8]| (!value.is_empty() && !value.contains(&0)).then(|| value.to_vec());
        match key {
            b"path" => self.path = Some(path(value)?),
            b"linkpath" => self.link = Some(path(value)?),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            _ => {
                self.sparse |= key.starts_with(b"GNU.sparse.");
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    let name = path(name)?;
                    self.xattrs.retain(|(known, _)| *known != name);
                    self.xattrs.push((name, value.to_vec()));
                }
            }
        }
        Some(())
    }
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
        for text in
            ["path=", "size=-1", "size=1x", "path=a\0", "mtime=1.x", "uid=", "SCHILY.xattr.=x"]
        {
            assert!(parse(&record(text)).is_err(), "{text:?}");
        }
    }
}

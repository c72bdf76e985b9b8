//! Access control lists: from the text that archives have them in, to the bytes that the kernel
//! takes as the attributes `system.posix_acl_access` and `system.posix_acl_default`.
//!
//! `user::rwx,user:mail:r-x:8,group::r-x,mask::r-x,other::---`, between commas or lines. A number
//! behind the name, as star and libarchive write it, is the user; without one, as GNU tar writes
//! it, a name is somebody on the machine that made the archive, and nobody here knows who.

/// A list can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The text is no list.
    Malformed,
    /// It names a user or a group, without its number.
    Named,
}

/// Of no user or group in particular.
const NOBODY: u32 = u32::MAX;
/// What precedes the entries in the attribute, see acl(5) and the kernel's posix_acl_xattr.h.
const VERSION: u32 = 2;
/// More than any file system stores.
const MOST: usize = 1024;

/// The attribute's value.
pub fn attribute(text: &[u8]) -> Result<Vec<u8>, Unusable> {
    let text = std::str::from_utf8(text).map_err(|_| Unusable::Malformed)?;
    let lines = text.split([',', '\n']).map(|line| line.split('#').next().unwrap_or("").trim());
    let mut entries: Vec<(u16, u32, u16)> =
        lines.filter(|line| !line.is_empty()).map(entry).collect::<Result<_, _>>()?;
    // The kernel wants them in the order of their kinds.
    entries.sort_unstable();
    let twice = entries.windows(2).any(|two| (two[0].0, two[0].1) == (two[1].0, two[1].1));
    let has = |kind| entries.iter().any(|entry| entry.0 == kind);
    let whole = has(USER_OBJ) && has(GROUP_OBJ) && has(OTHER);
    let masked = has(MASK) || !(has(USER) || has(GROUP));
    if twice || !whole || !masked || entries.len() > MOST {
        return Err(Unusable::Malformed);
    }
    let mut value = VERSION.to_le_bytes().to_vec();
    for (kind, id, rights) in entries {
        value.extend(kind.to_le_bytes());
        value.extend(rights.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    Ok(value)
}

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

fn entry(line: &str) -> Result<(u16, u32, u16), Unusable> {
    let fields: Vec<&str> = line.split(':').map(str::trim).collect();
    let (kind, name, rights, number) = match fields.as_slice() {
        // "other:r-x" and "mask:r-x" are written, too.
        [kind @ ("other" | "o" | "mask" | "m"), rights] => (*kind, "", *rights, None),
        [kind, name, rights] => (*kind, *name, *rights, None),
        [kind, name, rights, number] => (*kind, *name, *rights, Some(*number)),
        _ => return Err(Unusable::Malformed),
    };
    let kind = match (kind, name.is_empty()) {
        ("user" | "u", true) => USER_OBJ,
        ("user" | "u", false) => USER,
        ("group" | "g", true) => GROUP_OBJ,
        ("group" | "g", false) => GROUP,
        ("mask" | "m", true) => MASK,
        ("other" | "o", true) => OTHER,
        _ => return Err(Unusable::Malformed),
    };
    let rights = self::rights(rights).ok_or(Unusable::Malformed)?;
    let id = match kind {
        USER | GROUP => id(number.unwrap_or(name))?,
        _ => NOBODY,
    };
    Ok((kind, id, rights))
}

fn id(text: &str) -> Result<u32, Unusable> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Unusable::Named);
    }
    text.parse().ok().filter(|id| *id != NOBODY).ok_or(Unusable::Malformed)
}

/// `r-x` is 5.
fn rights(text: &str) -> Option<u16> {
    let known = text.bytes().all(|byte| b"rwx-".contains(&byte));
    let has = |letter, bit| if text.contains(letter) { bit } else { 0 };
    (known && text.len() <= 3).then(|| has('r', 4) | has('w', 2) | has('x', 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_list_becomes_the_kernels_bytes() {
        let value = attribute(b"user::rwx\ngroup::r-x\nmask::r-x\nother::---\nuser:1000:rw-\n");
        #[rustfmt::skip]
        let wanted = [
            2, 0, 0, 0,
            1, 0, 7, 0, 255, 255, 255, 255,
            2, 0, 6, 0, 0xe8, 3, 0, 0,
            4, 0, 5, 0, 255, 255, 255, 255,
            16, 0, 5, 0, 255, 255, 255, 255,
            32, 0, 0, 0, 255, 255, 255, 255,
        ];
        assert_eq!(value.as_deref(), Ok(&wanted[..]));
        let same = b"u::rwx,u:mail:rw:1000,g::rx,m:r-x,o:--- # of others";
        assert_eq!(attribute(same).as_deref(), Ok(&wanted[..]));
    }

    #[test]
    fn what_is_no_list_is_refused_and_what_has_names_is_told_apart() {
        let whole = "user::rwx,group::r-x,other::---";
        assert!(attribute(whole.as_bytes()).is_ok());
        for more in ["mask::r-x,user:mail:r--", "mask::r-x,group:mail:r--"] {
            assert_eq!(attribute(format!("{whole},{more}").as_bytes()), Err(Unusable::Named));
        }
        for text in [
            "",
            "user::rwx",
            "user::rwx,group::r-x",
            &format!("{whole},user:7:r--"),
            &format!("{whole},mask::r-x,user:4294967295:r--"),
            &format!("{whole},mask::r-x,user:99999999999:r--"),
            &format!("{whole},other::r--"),
            &format!("{whole},mask::q--"),
            &format!("{whole},mask::rwxr"),
            &format!("{whole},mask:x:r--"),
            &format!("{whole},what::r--"),
            &format!("{whole},a"),
            "\u{e9}",
        ] {
            assert_eq!(attribute(text.as_bytes()), Err(Unusable::Malformed), "{text:?}");
        }
        assert_eq!(attribute(b"\xff"), Err(Unusable::Malformed));
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "[ugmo:,rwx0-9#\n-]{0,60}") {
            if let Ok(value) = attribute(text.as_bytes()) {
                prop_assert_eq!(value.len() % 8, 4);
            }
        }
    }
}

//! Users and groups by the new root's own files.
//!
//! The C library would ask NSS, and NSS loads code: after the change of root from the very tree
//! that nobody vouches for, and with root's privileges. So two small parsers read the text.

use common::Failure;

use crate::identity::Identity;

/// A line of `/etc/passwd`, see passwd(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    pub shell: String,
}

/// A line of `/etc/group`, see group(5).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// The accounts of a root file system.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
}

impl Accounts {
    /// Reads both files; a line that is not of the manual's form counts for nothing.
    pub fn parse(passwd: &str, group: &str) -> Self {
        Self {
            users: passwd.lines().filter_map(user).collect(),
            groups: group.lines().filter_map(group_line).collect(),
        }
    }

    /// The first user with this number.
    pub fn by_uid(&self, uid: u32) -> Option<&User> {
        self.users.iter().find(|user| user.uid == uid)
    }

    /// What `--user` and `--groups` ask for. As with chroot(1), the groups are those of USER if none
    /// are listed, and without a USER they stay as they are.
    pub fn identity(&self, spec: Option<&str>, list: Option<&str>) -> Result<Identity, Failure> {
        let who = spec.map_or(Ok(Identity::default()), |spec| self.spec(spec))?;
        let groups = match (list, who.uid, who.gid) {
            (Some(list), ..) => Some(self.gids(list)?),
            (None, Some(_), Some(gid)) => Some(self.groups_of(who.user.as_ref(), gid)),
            _ => None,
        };
        Ok(Identity { groups, ..who })
    }

    /// `USER`, `USER:GROUP`, `USER:` (the login group) or `:GROUP`; and where that names nobody,
    /// `USER.GROUP`, which was POSIX's before names had dots.
    fn spec(&self, spec: &str) -> Result<Identity, Failure> {
        if matches!(spec, "" | ":") {
            return Err(Failure::usage(format!("read a user from {spec:?}: it names nobody"))
                .hint("write USER, USER:GROUP or :GROUP; is a shell variable empty?"));
        }
        if let Some((name, group)) = spec.split_once(':') {
            return self.pair(name, group);
        }
        self.pair(spec, "").or_else(|failure| {
            let dotted = spec.split_once('.').map(|(name, group)| self.pair(name, group));
            dotted.and_then(Result::ok).ok_or(failure)
        })
    }

    fn pair(&self, name: &str, group: &str) -> Result<Identity, Failure> {
        let user = self.users.iter().find(|user| user.name == name);
        let uid = match (name, user) {
            ("", _) => None,
            (_, Some(user)) => Some(user.uid),
            _ => Some(id(name).ok_or_else(|| unknown("user", name, "passwd"))?),
        };
        let user = user.or_else(|| self.by_uid(uid?)).cloned();
        let gid = match (group, &user) {
            ("", Some(user)) => user.gid,
            ("", None) => return Err(no_group(name)),
            _ => self.gid(group)?,
        };
        Ok(Identity { uid, gid: Some(gid), user, groups: None })
    }

    fn gid(&self, name: &str) -> Result<u32, Failure> {
        let group = self.groups.iter().find(|group| group.name == name);
        group
            .map(|group| group.gid)
            .or_else(|| id(name))
            .ok_or_else(|| unknown("group", name, "group"))
    }

    fn gids(&self, list: &str) -> Result<Vec<u32>, Failure> {
        let names: Vec<&str> = list.split(',').filter(|name| !name.is_empty()).collect();
        if names.is_empty() && !list.is_empty() {
            return Err(Failure::usage(format!("read groups from {list:?}: it names none"))
                .hint("an empty list is --groups="));
        }
        names.into_iter().map(|name| self.gid(name)).collect()
    }

    /// The groups that list the user, and the one it runs in, as initgroups(3) has them; none if
    /// nothing is known of it.
    fn groups_of(&self, user: Option<&User>, gid: u32) -> Vec<u32> {
        let Some(user) = user else { return Vec::new() };
        let listed = self.groups.iter().filter(|group| group.members.contains(&user.name));
        let mut gids: Vec<u32> = listed.map(|group| group.gid).chain([gid]).collect();
        gids.sort_unstable();
        gids.dedup();
        gids
    }
}

fn unknown(kind: &str, name: &str, file: &str) -> Failure {
    let hint = match is_number(name) {
        true => "ids go from 0 to 4294967294; the one above means \"no change\" to the kernel",
        false => "a number is taken as it is, as in -u 1000:1000",
    };
    Failure::new(format!("look up the {kind} {name:?}: not in the root's /etc/{file}")).hint(hint)
}

fn no_group(name: &str) -> Failure {
    Failure::new(format!("find the group of user {name:?}: not in the root's /etc/passwd"))
        .hint(format!("name the group too: -u {name}:{name}"))
}

/// A user or group number: decimal, perhaps with chroot(1)'s `+`; 2^32-1 means "no change" to the
/// kernel, and is none.
fn id(text: &str) -> Option<u32> {
    let digits = is_number(text).then(|| text.strip_prefix('+').unwrap_or(text))?;
    digits.parse().ok().filter(|id| *id != u32::MAX)
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// `name:password:uid:gid:gecos:home:shell`, of which some become variables, so there is no NUL.
fn user(line: &str) -> Option<User> {
    if line.contains('\0') {
        return None;
    }
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, shell] = fields.as_slice() else { return None };
    Some(User {
        name: (*name).to_owned(),
        uid: id(uid)?,
        gid: id(gid)?,
        home: (*home).to_owned(),
        shell: (*shell).to_owned(),
    })
}

/// `name:password:gid:member,member`; glibc passes over blanks before a member, and none behind it.
fn group_line(line: &str) -> Option<Group> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, gid, members] = fields.as_slice() else { return None };
    let members = members.split(',').map(|name| name.trim_ascii_start().to_owned()).collect();
    Some(Group { name: (*name).to_owned(), gid: id(gid)?, members })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/ash\nbob:x:1000:100::/home/bob:/bin/sh\n\
        j.doe:x:1001:100::/:\n# a comment\nbroken:x:1\nodd:x:-1:0::/:\nnul:x:9:9::/a\0b:\n";
    const GROUP: &str = "root:x:0:root\nusers:x:100:\naudio:x:29:bob,alice\nvideo:x:44:bob\n";

    type Numbers = (Option<u32>, Option<u32>, Option<Vec<u32>>);

    fn identity(spec: Option<&str>, list: Option<&str>) -> Result<Numbers, String> {
        Accounts::parse(PASSWD, GROUP)
            .identity(spec, list)
            .map(|who| (who.uid, who.gid, who.groups))
            .map_err(|failure| failure.lines("chrootx"))
    }

    #[test]
    fn every_spelling_of_a_user() {
        for (spec, list, uid, gid, groups) in [
            ("bob", None, Some(1000), 100, Some(vec![29, 44, 100])),
            ("bob:", None, Some(1000), 100, Some(vec![29, 44, 100])),
            ("bob:audio", None, Some(1000), 29, Some(vec![29, 44])),
            ("1000", None, Some(1000), 100, Some(vec![29, 44, 100])),
            ("+1000:+5", None, Some(1000), 5, Some(vec![5, 29, 44])),
            ("77:88", None, Some(77), 88, Some(vec![])),
            (":video", None, None, 44, None),
            (":video", Some("9"), None, 44, Some(vec![9])),
            ("bob.audio", None, Some(1000), 29, Some(vec![29, 44])),
            ("j.doe", None, Some(1001), 100, Some(vec![100])),
            ("77.88", None, Some(77), 88, Some(vec![])),
            ("bob", Some(""), Some(1000), 100, Some(vec![])),
            ("bob", Some("video,7"), Some(1000), 100, Some(vec![44, 7])),
        ] {
            let wanted = (uid, Some(gid), groups);
            assert_eq!(identity(Some(spec), list).expect("a good spec"), wanted, "{spec} {list:?}");
        }
        let alone = identity(None, Some("video"));
        assert_eq!(alone, Ok((None, None, Some(vec![44]))));
        assert_eq!(identity(None, None), Ok((None, None, None)));
    }

    #[test]
    fn nobody_is_guessed() {
        for (spec, list, why) in [
            ("", None, "it names nobody"),
            (":", None, "it names nobody"),
            ("alice", None, "look up the user \"alice\""),
            ("broken", None, "look up the user"),
            ("odd", None, "look up the user"),
            ("nul", None, "look up the user"),
            ("-1", None, "look up the user"),
            ("0x0:0", None, "look up the user"),
            ("4294967295:0", None, "look up the user"),
            ("4294967296:0", None, "look up the user"),
            ("77", None, "name the group too: -u 77:77"),
            ("bob:nogroup", None, "look up the group \"nogroup\""),
            ("bob.nogroup", None, "look up the user \"bob.nogroup\""),
            ("bob", Some(","), "it names none"),
            ("bob", Some("users,wheel"), "look up the group \"wheel\""),
        ] {
            let lines = identity(Some(spec), list).expect_err("a bad spec");
            assert!(lines.contains(why), "{spec}: {lines}");
        }
    }
}

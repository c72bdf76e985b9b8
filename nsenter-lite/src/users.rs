//! Who is who in a new user namespace: the options of unshare(1), and the map that comes of them.

use std::iter;
use std::ops::Range;
use std::str::FromStr;

use clap::ValueEnum;
use common::idmap::{By, IdMap, Writer};
use common::subordinate::{self, Extent, GROUPS, NOBODY, USERS, USUAL, decimal};
use common::sys::power;
use common::{Failure, file};
use nix::unistd::{Group, Uid, User, getegid, geteuid};

/// Whose ids are mapped to which.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Ids {
    /// Be root in a new user namespace (implies --user and --setgroups deny)
    #[arg(short = 'r', long)]
    pub map_root_user: bool,
    /// Be oneself in a new user namespace (implies --user and --setgroups deny)
    #[arg(short = 'c', long, conflicts_with = "map_root_user")]
    pub map_current_user: bool,
    /// Be this user in a new user namespace, by number or name (implies --user)
    #[arg(long, value_name = "UID|NAME", conflicts_with = "map_current_user")]
    pub map_user: Option<String>,
    /// Be in this group there (implies --user and --setgroups deny)
    #[arg(long, value_name = "GID|NAME", conflicts_with = "map_current_user")]
    pub map_group: Option<String>,
    /// Map COUNT users there to those from OUTER on outside; may be repeated (implies --user)
    ///
    /// `auto` maps all that /etc/subuid gives the user to what is free from 0 on, `subids` maps them
    /// to themselves, `all` every user that there is here to itself. OUTER,INNER,COUNT is the older
    /// form. What root asks for is written by nsenter-lite, else newuidmap(1) and newgidmap(1) do it.
    #[arg(long, value_name = "INNER:OUTER:COUNT")]
    pub map_users: Vec<Part>,
    /// The same for groups, with /etc/subgid
    #[arg(long, value_name = "INNER:OUTER:COUNT")]
    pub map_groups: Vec<Part>,
    /// --map-users auto --map-groups auto
    #[arg(long)]
    pub map_auto: bool,
    /// --map-users subids --map-groups subids
    #[arg(long, conflicts_with = "map_auto")]
    pub map_subids: bool,
    /// Whether setgroups(2) is allowed in a new user namespace
    #[arg(long, value_enum, value_name = "HOW")]
    pub setgroups: Option<Setgroups>,
}

/// What `--setgroups` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Setgroups {
    /// As the kernel has it by default
    Allow,
    /// What an ordinary user must say to map a group
    Deny,
}

impl Setgroups {
    /// The kernel's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// What `--map-users` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// So many ids.
    Extent(Extent),
    /// The subordinate ones, to what is free from 0 on.
    Auto,
    /// The subordinate ones, to themselves.
    Subids,
    /// All that there are here, to themselves.
    All,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "subids" => return Ok(Self::Subids),
            "all" => return Ok(Self::All),
            _ => {}
        }
        let old = text.contains(',');
        let numbers: Result<Vec<u32>, _> =
            text.split(if old { ',' } else { ':' }).map(decimal).collect();
        let numbers = match numbers.as_deref() {
            Ok(&[outside, inside, count]) if old => [inside, outside, count],
            Ok(&[inside, outside, count]) => [inside, outside, count],
            _ => return Err("write INNER:OUTER:COUNT, as 0:100000:65536, or auto".into()),
        };
        Extent::of(numbers)
            .map(Self::Extent)
            .ok_or_else(|| format!("there are no such ids: they are 0 to {}", NOBODY - 1))
    }
}

/// The map, and who writes it: `None` is the process itself, which may map its own user and group
/// to whatever it likes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    pub map: IdMap,
    pub by: Option<By>,
}

/// The machine, as far as it says who may be who.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub uid: u32,
    pub gid: u32,
    pub name: Option<String>,
    /// Whether this process may write any map.
    pub has_power: bool,
    /// The texts of `/etc/subuid` and `/etc/subgid`.
    pub subordinate: [String; 2],
    /// The texts of our own `uid_map` and `gid_map`.
    pub mapped: [String; 2],
}

impl Known {
    /// Looks, as far as a map is asked for.
    pub fn of_this_process(ids: &Ids) -> Self {
        const SETGID_AND_SETUID: u64 = 1 << 6 | 1 << 7;
        let caller = Self { uid: geteuid().as_raw(), gid: getegid().as_raw(), ..Self::default() };
        if !ids.ask_for_more_than_oneself() {
            return caller;
        }
        let has = power::capabilities().map_or(0, |has| has.effective) & SETGID_AND_SETUID;
        let text = |file| file::text(file).unwrap_or_default();
        Self {
            name: ids.ask_for_subordinate().then(own_name).flatten(),
            has_power: has == SETGID_AND_SETUID,
            subordinate: [USERS, GROUPS].map(text),
            mapped: ["/proc/self/uid_map", "/proc/self/gid_map"].map(text),
            ..caller
        }
    }

    fn given(&self, side: usize) -> Vec<Range<u64>> {
        subordinate::given(&self.subordinate[side], self.name.as_deref(), self.uid)
    }

    fn here(&self, side: usize) -> Vec<Range<u64>> {
        let line = |line: &str| {
            let numbers: Vec<u64> =
                line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            Some(*numbers.first()?..numbers.first()? + numbers.get(2)?)
        };
        self.mapped[side].lines().filter_map(line).collect()
    }
}

/// By getpwuid(3): glibc asks whatever /etc/nsswitch.conf names, musl /etc/passwd alone.
fn own_name() -> Option<String> {
    User::from_uid(Uid::effective()).ok().flatten().map(|user| user.name)
}

impl Ids {
    /// Whether one of these asks for what subuid(5) gives the user, who has a name there.
    fn ask_for_subordinate(&self) -> bool {
        let is_extent = |part: &Part| matches!(part, Part::Extent(_));
        let mut parts = self.map_users.iter().chain(&self.map_groups);
        self.map_auto || self.map_subids || !parts.all(is_extent)
    }

    /// Whether one of these asks for ids that are not, or may not be, the caller's own.
    fn ask_for_more_than_oneself(&self) -> bool {
        self.map_auto
            || self.map_subids
            || !self.map_users.is_empty()
            || !self.map_groups.is_empty()
    }

    /// Whether one of these asks for a user namespace.
    pub fn ask(&self) -> bool {
        self.given().is_some_and(|option| option != "--setgroups")
    }

    /// The first of these that is there. --setgroups is for a user namespace that others ask for.
    pub fn given(&self) -> Option<&'static str> {
        let options = [
            ("--map-root-user", self.map_root_user),
            ("--map-current-user", self.map_current_user),
            ("--map-user", self.map_user.is_some()),
            ("--map-group", self.map_group.is_some()),
            ("--map-auto", self.map_auto),
            ("--map-subids", self.map_subids),
            ("--map-users", !self.map_users.is_empty()),
            ("--map-groups", !self.map_groups.is_empty()),
            ("--setgroups", self.setgroups.is_some()),
        ];
        options.into_iter().find(|(_, given)| *given).map(|(option, _)| option)
    }

    /// The map that is asked for.
    pub fn mapping(&self, known: &Known) -> Result<Mapping, Failure> {
        let parts = [self.parts(&self.map_users), self.parts(&self.map_groups)];
        check_given(&parts, known)?;
        let users = extents(self.user(known)?, &parts[0], known, 0)?;
        let groups = extents(self.group(known)?, &parts[1], known, 1)?;
        let own = |extents: &[Extent], me: u32| {
            extents.iter().all(|part| part.count == 1 && part.outside == u64::from(me))
        };
        let by = match own(&users, known.uid) && own(&groups, known.gid) {
            true => None,
            false if known.has_power => Some(By::Itself),
            false => Some(By::Programs),
        };
        if self.setgroups == Some(Setgroups::Allow) && by.is_none() && !groups.is_empty() {
            return Err(Failure::usage("allow setgroups while mapping oneself").hint(
                "the kernel maps a group for an ordinary user only where setgroups is denied",
            ));
        }
        Ok(Mapping { map: IdMap { users, groups }, by })
    }

    fn parts(&self, named: &[Part]) -> Vec<Part> {
        let auto = self.map_auto.then_some(Part::Auto);
        let subids = self.map_subids.then_some(Part::Subids);
        named.iter().cloned().chain(auto).chain(subids).collect()
    }

    /// Who the caller is inside.
    fn user(&self, known: &Known) -> Result<Option<u32>, Failure> {
        let by_name =
            |name: &str| User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
        match &self.map_user {
            Some(text) => id(text, "user", by_name).map(Some),
            None => Ok(self.oneself(known.uid)),
        }
    }

    fn group(&self, known: &Known) -> Result<Option<u32>, Failure> {
        let by_name =
            |name: &str| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
        match &self.map_group {
            Some(text) => id(text, "group", by_name).map(Some),
            None => Ok(self.oneself(known.gid)),
        }
    }

    fn oneself(&self, me: u32) -> Option<u32> {
        let current = self.map_current_user.then_some(me);
        if self.map_root_user { Some(0) } else { current }
    }
}

/// Subordinate ids that are asked for must be there.
fn check_given(parts: &[Vec<Part>; 2], known: &Known) -> Result<(), Failure> {
    let lacks = |side: usize| {
        let asked = parts[side].iter().any(|part| matches!(part, Part::Auto | Part::Subids));
        asked && known.given(side).is_empty()
    };
    let (files, users, groups) = match (lacks(0), lacks(1)) {
        (false, false) => return Ok(()),
        (true, true) => (format!("{USERS} and {GROUPS}"), USUAL, USUAL),
        (true, false) => (USERS.into(), USUAL, 0),
        (false, true) => (GROUPS.into(), 0, USUAL),
    };
    let who = known.name.as_ref().map_or_else(|| known.uid.to_string(), |n| format!("{n:?}"));
    let failure = Failure::new(format!("map subordinate ids: {who} has none in {files}"));
    Err(match subordinate::add(users, groups) {
        Some(command) => failure.hint(command),
        None => failure,
    })
}

/// A number, or a name that the machine knows.
pub fn id(text: &str, what: &str, by_name: impl Fn(&str) -> Option<u32>) -> Result<u32, Failure> {
    let number = subordinate::id(text).ok();
    number.or_else(|| by_name(text)).ok_or_else(|| {
        let file = if what == "user" { "/etc/passwd" } else { "/etc/group" };
        Failure::usage(format!("find the {what} {text:?}: there is none"))
            .hint(format!("a decimal number needs no line in {file}"))
    })
}

/// The map of one side: 0 is users, 1 is groups. Where the caller is somebody inside, that place is
/// left out of what else is mapped, on both sides, as unshare(1) does.
fn extents(
    oneself: Option<u32>,
    parts: &[Part],
    known: &Known,
    side: usize,
) -> Result<Vec<Extent>, Failure> {
    let me: u64 = [known.uid, known.gid][side].into();
    let oneself = oneself.map(|inside| Extent { inside: inside.into(), outside: me, count: 1 });
    let mut extents: Vec<Extent> = oneself.into_iter().collect();
    // What is said exactly comes first; the rest takes what that leaves.
    for part in parts
        .iter()
        .filter(|part| matches!(part, Part::Extent(_)))
        .chain(parts.iter().filter(|part| !matches!(part, Part::Extent(_))))
    {
        let (inner, outer) = match part {
            Part::Extent(Extent { inside, outside, count }) => {
                let own = extents.get(..oneself.iter().count()).unwrap_or_default();
                let inner = free(iter::once(*inside..inside + count), own, inside_of);
                (inner, free(iter::once(*outside..outside + count), own, outside_of))
            }
            Part::Auto => (
                free(iter::once(0..NOBODY), &extents, inside_of),
                free(known.given(side), &extents, outside_of),
            ),
            Part::Subids | Part::All => {
                let ids = match part {
                    Part::All => known.here(side),
                    _ => known.given(side),
                };
                let ids = free(free(ids, &extents, inside_of), &extents, outside_of);
                (ids.clone(), ids)
            }
        };
        extents.extend(subordinate::pair(&inner, &outer));
    }
    check_twice(&extents, side)?;
    Ok(extents)
}

fn inside_of(part: &Extent) -> Range<u64> {
    part.inside..part.inside + part.count
}

fn outside_of(part: &Extent) -> Range<u64> {
    part.outside..part.outside + part.count
}

fn free(
    ids: impl IntoIterator<Item = Range<u64>>,
    taken: &[Extent],
    range: impl Fn(&Extent) -> Range<u64>,
) -> Vec<Range<u64>> {
    let ids = ids.into_iter().collect();
    taken.iter().fold(ids, |ids: Vec<_>, part| subordinate::without(&ids, range(part)))
}

fn check_twice(extents: &[Extent], side: usize) -> Result<(), Failure> {
    let what = ["user", "group"][side];
    for (where_, range) in [("inside", inside_of as fn(&Extent) -> _), ("outside", outside_of)] {
        let mut ranges: Vec<Range<u64>> = extents.iter().map(range).collect();
        ranges.sort_by_key(|ids| ids.start);
        if let Some(pair) = ranges.windows(2).find(|pair| pair[0].end > pair[1].start) {
            let id = pair[1].start;
            return Err(Failure::usage(format!("map {what}s: {what} {id} {where_} comes twice"))
                .hint("INNER:OUTER:COUNT takes COUNT ids from INNER and from OUTER on"));
        }
    }
    Ok(())
}

impl Mapping {
    /// Whoever writes it, if that is somebody else.
    pub fn writer(&self) -> Result<Option<Writer>, Failure> {
        self.by.map(|by| Writer::start("map users and groups", &self.map, by)).transpose()
    }

    /// Whether COMMAND is root there: if not, it has no capabilities.
    pub fn has_root(&self, uid: u32) -> bool {
        let zero = self.map.users.iter().find(|part| part.inside == 0);
        zero.is_some_and(|part| part.outside == u64::from(uid))
    }
}

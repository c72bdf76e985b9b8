//! Which entries are wanted, and where they go: `--exclude` and `--strip-components`, as GNU tar
//! has them.

use common::shell;

use crate::entry::{Entry, Kind};

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub strip: usize,
    pub exclude: Vec<Pattern>,
}

impl Names {
    /// The entry under its new name; `None` if it is left out.
    pub fn wanted(&self, mut entry: Entry) -> Option<Entry> {
        if self.excludes(&entry.name) {
            return None;
        }
        if self.strip > 0 {
            entry.name = stripped(&entry.name, self.strip)?.to_vec();
            // The target of a hard link is a name of the archive, too; that of a symbolic one not.
            if entry.kind == Kind::HardLink {
                entry.link = stripped(&entry.link, self.strip)?.to_vec();
            }
        }
        Some(entry)
    }

    pub fn excludes(&self, name: &[u8]) -> bool {
        self.exclude.iter().any(|pattern| pattern.matches(name))
    }

    /// The same for tar(1), as words behind a space. Where a pattern is for the top only, names
    /// may have `./` or a slash in front.
    pub fn options(&self) -> String {
        let option = |text: &str| format!(" --exclude={}", shell::quote(text));
        let patterns = self.exclude.iter().filter(|pattern| !pattern.text.is_empty());
        let mut options: String = patterns
            .map(|Pattern { text, anchored, .. }| match anchored {
                true => {
                    let all = ["", "./", "/"].map(|start| option(&format!("{start}{text}")));
                    format!(" --anchored{} --no-anchored", all.concat())
                }
                false => option(text),
            })
            .collect();
        if self.strip > 0 {
            options.extend([" --strip-components=", &self.strip.to_string()]);
        }
        options
    }
}

/// A name without its first parts, of which `.` is one; `None` if it has no more than these.
fn stripped(name: &[u8], count: usize) -> Option<&[u8]> {
    let mut rest = trim_slashes(name);
    for _ in 0..count {
        let slash = rest.iter().position(|byte| *byte == b'/')?;
        rest = trim_slashes(&rest[slash..]);
    }
    (!rest.is_empty()).then_some(rest)
}

fn trim_slashes(name: &[u8]) -> &[u8] {
    let start = name.iter().position(|byte| *byte != b'/').unwrap_or(name.len());
    &name[start..]
}

/// A pattern of the shell's kind. It matches a name from the beginning of any of its parts; one
/// that starts with a slash only from the top. What is in a folder that matches is left out with
/// it. `*` and `?` match slashes as well: `usr/*.pyc` is at any depth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// As it was given, but for slashes around it.
    pub text: String,
    /// From the top of the root only.
    pub anchored: bool,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    One(char),
    Any,
    Star,
    /// Ranges, and whether it is those that don't match.
    Set(Vec<(char, char)>, bool),
}

/// Whether a pattern matches from a part of a name on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Yes,
    No,
    /// Nor from any later one: a star has tried all that comes. A name may have two thousand parts.
    Never,
}

impl Pattern {
    pub fn new(text: &str) -> Self {
        let plain = text.strip_prefix("./").unwrap_or(text).trim_start_matches('/');
        let anchored = plain.len() < text.len();
        let plain = plain.trim_end_matches('/');
        Self { text: plain.to_owned(), anchored, parts: parts(&plain.chars().collect::<Vec<_>>()) }
    }

    pub fn matches(&self, name: &[u8]) -> bool {
        let name: Vec<char> = characters(name);
        let mut rest = &name[..];
        while let ['.', '/', after @ ..] | ['/', after @ ..] = rest {
            rest = after;
        }
        // The root itself, which is `.`, can't be left out.
        if self.parts.is_empty() || matches!(rest, [] | ['.']) {
            return false;
        }
        let starts = (0..rest.len()).filter(|at| *at == 0 || rest[at - 1] == '/');
        let starts = starts.take(if self.anchored { 1 } else { usize::MAX });
        let fits = starts.map(|at| self.fits(&rest[at..])).find(|fit| *fit != Fit::No);
        fits == Some(Fit::Yes)
    }

    /// Whether it matches up to the end of a part. A star takes as little as it can, and more
    /// where what comes after it does not fit; then no earlier star has to take more.
    fn fits(&self, name: &[char]) -> Fit {
        let (mut at, mut part) = (0, 0);
        let mut star = None;
        loop {
            let fits = match (self.parts.get(part), name.get(at)) {
                (None, None | Some('/')) => return Fit::Yes,
                (Some(Part::Star), _) => {
                    star = Some((part + 1, at));
                    part += 1;
                    continue;
                }
                (Some(part), Some(character)) => part.fits(*character),
                _ => false,
            };
            if fits {
                (at, part) = (at + 1, part + 1);
                continue;
            }
            match star {
                Some((after, from)) if from < name.len() => {
                    star = Some((after, from + 1));
                    (at, part) = (from + 1, after);
                }
                Some(_) => return Fit::Never,
                None => return Fit::No,
            }
        }
    }
}

impl Part {
    fn fits(&self, character: char) -> bool {
        match self {
            Self::One(one) => *one == character,
            Self::Any | Self::Star => true,
            Self::Set(ranges, not) => {
                ranges.iter().any(|(from, to)| (from..=to).contains(&&character)) != *not
            }
        }
    }
}

/// Bytes that are no UTF-8 stand for characters that no pattern has.
fn characters(name: &[u8]) -> Vec<char> {
    let invalid = |bytes: &[u8]| vec![char::REPLACEMENT_CHARACTER; bytes.len()];
    let chunks = name.utf8_chunks();
    chunks
        .flat_map(|chunk| [chunk.valid().chars().collect(), invalid(chunk.invalid())])
        .flatten()
        .collect()
}

fn parts(mut text: &[char]) -> Vec<Part> {
    let mut parts = Vec::new();
    while let [first, after @ ..] = text {
        let (part, rest) = match (first, after) {
            ('*', _) => (Part::Star, after),
            ('?', _) => (Part::Any, after),
            ('\\', [escaped, after @ ..]) => (Part::One(*escaped), after),
            ('[', _) => set(after).unwrap_or((Part::One('['), after)),
            _ => (Part::One(*first), after),
        };
        parts.push(part);
        text = rest;
    }
    parts
}

/// `a-z_]` and what follows; `None` where it does not end.
fn set(text: &[char]) -> Option<(Part, &[char])> {
    let (not, mut rest) = match text {
        ['!' | '^', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        match rest {
            [']', after @ ..] if !ranges.is_empty() => {
                return Some((Part::Set(ranges, not), after));
            }
            [from, '-', to, after @ ..] if *to != ']' => {
                ranges.push((*from, *to));
                rest = after;
            }
            ['\\', one, after @ ..] | [one, after @ ..] => {
                ranges.push((*one, *one));
                rest = after;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_from_any_part_to_the_end_of_any() {
        for (pattern, matching, others) in [
            ("doc", &["doc", "usr/doc", "usr/doc/x", "./doc/", "/doc"][..], &["docs", "mydoc"][..]),
            ("/doc", &["doc", "./doc/x", "/doc"], &["usr/doc"]),
            ("./doc/", &["doc", "./doc/x"], &["usr/doc"]),
            ("usr/doc", &["usr/doc/a", "x/usr/doc"], &["usr/x/doc"]),
            ("*.pyc", &["a.pyc", "x/y/b.pyc", ".pyc"], &["a.py", "a.pyc2"]),
            ("usr/*/doc", &["usr/a/doc", "usr/a/b/doc/x"], &["usr/doc"]),
            ("a?c", &["abc", "a\u{e9}c", "a/c"], &["ac", "abbc"]),
            ("[a-c]x[!0-9]", &["axb", "cx-"], &["dxb", "ax1"]),
            ("[]x]", &["]", "x"], &["y"]),
            ("[x", &["[x"], &["x"]),
            ("\\*", &["*"], &["a"]),
            ("*", &["a", "a/b"], &[]),
            ("", &[], &["a", ""]),
            ("/", &[], &["a"]),
            ("/.", &[], &[".", "./", "./a"]),
            ("*", &[".a"], &[".", "./"]),
        ] {
            let pattern = Pattern::new(pattern);
            for name in matching {
                assert!(pattern.matches(name.as_bytes()), "{pattern:?} {name:?}");
            }
            for name in others {
                assert!(!pattern.matches(name.as_bytes()), "{pattern:?} {name:?}");
            }
        }
        assert!(
            Pattern::new("a*b").matches(b"a\xff\xfeb") && !Pattern::new("ab").matches(b"a\xffb")
        );
    }

    #[test]
    fn the_first_parts_go() {
        for (name, count, wanted) in [
            ("a/b/c", 1, Some("b/c")),
            ("./a/b", 1, Some("a/b")),
            ("//a//b/", 1, Some("b/")),
            ("a/", 1, None),
            ("a", 1, None),
            ("a/b/", 2, None),
            ("/a/b", 0, Some("a/b")),
        ] {
            assert_eq!(stripped(name.as_bytes(), count), wanted.map(str::as_bytes), "{name}");
        }
    }

    /// By the book, and slow.
    fn plainly(parts: &[Part], name: &[char]) -> bool {
        match (parts, name) {
            ([], [] | ['/', ..]) => true,
            ([Part::Star, rest @ ..], _) => (0..=name.len()).any(|at| plainly(rest, &name[at..])),
            ([part, parts @ ..], [first, name @ ..]) => part.fits(*first) && plainly(parts, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn stars_take_what_they_have_to(pattern in "[ab*?/]{0,8}", name in "[ab/]{0,10}") {
            let pattern = Pattern::new(&pattern);
            let characters: Vec<char> = name.chars().collect();
            let fits = pattern.fits(&characters) == Fit::Yes;
            prop_assert_eq!(fits, plainly(&pattern.parts, &characters));
            let rest = name.trim_start_matches('/');
            let starts = rest.match_indices('/').map(|(at, _)| at + 1).filter(|at| *at < rest.len());
            let mut starts = [0].into_iter().chain(starts.filter(|_| !pattern.anchored));
            let any = starts.any(|at| plainly(&pattern.parts, &rest.chars().collect::<Vec<_>>()[at..]));
            let names = !rest.is_empty() && !pattern.parts.is_empty();
            prop_assert_eq!(pattern.matches(name.as_bytes()), names && any);
        }
    }
}

//! Overlays that are asked for: folders one above the other, and what is changed goes to one of them
//! alone. See overlayfs in the kernel's documentation.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use common::sys::filesystem::Context;
use common::{Failure, Tried, shell};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::attach::explain_privilege;
use crate::cli::wrong;
use crate::options::Options;
use crate::place;
use crate::spec::place_inside;

/// The layers of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    /// The topmost first.
    lower: Vec<PathBuf>,
    /// Where changes go, and where the kernel prepares them; without, it can only be read.
    upper: Option<[PathBuf; 2]>,
    options: Options,
}

/// An overlay, and where it is mounted in a root; `None` for the root itself.
pub type Asked = (Option<PathBuf>, Layers);

impl Layers {
    /// Reads `LOWER[,LOWER]...:UPPER:WORK[:DST[:OPTIONS]]`.
    pub fn parse(text: &OsStr) -> Result<Asked, Failure> {
        let parts = split(text.as_bytes(), b':', 5);
        let [lower, upper, work, more @ ..] = parts.as_slice() else { return Err(no(text)) };
        let lower: Vec<PathBuf> =
            split(lower, b',', usize::MAX).into_iter().map(unescaped).collect();
        let upper = match (upper.is_empty(), work.is_empty()) {
            (false, false) => Some([unescaped(upper), unescaped(work)]),
            (true, true) if lower.len() > 1 => None,
            _ => return Err(no(text)),
        };
        if lower.iter().any(|path| path.as_os_str().is_empty()) {
            return Err(no(text));
        }
        let dst = more.first().map(unescaped).unwrap_or_default();
        let own = more.get(1).map_or(Some(""), |own| std::str::from_utf8(own).ok());
        // The kernel gives such a file system, but not its mount, the flag that says so.
        let can_be_written = if upper.is_some() { "" } else { "ro" };
        let options = Options::parse(can_be_written)?.and(own.unwrap_or("?"))?;
        if options.recursive || options.idmap.is_some() {
            return Err(wrong("an overlay has no mounts below it, and its owners can't be mapped"));
        }
        let is_root = dst.components().all(|name| name == Component::RootDir);
        let at = match is_root {
            true => None,
            false => Some(place_inside(dst.as_os_str(), text)?),
        };
        Ok((at, Self { lower, upper, options }))
    }

    /// Those that are asked for. One at most can be the root itself.
    pub fn parse_all(texts: &[OsString]) -> Result<Vec<Asked>, Failure> {
        let asked: Vec<Asked> =
            texts.iter().map(|text| Self::parse(text)).collect::<Result<_, _>>()?;
        match asked.iter().filter(|(at, _)| at.is_none()).count() {
            0 | 1 => Ok(asked),
            _ => Err(wrong("only one --overlay can be ROOTFS itself, the others have a DST")),
        }
    }

    /// Whether what is changed goes to a folder above.
    pub fn keeps_changes(&self) -> bool {
        self.upper.is_some()
    }

    /// The folders, which must be there, the topmost first.
    pub fn check(&self) -> Result<Vec<PathBuf>, Failure> {
        let folders = self.folders();
        folders.iter().try_for_each(|path| layer(path).map(drop))?;
        Ok(folders)
    }

    fn folders(&self) -> Vec<PathBuf> {
        let upper = self.upper.iter().map(|[upper, _]| upper);
        upper.chain(&self.lower).cloned().collect()
    }

    /// How it is mounted.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Makes it; in a user namespace or not.
    pub fn make(&self, user: bool) -> Result<OwnedFd, Failure> {
        let lower = self.lower.iter().map(|path| layer(path)).collect::<Result<Vec<_>, _>>()?;
        let upper = match &self.upper {
            Some([upper, work]) => Some([layer(upper)?, layer(work)?]),
            None => None,
        };
        mount(&lower, upper.as_ref(), user)
            .tried(|| format!("make an overlay of {:?}", self.folders()))
            .map_err(|failure| self.explain(failure, upper.as_ref()))
    }

    /// The options of mount(8) for it, as a word of a script.
    pub fn words(&self, user: bool) -> String {
        let lower: Vec<_> = self.lower.iter().map(|path| escaped(path)).collect();
        let mut words = [b"lowerdir=", lower.join(&b':').as_slice()].concat();
        for (key, path) in [",upperdir=", ",workdir="].iter().zip(self.upper.iter().flatten()) {
            words.extend([key.as_bytes(), &escaped(path)].concat());
        }
        if user {
            words.extend(b",userxattr");
        }
        shell::word(OsString::from_vec(words))
    }

    fn explain(&self, failure: Failure, upper: Option<&[OwnedFd; 2]>) -> Failure {
        let Some(([upper, work], paths)) = upper.zip(self.upper.as_ref()) else {
            return explain_any(failure);
        };
        let [upper_word, work_word] = paths.each_ref().map(shell::operand);
        let failure = failure
            .hint_if(Errno::EBUSY, || {
                format!("another overlay has {upper_word} or {work_word}: findmnt -t overlay")
            })
            .hint_if(Errno::ESTALE, || {
                format!("{upper_word} belongs to other lower folders; take a new UPPER and WORK")
            });
        match trap(upper, work) {
            Some(what) => failure.hint_if(Errno::EINVAL, || what),
            None => explain_any(failure),
        }
    }
}

/// Makes an overlay, which lies nowhere yet.
///
/// Since Linux 6.13 the layers can be given as open folders, and the mount table has their names.
/// Before, they are given by names of the descriptors, in which nothing has to be escaped. Before
/// 6.5 the kernel has said EOPNOTSUPP to a descriptor, since then EINVAL.
///
/// The kernel keeps its notes about what was removed in `trusted.` attributes, which are for the
/// machine's root alone; `userxattr` has them in `user.` ones.
pub fn mount(lower: &[OwnedFd], upper: Option<&[OwnedFd; 2]>, user: bool) -> nix::Result<OwnedFd> {
    match by_descriptor(lower, upper, user) {
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => by_name(lower, upper, user),
        made => made,
    }
}

const UPPER: [&CStr; 2] = [c"upperdir", c"workdir"];

fn by_descriptor(
    lower: &[OwnedFd],
    upper: Option<&[OwnedFd; 2]>,
    user: bool,
) -> nix::Result<OwnedFd> {
    let context = start(user)?;
    lower.iter().try_for_each(|layer| context.set_open(c"lowerdir+", layer))?;
    let upper = UPPER.iter().zip(upper.into_iter().flatten());
    upper.into_iter().try_for_each(|(key, layer)| context.set_open(key, layer))?;
    context.mount(0)
}

fn by_name(lower: &[OwnedFd], upper: Option<&[OwnedFd; 2]>, user: bool) -> nix::Result<OwnedFd> {
    let text = |text: String| CString::new(text).map_err(|_| Errno::EINVAL);
    let name = |layer: &OwnedFd| format!("/proc/self/fd/{}", layer.as_raw_fd());
    let context = start(user)?;
    let names: Vec<String> = lower.iter().map(name).collect();
    context.set(c"lowerdir", &text(names.join(":"))?)?;
    for (key, layer) in UPPER.iter().zip(upper.into_iter().flatten()) {
        context.set(key, &text(name(layer))?)?;
    }
    context.mount(0)
}

fn start(user: bool) -> nix::Result<Context> {
    let context = Context::open(c"overlay")?;
    context.set(c"source", c"overlay")?;
    if user {
        context.set(c"userxattr", c"")?;
    }
    Ok(context)
}

fn layer(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).tried(|| format!("open the layer {path:?}")).map_err(
        |failure| {
            failure
                .hint_if(Errno::ENOENT, || {
                    format!("layers are folders of yours: mkdir -p {}", shell::operand(path))
                })
                .hint_if(Errno::ENOTDIR, || "a layer is a folder".into())
        },
    )
}

/// What the kernel calls EINVAL, and tells its log.
fn trap(upper: &OwnedFd, work: &OwnedFd) -> Option<String> {
    let names = [upper, work].map(|layer| place::name(layer).unwrap_or_default());
    let [upper_name, work_name] = &names;
    if fstatfs(upper).is_ok_and(|on| on.filesystem_type() == OVERLAYFS_SUPER_MAGIC) {
        return Some(
            "UPPER is on an overlay itself, as in a container; it must be on a disk, or in memory"
                .into(),
        );
    }
    if fstatvfs(upper).is_ok_and(|on| on.flags().contains(FsFlags::ST_RDONLY)) {
        return Some("UPPER is on a mount that can only be read; findmnt -T shows which".into());
    }
    if upper_name.starts_with(work_name) || work_name.starts_with(upper_name) {
        return Some("UPPER and WORK must not be one in the other: name two neighbours".into());
    }
    let mounts = [upper, work].map(place::mount_number);
    (mounts[0] != mounts[1]).then(|| {
        "WORK must be on the same mount as UPPER, for what is ready there is renamed into it".into()
    })
}

/// What may be wrong of any overlay.
pub fn explain_any(failure: Failure) -> Failure {
    explain_privilege(failure)
        .hint_if(Errno::ENODEV, || "this kernel has no overlayfs: modprobe overlay".into())
        .hint_if(Errno::ELOOP, || "no layer may be inside another one".into())
        .hint_if(Errno::EINVAL, || {
            "overlays lie two deep at most, and UPPER's file system must be writable and keep \
             extended attributes; the kernel's log has the reason: dmesg"
                .into()
        })
}

/// The parts at bytes that have no backslash before them; escapes stay.
fn split(text: &[u8], at: u8, most: usize) -> Vec<&[u8]> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (here, byte) in text.iter().enumerate() {
        if *byte == at && !escaped && parts.len() + 1 < most {
            parts.push(&text[start..here]);
            start = here + 1;
        }
        escaped = *byte == b'\\' && !escaped;
    }
    parts.push(&text[start..]);
    parts
}

const SPECIAL: &[u8] = b"\\:,";

fn unescaped(text: impl AsRef<[u8]>) -> PathBuf {
    let mut bytes = text.as_ref().iter().copied().peekable();
    let mut path = Vec::new();
    while let Some(byte) = bytes.next() {
        let special = bytes.next_if(|next| byte == b'\\' && SPECIAL.contains(next));
        path.push(special.unwrap_or(byte));
    }
    OsString::from_vec(path).into()
}

/// As mount(8) and the kernel take apart what is in their options.
fn escaped(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes();
    let escape = |byte: &u8| if SPECIAL.contains(byte) { vec![b'\\', *byte] } else { vec![*byte] };
    bytes.iter().flat_map(escape).collect()
}

fn no(text: &OsStr) -> Failure {
    Failure::usage(format!(
        "read the overlay {text:?}: not of the form LOWER[,LOWER]...:UPPER:WORK[:DST[:OPTIONS]]"
    ))
    .hint(
        "as in --overlay rootfs:changes:work; without changes, two lower folders: a,b::; a colon \
         or comma in a path is written \\: or \\,",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Asked, String> {
        Layers::parse(OsStr::new(text)).map_err(|failure| failure.lines("bindmount"))
    }

    #[test]
    fn the_forms_of_an_overlay() {
        for (text, at, folders, words) in [
            ("a:b:c", None, &["b", "a"][..], "lowerdir=a,upperdir=b,workdir=c"),
            ("a:b:c:/", None, &["b", "a"], "lowerdir=a,upperdir=b,workdir=c"),
            ("a,d:b:c:/x", Some("/x"), &["b", "a", "d"], "lowerdir=a:d,upperdir=b,workdir=c"),
            ("a,b::", None, &["a", "b"], "lowerdir=a:b"),
            (
                r"a\,\:\\\x:b:c:y:nodev,ro",
                Some("y"),
                &["b", r"a,:\\x"],
                r"'lowerdir=a\,\:\\\\x,upperdir=b,workdir=c'",
            ),
        ] {
            let (seen, layers) = parse(text).expect("a good one");
            assert_eq!(seen, at.map(PathBuf::from), "{text}");
            assert_eq!(layers.folders(), folders.iter().map(PathBuf::from).collect::<Vec<_>>());
            assert_eq!(layers.words(false), words, "{text}");
        }
        assert_eq!(parse("a:b:c:y:nodev,ro").expect("good").1.options().words(), "ro,nodev");
        assert_eq!(parse("a,b:::/x:nodev").expect("good").1.options().words(), "ro,nodev");
        assert!(parse("a:b:c").expect("good").1.words(true).ends_with(",userxattr"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "a", "a:b", "a::", "a:b:", "a::c", ":b:c", "a,:b:c", r"a\:b:c"] {
            assert!(parse(text).expect_err(text).contains("not of the form"), "{text}");
        }
        assert!(parse("a:b:c:/../x").expect_err("up").contains("is no place in ROOTFS"));
        for word in ["rbind", "X-mount.idmap=u:0:1:1"] {
            let text = format!("a:b:c:x:{word}");
            assert!(parse(&text).expect_err(word).contains("can't be mapped"), "{word}");
        }
        assert!(parse("a:b:c:x:huge").expect_err("no option").contains("\"huge\""));
        let twice = ["a:b:c", "d:e:f:/"].map(OsString::from);
        assert!(Layers::parse_all(&twice).is_err());
    }
}

//! The steps as lines of shell, in the words of mount(8).

use std::path::Path;

use common::shell;

use crate::idmap;
use crate::layers::Layers;
use crate::options::Options;
use crate::place::Place;
use crate::resolver::{self, Servers};

/// A folder, or an empty file in a folder.
pub fn make(place: &Place, folder: bool) -> String {
    let word = place.word();
    match folder {
        true => format!("mkdir -p {word}"),
        false => {
            format!("[ -e {word} ] || {{ mkdir -p {}; touch {word}; }}", place.folder().word())
        }
    }
}

/// mount(8) sets attributes after the fact, and on one mount a time.
pub fn bind(src: &Path, place: &Place, options: &Options) -> String {
    let kind = if options.recursive { "--rbind" } else { "--bind" };
    let make = options.make().map(|make| format!(" {make}")).unwrap_or_default();
    let dst = place.word();
    let map = options.idmap.as_ref().map(|map| format!("{}{}", idmap::WORD, map.words()));
    let map = map.map(|map| format!(" -o {}", shell::word(map))).unwrap_or_default();
    let check = options.idmap.as_ref().map(|_| is_mapped(&dst, options.recursive));
    let check = check.unwrap_or_default();
    let bind = format!("mount {kind}{make}{map} {} {dst}{check}", shell::operand(src));
    match (options.words().as_str(), options.recursive) {
        ("", _) => bind,
        (words, false) => format!("{bind}; mount -o remount,bind,{words} {dst}"),
        (words, true) => format!("{bind}; {}", remount_all(&dst, words)),
    }
}

/// An older mount(8) takes every word that begins with X- for a comment.
fn is_mapped(dst: &str, recursive: bool) -> String {
    let all = if recursive { "-R " } else { "" };
    format!(
        "; findmnt -no OPTIONS {dst} | grep -q idmapped || {{ umount {all}{dst}; \
         echo 'mount(8) maps no owners: it is older than util-linux 2.39' >&2; exit 1; }}"
    )
}

/// The mounts of the tree are told by their numbers from others that are hidden below it, and each
/// stands before those that are on it. The octal escapes of the mount table are made those of printf's
/// %b, and the x keeps a newline at the end. Of mounts that lie one on the other a path reaches the
/// topmost alone, so those below it keep what they have.
fn remount_all(dst: &str, words: &str) -> String {
    format!(
        "t=$(sed -n 's/^mnt_id:[[:space:]]*//p' /proc/self/fdinfo/3 3<{dst}); \
         sed 's/\\\\/\\\\0/g' /proc/self/mountinfo | while read -r n on _ _ at _; do \
         case \" $t \" in *\" $n \"* | *\" $on \"*) t=\"$t $n\"; at=$(printf '%bx' \"$at\"); \
         mount -o remount,bind,{words} \"${{at%x}}\";; esac; done"
    )
}

/// `cd` goes by the name again, and so to what is mounted on it.
pub fn overlay(place: &Place, layers: &Layers, user: bool, enter: bool) -> String {
    let dst = place.word();
    let mount = format!("mount -t overlay -o {} overlay {dst}", layers.words(user));
    let words = match layers.options().words() {
        words if words.is_empty() => words,
        words => format!("; mount -o remount,bind,{words} {dst}"),
    };
    let make = layers.options().make().map(|make| format!("; mount {make} {dst}"));
    let enter = if enter { "; cd \"$PWD\"" } else { "" };
    format!("{mount}{words}{}{enter}", make.unwrap_or_default())
}

/// The memory is mounted elsewhere until its file is where it belongs; that of a small dev without
/// what is mounted on it.
pub fn cover_file(servers: &Servers, place: &Place, dev: Option<&Place>) -> String {
    let dst = place.word();
    let (memory, file) = match dev {
        Some(dev) => (format!("--bind {}", dev.word()), format!("\"$t/shm/{}\"", resolver::NAME)),
        None => (
            "-t tmpfs --make-private -o mode=0755,size=1m tmpfs".into(),
            format!("\"$t/{}\"", resolver::NAME),
        ),
    };
    let write = servers.line(&file);
    let words = Options::to_read().words();
    format!(
        "t=$(mktemp -d); mount {memory} \"$t\"; {write}; chmod 644 {file}; \
         mount --bind --make-private {file} {dst}; mount -o remount,bind,{words} {dst}; umount \"$t\"; rmdir \"$t\""
    )
}

/// No path leads to the lower layer once the memory is mounted, so it is held open.
pub fn cover_folder(servers: &Servers, etc: &Place, user: bool) -> String {
    let name = resolver::NAME;
    let write = servers.line(&format!("upper/{name}"));
    let user = if user { ",userxattr" } else { "" };
    format!(
        "(cd -P {}; exec 3<.; mount -t tmpfs -o mode=0755,size=1m tmpfs \"$PWD\"; cd \"$PWD\"; \
         mkdir upper work; chown --reference=/proc/self/fd/3/. upper || :; \
         chmod --reference=/proc/self/fd/3/. upper; {write}; \
         chmod 644 upper/{name}; mount -t overlay -o \
         lowerdir=/proc/self/fd/3,upperdir=upper,workdir=work{user} overlay \"$PWD\")",
        shell::folder(etc.path())
    )
}

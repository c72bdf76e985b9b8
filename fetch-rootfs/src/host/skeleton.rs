//! What a root needs besides programs: the folders that they expect, a few files in /etc, and
//! what libraries read by a name that no ELF header tells.

use std::fs;
use std::path::Path;

use common::{Failure, Tried};

use super::machine::Machine;
use super::tree::Tree;

/// Folders, see hier(7).
const FOLDERS: [(&str, u32, &str); 17] = [
    ("bin", 0o755, "programs; hier(7)"),
    ("dev", 0o755, "a place to mount the devices at; hier(7)"),
    ("etc", 0o755, "settings; hier(7)"),
    ("home", 0o755, "the folders of users; hier(7)"),
    ("lib", 0o755, "libraries; hier(7)"),
    ("mnt", 0o755, "a place to mount something at for a while; hier(7)"),
    ("opt", 0o755, "what is added by hand; hier(7)"),
    ("proc", 0o755, "a place to mount proc at, which ps reads; proc(5)"),
    ("root", 0o700, "the home of root, and of nobody else; hier(7)"),
    ("run", 0o755, "what running programs leave for others; hier(7)"),
    ("sbin", 0o755, "programs for root; hier(7)"),
    ("sys", 0o755, "a place to mount sysfs at; sysfs(5)"),
    ("tmp", 0o1777, "all may write here, and remove only what they own: sticky; inode(7)"),
    ("usr/bin", 0o755, "programs; hier(7)"),
    ("usr/sbin", 0o755, "programs for root; hier(7)"),
    ("var/log", 0o755, "logs; hier(7)"),
    ("var/tmp", 0o1777, "as /tmp, for longer; hier(7)"),
];

const FILES: [(&str, &str, &str); 5] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
        "the names that ls -l and id show for user numbers; passwd(5)",
    ),
    ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n", "and for group numbers; group(5)"),
    (
        "etc/hosts",
        "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
        "localhost has an address without a name server; hosts(5)",
    ),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
        "names are looked up in these files, no service is asked; nsswitch.conf(5)",
    ),
    ("etc/resolv.conf", "", "a place to mount that of the host at; resolv.conf(5)"),
];

/// Terminals that people sit at.
const TERMINALS: &str = "
    alacritty ansi dumb foot konsole linux rxvt rxvt-unicode rxvt-unicode-256color screen
    screen-256color st-256color tmux tmux-256color vt100 vt220 xterm xterm-256color xterm-ghostty
    xterm-kitty
";

const TERMINFO: [&str; 4] =
    ["/etc/terminfo", "/lib/terminfo", "/usr/lib/terminfo", "/usr/share/terminfo"];

/// Adds the folders and files that every root has.
pub fn add(tree: &mut Tree<'_>) -> Result<(), Failure> {
    for (path, mode, why) in FOLDERS {
        tree.folder(Path::new(path), mode, why).tried(|| format!("plan the folder {path:?}"))?;
    }
    for (path, content, why) in FILES {
        tree.text(Path::new(path), content, why).tried(|| format!("plan the file {path:?}"))?;
    }
    tree.take_if_there(Path::new("/etc/os-release"), "whose programs these are; os-release(5)");
    // Programs that are put in later name their loader by it.
    tree.take_if_there(Path::new("/lib64"), "libraries; hier(7)");
    Ok(())
}

/// Adds what the libraries that are in the root read by themselves.
pub fn add_for_libraries(tree: &mut Tree<'_>, machine: &Machine) {
    for libc in tree.named("libc.so.6") {
        let cache = Path::new("/etc/ld.so.cache");
        tree.take_if_there(cache, "where the loader finds libraries; ldconfig(8)");
        // Before 2.34, glibc looked users up by a library that it opened by name.
        let files = Path::new("/").join(libc).with_file_name("libnss_files.so.2");
        tree.take_if_there(&files, "how libc reads etc/passwd; nss(5)");
        locale(tree, machine);
    }
    if !tree.named("libtinfo").is_empty() || !tree.named("libncurses").is_empty() {
        terminals(tree);
    }
}

fn terminals(tree: &mut Tree<'_>) {
    for name in TERMINALS.split_ascii_whitespace() {
        // Where file names don't tell upper from lower case, the folder is a number.
        let first = &name[..1];
        for folder in TERMINFO.map(Path::new) {
            for under in [first.to_owned(), format!("{:02x}", first.as_bytes()[0])] {
                let path = folder.join(under).join(name);
                tree.take_if_there(&path, "how this terminal is driven; terminfo(5)");
            }
        }
    }
}

/// The one locale with UTF-8 that belongs to no country.
fn locale(tree: &mut Tree<'_>, machine: &Machine) {
    let mut folders =
        ["C.utf8", "C.UTF-8"].map(|name| Path::new("/usr/lib/locale").join(name)).to_vec();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(machine.file(&folder)) else { continue };
        for entry in entries.flatten() {
            let path = folder.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                _ => tree.take_if_there(&path, "letters beyond ASCII; locale(7)"),
            }
        }
    }
}

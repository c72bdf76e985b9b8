//! What layers come to, without their contents: names that replace, take away and lead elsewhere,
//! as in the extractor, where the kernel does the resolving.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use common::Failure;

use crate::cli::Rules;
use crate::entry::{Entry, Kind};
use crate::extract::path::{inner_path, plain_path};
use crate::limits::{self, Limits};
use crate::oci::whiteout::{self, Mark};

const ROOT: usize = 0;
/// As many links as the kernel follows in a path.
const MOST_LINKS: usize = 40;

#[derive(Default)]
struct Node {
    /// What it is; nothing for a folder that no layer names.
    entry: Option<Entry>,
    parent: usize,
    name: Vec<u8>,
    children: BTreeMap<Vec<u8>, usize>,
    layer: usize,
    /// Another name of the same file has the same number.
    file: usize,
    /// The last layer that took away what was in it.
    cleaned: usize,
}

impl Node {
    fn kind(&self) -> Kind {
        self.entry.as_ref().map_or(Kind::Folder, |entry| entry.kind)
    }
}

/// A tree of names.
pub struct Tree {
    nodes: Vec<Node>,
    layer: usize,
    /// Folders that no layer names, and that were not counted.
    forgotten: u64,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], layer: 0, forgotten: 0 }
    }
}

impl Tree {
    /// What follows is of the next layer.
    pub fn next_layer(&mut self) {
        self.layer += 1;
    }

    /// Does what an entry says.
    pub fn take(
        &mut self,
        entry: Entry,
        rules: &Rules,
        limits: &mut Limits,
    ) -> Result<(), Failure> {
        let path = inner_path(&entry)?;
        limits::depth(&entry, &path, rules)?;
        let Some(name) = path.file_name().map(|name| name.as_bytes().to_vec()) else {
            return match entry.kind {
                Kind::Folder => Ok(()),
                _ => Err(entry.failure("the root itself can only be a folder")),
            };
        };
        let mark = whiteout::of(&entry, &path)?;
        if mark == Some(Mark::Aufs) {
            return Ok(());
        }
        let above = path.parent().unwrap_or(Path::new(""));
        let parent = self.folder(above, true);
        let parent = parent.ok_or_else(|| entry.failure("its folder is none, or leads nowhere"))?;
        for _ in 0..std::mem::take(&mut self.forgotten) {
            limits.count(&entry, rules)?;
        }
        // Links make it deeper than its name is.
        if self.ancestors(parent).nth(rules.max_depth).is_some() {
            return Err(limits::too_deep(&entry, rules));
        }
        match mark {
            Some(Mark::Gone(name)) => self.take_away(parent, name.as_bytes()),
            Some(_) => drop(self.clean(parent)),
            None => self.make(entry, &path, parent, name)?,
        }
        Ok(())
    }

    fn make(
        &mut self,
        entry: Entry,
        path: &Path,
        parent: usize,
        name: Vec<u8>,
    ) -> Result<(), Failure> {
        let there = self.nodes[parent].children.get(&name).copied();
        let there = there.map(|at| (at, self.nodes[at].kind()));
        match (entry.kind, there) {
            (Kind::Folder, Some((at, Kind::Folder))) => {
                self.nodes[at].layer = self.layer;
                self.nodes[at].entry = Some(entry);
            }
            // Within the lowest layer a link to a folder stays.
            (Kind::Folder, Some((_, Kind::Symlink)))
                if self.layer == 1 && self.folder(path, false).is_some() => {}
            (Kind::HardLink, _) => {
                let to = self.linked(&entry)?;
                let (target, file) = (self.nodes[to].entry.clone(), self.nodes[to].file);
                self.add(parent, name, target, Some(file));
            }
            _ => self.add(parent, name, Some(entry), None),
        }
        Ok(())
    }

    fn add(&mut self, parent: usize, name: Vec<u8>, entry: Option<Entry>, file: Option<usize>) {
        let at = self.nodes.len();
        let (layer, file) = (self.layer, file.unwrap_or(at));
        self.nodes[parent].children.insert(name.clone(), at);
        self.nodes.push(Node { entry, parent, name, layer, file, ..Node::default() });
    }

    /// A folder that no layer names is of none: it goes when nothing is left in it.
    fn forgotten(&mut self, parent: usize, name: Vec<u8>) -> usize {
        self.add(parent, name, None, None);
        let at = self.nodes.len() - 1;
        self.nodes[at].layer = 0;
        self.forgotten += 1;
        at
    }

    /// A node and the folders that it is in, but for the root.
    fn ancestors(&self, at: usize) -> impl Iterator<Item = usize> {
        let above = |at: &usize| Some(self.nodes[*at].parent).filter(|above| *above != ROOT);
        std::iter::successors(Some(at).filter(|at| *at != ROOT), above)
    }

    fn linked(&mut self, entry: &Entry) -> Result<usize, Failure> {
        let to =
            plain_path(&entry.link).ok_or_else(|| entry.failure("its target leads outside"))?;
        let folder = self.folder(to.parent().unwrap_or(Path::new("")), false);
        let name = to.file_name().map(OsStrExt::as_bytes);
        let target = folder.zip(name).and_then(|(at, name)| self.nodes[at].children.get(name));
        match target {
            Some(at) if self.nodes[*at].kind() != Kind::Folder => Ok(*at),
            Some(_) => Err(entry.failure("a folder can't be linked")),
            None => Err(entry.failure("what it links to is not there")),
        }
    }

    /// The folder of that path, as the root's own; what the archive has forgotten is made.
    fn folder(&mut self, path: &Path, make: bool) -> Option<usize> {
        let parts = path.iter().rev().map(|part| (part.as_bytes().to_vec(), make));
        let (mut rest, mut at, mut links) = (parts.collect::<Vec<_>>(), vec![ROOT], 0);
        while let Some((name, make)) = rest.pop() {
            let here = *at.last()?;
            if matches!(name.as_slice(), b"" | b".") {
                continue;
            }
            if name == b".." {
                at.truncate((at.len() - 1).max(1));
                continue;
            }
            let child = match self.nodes[here].children.get(&name) {
                Some(child) => *child,
                None if make => self.forgotten(here, name),
                None => return None,
            };
            let node = &self.nodes[child];
            match node.kind() {
                Kind::Folder => at.push(child),
                Kind::Symlink if links < MOST_LINKS => {
                    links += 1;
                    let link = node.entry.as_ref()?.link.as_slice();
                    if link.starts_with(b"/") {
                        at.truncate(1);
                    }
                    rest.extend(
                        link.split(|byte| *byte == b'/').rev().map(|p| (p.to_vec(), false)),
                    );
                }
                _ => return None,
            }
        }
        at.pop()
    }

    /// A name goes, as far as it is from below.
    fn take_away(&mut self, parent: usize, name: &[u8]) {
        let there = self.nodes[parent].children.get(name).copied();
        let Some(at) = there.filter(|_| !self.is_clean(parent)) else { return };
        let kept = self.nodes[at].kind() == Kind::Folder && !self.clean(at);
        if !kept && self.goes(at) {
            self.nodes[parent].children.remove(name);
        }
    }

    /// Nothing from below is in it any more; in the lowest layer nothing ever is.
    fn is_clean(&self, folder: usize) -> bool {
        self.layer == 1 || self.nodes[folder].cleaned == self.layer
    }

    fn goes(&self, at: usize) -> bool {
        self.nodes[at].layer < self.layer && self.nodes[at].children.is_empty()
    }

    /// What is from below goes out of a folder. Says whether there was something to do: what was
    /// gone through before stays as it is.
    fn clean(&mut self, folder: usize) -> bool {
        if self.is_clean(folder) {
            return false;
        }
        let (mut order, mut kept, mut todo) = (Vec::new(), HashSet::new(), vec![folder]);
        while let Some(at) = todo.pop() {
            self.nodes[at].cleaned = self.layer;
            order.push(at);
            for child in self.nodes[at].children.values().copied() {
                match self.nodes[child].kind() {
                    Kind::Folder if self.is_clean(child) => drop(kept.insert(child)),
                    Kind::Folder => todo.push(child),
                    _ => {}
                }
            }
        }
        // What is in a folder before the folder.
        for at in order.into_iter().rev() {
            let mut children = std::mem::take(&mut self.nodes[at].children);
            children.retain(|_, child| kept.contains(child) || !self.goes(*child));
            self.nodes[at].children = children;
        }
        true
    }

    /// Gives all of it, in the order of the names' bytes; folders end in a slash. The second name of
    /// a file is a hard link to the first.
    pub fn each(self, mut give: impl FnMut(Entry) -> Result<(), Failure>) -> Result<(), Failure> {
        let (mut first, mut todo) = (HashMap::new(), vec![ROOT]);
        while let Some(at) = todo.pop() {
            let node = &self.nodes[at];
            let mut children: Vec<usize> = node.children.values().copied().collect();
            children.sort_by_cached_key(|child| Reverse(self.shown(*child)));
            todo.extend(children);
            if at == ROOT {
                continue;
            }
            let (name, entry) = (self.path(at), node.entry.clone().unwrap_or_else(forgotten));
            give(match *first.entry(node.file).or_insert(at) {
                known if known == at => Entry { name, ..entry },
                known => {
                    Entry { name, kind: Kind::HardLink, link: self.path(known), size: 0, ..entry }
                }
            })?;
        }
        Ok(())
    }

    fn shown(&self, at: usize) -> Vec<u8> {
        let node = &self.nodes[at];
        let slash: &[u8] = if node.kind() == Kind::Folder { b"/" } else { b"" };
        [node.name.as_slice(), slash].concat()
    }

    fn path(&self, at: usize) -> Vec<u8> {
        let mut parts: Vec<Vec<u8>> = self.ancestors(at).map(|at| self.shown(at)).collect();
        parts.reverse();
        parts.concat()
    }
}

/// A folder that no layer names, as the extractor makes it.
fn forgotten() -> Entry {
    Entry { mode: 0o755, ..Entry::of_kind(Kind::Folder) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(layers: &[&[(&str, Kind, &str)]]) -> Result<Vec<String>, String> {
        let cli = <crate::cli::Cli as clap::Parser>::parse_from(["fetch-rootfs", "x", "y"]);
        let (rules, mut tree) = (cli.rules().expect("no options"), Tree::default());
        let mut limits = Limits::default();
        for layer in layers {
            tree.next_layer();
            for (name, kind, link) in *layer {
                let (name, link) = (name.as_bytes().to_vec(), link.as_bytes().to_vec());
                let entry = Entry { name, link, ..Entry::of_kind(*kind) };
                tree.take(entry, &rules, &mut limits).map_err(|failure| failure.lines("t"))?;
            }
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut all = Vec::new();
        let told = tree.each(|entry| {
            all.push(match entry.link.is_empty() {
                true => text(&entry.name),
                false => format!("{} -> {}", text(&entry.name), text(&entry.link)),
            });
            Ok(())
        });
        told.map(|()| all).map_err(|failure| failure.lines("t"))
    }

    /// Each name is short, and through the links each is in the folder of the one before.
    #[test]
    fn a_tree_that_links_make_too_deep_is_refused() {
        let mut layer = Vec::new();
        for at in 0..30 {
            let folder = format!("l{at}/{}", "d/".repeat(100));
            layer.push((folder.clone(), Kind::Folder, String::new()));
            layer.push((format!("l{}", at + 1), Kind::Symlink, folder));
        }
        let all: Vec<_> = layer.iter().map(|(n, k, l)| (n.as_str(), *k, l.as_str())).collect();
        let few = listed(&[&all[..10]]).expect("five times a hundred");
        assert_eq!(few.iter().map(|line| line.matches('/').count()).max(), Some(501));
        assert!(listed(&[&all]).expect_err("three thousand").contains("hint: --max-depth"));
    }

    #[test]
    fn links_lead_within_the_root() {
        use Kind::{File, Folder, HardLink, Symlink};
        let base = [("usr/bin/", Folder, ""), ("bin", Symlink, "/usr/bin"), ("bin/a", File, "")];
        let got = listed(&[&base, &[("bin/b", HardLink, "bin/a"), ("usr/../x", File, "")][..1]]);
        let wanted = ["bin -> /usr/bin", "usr/", "usr/bin/", "usr/bin/a", "usr/bin/b -> usr/bin/a"];
        assert_eq!(got.expect("no harm"), wanted);
        for (name, kind, link) in [
            ("../x", File, ""),
            ("l/x", File, ""),
            ("x", HardLink, "none"),
            ("x", HardLink, "../x"),
            ("a/x", File, ""),
            ("", File, ""),
        ] {
            let layer = [("l", Symlink, "nowhere"), ("a", File, ""), (name, kind, link)];
            assert!(listed(&[&layer]).is_err(), "{name}");
        }
        let turning = [("l", Symlink, "l"), ("l/x", File, "")];
        assert!(listed(&[&turning]).is_err());
        let up = [("l", Symlink, "../../../e"), ("e/", Folder, ""), ("l/x", File, "")];
        assert_eq!(listed(&[&up]).expect("inside"), ["e/", "e/x", "l -> ../../../e"]);
    }
}

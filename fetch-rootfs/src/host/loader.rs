//! The ways of the two loaders: where each looks for a library, in which order.
//!
//! glibc's looks in the RUNPATH of the object that wants it, or if it has none in the RPATHs of
//! that object and of those that loaded it; in `/etc/ld.so.cache`; in folders built into it.
//! musl's has a list of folders and no cache, and takes a RUNPATH for an RPATH.

use std::ffi::{OsStr, OsString};
use std::iter::successors;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use common::elf::Elf;

use super::cache::Cache;

/// A program or library as it is loaded.
pub struct Object {
    pub path: PathBuf,
    pub elf: Rc<Elf>,
    /// Which object asked for it, by its number.
    asked_by: Option<usize>,
}

/// One of the two.
pub struct Loader {
    musl: bool,
    folders: Vec<PathBuf>,
}

impl Loader {
    /// glibc's. Its folders are built into it: on Debian they are named for the processor, as the
    /// folder is that it is in itself; a library for another one is passed over by its headers.
    pub fn glibc(own: Option<&Path>) -> Self {
        let usual = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from);
        Self { musl: false, folders: own.map(Path::to_owned).into_iter().chain(usual).collect() }
    }

    /// musl's, with its list of folders.
    pub fn musl(folders: &[u8]) -> Self {
        let folders = folders.split(|byte| b":\n".contains(byte)).map(path).collect();
        Self { musl: true, folders }
    }

    /// `/lib/ld-musl-x86_64.so.1` has its list in `/etc/ld-musl-x86_64.path`.
    pub fn musl_list(loader: &Path) -> Option<PathBuf> {
        let name = loader.file_name()?.to_str()?;
        let kind = name.strip_prefix("ld-musl-")?.split_once('.')?.0;
        Some(format!("/etc/ld-musl-{kind}.path").into())
    }

    /// musl's loader is its libc, and answers for the names of that libc's parts.
    pub fn has_inside(&self, name: &OsStr) -> bool {
        const PARTS: [&str; 7] = ["c", "pthread", "rt", "m", "dl", "util", "xnet"];
        let part = name.to_str().and_then(|name| name.strip_prefix("lib"));
        let part = part.and_then(|part| part.split_once('.'));
        self.musl && part.is_some_and(|(part, _)| PARTS.contains(&part))
    }

    /// The files to try for a name that the object of this number wants.
    pub fn candidates(
        &self,
        name: &OsStr,
        objects: &[Object],
        wanting: usize,
        cache: &Cache,
    ) -> Vec<PathBuf> {
        if name.as_bytes().contains(&b'/') {
            return expand(name.as_bytes(), objects[wanting].origin()).into_iter().collect();
        }
        let mut paths = self.asked_for(objects, wanting);
        for folder in &mut paths {
            folder.push(name);
        }
        if !self.musl {
            paths.extend(cache.get(name).into_iter().flatten().cloned());
        }
        paths.extend(self.folders.iter().map(|folder| folder.join(name)));
        paths.retain(|path| path.is_absolute());
        paths
    }

    /// The folders that an object, and those on whose behalf it was loaded, ask for.
    fn asked_for(&self, objects: &[Object], wanting: usize) -> Vec<PathBuf> {
        let wants = &objects[wanting];
        if !self.musl && wants.elf.runpath.is_some() {
            return wants.folders(wants.elf.runpath.as_ref());
        }
        let chain = successors(Some(wants), |object| Some(&objects[object.asked_by?]));
        chain
            .flat_map(|object| match (&object.elf.runpath, &object.elf.rpath) {
                (None, rpath) => object.folders(rpath.as_ref()),
                (runpath, _) if self.musl => object.folders(runpath.as_ref()),
                _ => Vec::new(),
            })
            .collect()
    }
}

impl Object {
    pub fn new(path: PathBuf, elf: Rc<Elf>, asked_by: Option<usize>) -> Self {
        Self { path, elf, asked_by }
    }

    /// What `$ORIGIN` stands for.
    fn origin(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// The folders of a search path, which has colons between them.
    fn folders(&self, list: Option<&OsString>) -> Vec<PathBuf> {
        let list = list.map(|list| list.as_bytes()).unwrap_or_default();
        let entries = list.split(|byte| *byte == b':');
        entries.filter_map(|entry| expand(entry, self.origin())).collect()
    }
}

/// Puts a folder in for `$ORIGIN`. An entry that is relative then, or has other variables, is
/// left out: it would mean something else inside the root.
pub fn expand(entry: &[u8], origin: &Path) -> Option<PathBuf> {
    let mut expanded = Vec::new();
    let mut rest = entry;
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        expanded.extend(&rest[..at]);
        let variable = &rest[at + 1..];
        rest = variable.strip_prefix(b"ORIGIN").or(variable.strip_prefix(b"{ORIGIN}"))?;
        expanded.extend(origin.as_os_str().as_bytes());
    }
    expanded.extend(rest);
    Some(path(&expanded)).filter(|path| path.is_absolute())
}

fn path(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_is_expanded_and_what_means_something_else_inside_is_left_out() {
        let expanded = |entry: &str| expand(entry.as_bytes(), Path::new("/opt/bin"));
        assert_eq!(expanded("$ORIGIN/../lib"), Some("/opt/bin/../lib".into()));
        assert_eq!(expanded("/x${ORIGIN}"), Some("/x/opt/bin".into()));
        for entry in ["", "lib", "$LIB", "/$PLATFORM", "/${ORIGIN", "/$"] {
            assert_eq!(expanded(entry), None, "{entry}");
        }
    }

    #[test]
    fn the_loader_of_musl_is_its_libc() {
        let musl = Loader::musl(b"/a:/b\n/c");
        assert_eq!(musl.folders, ["/a", "/b", "/c"].map(PathBuf::from));
        assert!(musl.has_inside("libc.musl-x86_64.so.1".as_ref()));
        assert!(!musl.has_inside("libcap.so.2".as_ref()));
        assert!(!Loader::glibc(None).has_inside("libc.so.6".as_ref()));
        let list = |loader: &str| Loader::musl_list(Path::new(loader));
        assert_eq!(list("/lib/ld-musl-armhf.so.1"), Some("/etc/ld-musl-armhf.path".into()));
        assert_eq!(list("/lib64/ld-linux-x86-64.so.2"), None);
    }
}

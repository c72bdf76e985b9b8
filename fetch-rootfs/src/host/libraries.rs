//! Which libraries a program loads: found as its loader would, see `ld.so(8)`, without running
//! anything, for a program that nobody vouches for must not run (`ldd` may run it).
//!
//! glibc looks for each name in the RPATHs of the object that wants it and of those that loaded
//! it, in its RUNPATH, in `/etc/ld.so.cache`, then in folders built into the loader. musl has no
//! cache but a list of folders, and takes a RUNPATH for an RPATH. A name that has been loaded is
//! not looked for again. LD_LIBRARY_PATH is not heeded: a root has no environment.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use common::elf::{self, Elf};
use common::{Failure, Tried};

use super::cache::{self, Cache};
use super::machine::Machine;

/// Finds libraries on a machine.
pub struct Libraries<'a> {
    machine: &'a Machine,
    cache: Cache,
    known: HashMap<PathBuf, Option<Rc<Elf>>>,
}

/// A program or library as it is loaded.
struct Object {
    path: PathBuf,
    /// What `$ORIGIN` stands for.
    origin: PathBuf,
    elf: Rc<Elf>,
    /// Which object asked for it.
    loader: Option<usize>,
}

impl Object {
    /// The folders of a search path, which has colons between them.
    fn folders(&self, list: Option<OsString>) -> Vec<PathBuf> {
        let list = list.unwrap_or_default();
        let entries = list.as_bytes().split(|byte| *byte == b':');
        entries.filter_map(|entry| expand(entry, &self.origin)).collect()
    }
}

/// The loader's own ways.
struct Loader {
    musl: bool,
    folders: Vec<PathBuf>,
}

impl<'a> Libraries<'a> {
    /// The loader's cache is read if there is one.
    pub fn of(machine: &'a Machine) -> Self {
        let cache = fs::read(machine.file(Path::new("/etc/ld.so.cache"))).unwrap_or_default();
        Self { machine, cache: cache::parse(&cache), known: HashMap::new() }
    }

    /// What an ELF file asks for; `None` if it is something else.
    pub fn headers(&mut self, path: &Path) -> Result<Option<Rc<Elf>>, Failure> {
        if let Some(known) = self.known.get(path) {
            return Ok(known.clone());
        }
        let what = || format!("read the ELF headers of {path:?}");
        let file = self.machine.open(path).tried(what)?;
        let elf = elf::read(&file).tried(what)?.map(Rc::new);
        self.known.insert(path.to_owned(), elf.clone());
        Ok(elf)
    }

    /// The files that are loaded for a program, given by its real path: the loader first.
    pub fn needed_by(&mut self, program: &Path, elf: Rc<Elf>) -> Result<Vec<PathBuf>, Failure> {
        let mut files = Vec::new();
        let loader = self.loader(program, &elf, &mut files)?;
        let origin = program.parent().unwrap_or(Path::new("/")).to_owned();
        let mut objects = vec![Object { path: program.to_owned(), origin, elf, loader: None }];
        // Some libraries ask for the loader, which is there before them.
        let own = objects[0].elf.interpreter.as_deref().and_then(Path::file_name);
        let mut names: HashSet<OsString> = own.map(OsStr::to_owned).into_iter().collect();
        // Breadth first, as the loader does: what is found early serves all that ask later.
        let mut wanting = 0;
        while wanting < objects.len() {
            let needed = objects[wanting].elf.needed.clone();
            for name in needed {
                if loader.has_inside(&name) || !names.insert(name.clone()) {
                    continue;
                }
                let object = self.library(&name, &objects, wanting, &loader)?;
                files.push(object.path.clone());
                objects.push(object);
            }
            wanting += 1;
        }
        Ok(files)
    }

    fn loader(
        &mut self,
        program: &Path,
        elf: &Elf,
        files: &mut Vec<PathBuf>,
    ) -> Result<Loader, Failure> {
        let Some(path) = &elf.interpreter else {
            return Ok(Loader { musl: false, folders: built_in(None) });
        };
        let what = || format!("find the loader {path:?} of {program:?}");
        let real = Path::new("/").join(self.machine.walk(path).tried(what)?.real);
        if self.headers(path)?.is_none_or(|loader| loader.kind != elf.kind) {
            return Err(Failure::new(format!("{}: it is for another kind of program", what())));
        }
        files.push(path.clone());
        let list = musl_list(path);
        let Some(list) = list else {
            return Ok(Loader { musl: false, folders: built_in(real.parent()) });
        };
        let folders = match fs::read(self.machine.file(&list)) {
            Ok(text) => {
                files.push(list);
                text.split(|byte| b":\n".contains(byte)).map(path_of).collect()
            }
            Err(_) => ["/lib", "/usr/local/lib", "/usr/lib"].map(PathBuf::from).to_vec(),
        };
        Ok(Loader { musl: true, folders })
    }

    /// The first file of that name that can be loaded together with what asks for it.
    fn library(
        &mut self,
        name: &OsStr,
        objects: &[Object],
        wanting: usize,
        loader: &Loader,
    ) -> Result<Object, Failure> {
        let wants = &objects[wanting];
        for path in self.candidates(name, objects, wanting, loader) {
            // A file that is not there, or is no library, or one for another processor, does not
            // end the search.
            let Ok(Some(elf)) = self.headers(&path) else { continue };
            if elf.kind == wants.elf.kind {
                let origin = path.parent().unwrap_or(Path::new("/")).to_owned();
                return Ok(Object { path, origin, elf, loader: Some(wanting) });
            }
        }
        let (name, path) = (name.to_string_lossy(), &wants.path);
        Err(Failure::new(format!(
            "find the library {name:?} of {path:?}: it is in no folder that the loader searches"
        ))
        .hint("ldconfig makes the list of the libraries that are installed; ldconfig -p shows it"))
    }

    fn candidates(
        &self,
        name: &OsStr,
        objects: &[Object],
        wanting: usize,
        loader: &Loader,
    ) -> Vec<PathBuf> {
        if name.as_bytes().contains(&b'/') {
            let path = expand(name.as_bytes(), &objects[wanting].origin);
            return path.into_iter().collect();
        }
        let mut paths: Vec<PathBuf> =
            loader.own_folders(objects, wanting).iter().map(|folder| folder.join(name)).collect();
        if !loader.musl {
            paths.extend(self.cache.get(name).into_iter().flatten().cloned());
        }
        paths.extend(loader.folders.iter().map(|folder| folder.join(name)));
        paths.retain(|path| path.is_absolute());
        paths
    }
}

impl Loader {
    /// The folders that an object, and those on whose behalf it was loaded, ask for.
    fn own_folders(&self, objects: &[Object], wanting: usize) -> Vec<PathBuf> {
        let chain: Vec<&Object> = std::iter::successors(Some(&objects[wanting]), |object| {
            object.loader.map(|loader| &objects[loader])
        })
        .collect();
        if self.musl {
            let either = |elf: &Elf| elf.runpath.clone().or(elf.rpath.clone());
            return chain.iter().flat_map(|object| object.folders(either(&object.elf))).collect();
        }
        if let Some(runpath) = &objects[wanting].elf.runpath {
            return objects[wanting].folders(Some(runpath.clone()));
        }
        let heeded = chain.iter().filter(|object| object.elf.runpath.is_none());
        heeded.flat_map(|object| object.folders(object.elf.rpath.clone())).collect()
    }

    /// musl's loader is its libc, and answers for the names of that libc's parts.
    fn has_inside(&self, name: &OsStr) -> bool {
        const PARTS: [&str; 7] = ["c", "pthread", "rt", "m", "dl", "util", "xnet"];
        let part = name.to_str().and_then(|name| name.strip_prefix("lib"));
        let part = part.and_then(|part| part.split_once('.'));
        self.musl && part.is_some_and(|(part, _)| PARTS.contains(&part))
    }
}

/// Folders built into glibc's loader. On Debian they are named for the processor, as the folder
/// is that the loader itself is in; a library for another one is passed over by its headers.
fn built_in(loader: Option<&Path>) -> Vec<PathBuf> {
    let usual = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from);
    loader.map(Path::to_owned).into_iter().chain(usual).collect()
}

/// `/lib/ld-musl-x86_64.so.1` has its folders in `/etc/ld-musl-x86_64.path`.
fn musl_list(loader: &Path) -> Option<PathBuf> {
    let name = loader.file_name()?.to_str()?;
    let kind = name.strip_prefix("ld-musl-")?.split_once('.')?.0;
    Some(format!("/etc/ld-musl-{kind}.path").into())
}

/// Puts a folder in for `$ORIGIN`. An entry that is relative then, or has other variables, is
/// left out: it would mean something else inside the root.
fn expand(entry: &[u8], origin: &Path) -> Option<PathBuf> {
    let mut path = Vec::new();
    let mut rest = entry;
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        path.extend(&rest[..at]);
        let variable = &rest[at + 1..];
        rest = variable.strip_prefix(b"ORIGIN").or(variable.strip_prefix(b"{ORIGIN}"))?;
        path.extend(origin.as_os_str().as_bytes());
    }
    path.extend(rest);
    Some(path_of(&path)).filter(|path| path.is_absolute())
}

fn path_of(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLIBC: &str = "/lib64/ld-linux.so.2";
    const MUSL: &str = "/lib/ld-musl-x86_64.so.1";

    fn elf(loader: &str, needed: &[&str], rpath: &str, runpath: &str) -> Elf {
        let this = fs::File::open(std::env::current_exe().expect("a path")).expect("our own file");
        let this = elf::read(&this).expect("a good file").expect("an ELF file");
        let some = |text: &str| (!text.is_empty()).then(|| OsString::from(text));
        Elf {
            kind: this.kind,
            interpreter: some(loader).map(PathBuf::from),
            needed: needed.iter().map(OsString::from).collect(),
            rpath: some(rpath),
            runpath: some(runpath),
        }
    }

    fn library(needed: &[&str], rpath: &str, runpath: &str) -> Elf {
        elf("", needed, rpath, runpath)
    }

    /// The libraries of `/opt/app/bin/x`, on a machine that has these ELF files.
    fn of_x(x: Elf, files: &[(&str, Elf)], cache: &[(&str, &str)]) -> Result<String, Failure> {
        let folder = support::scratch();
        for loader in [GLIBC, MUSL] {
            let file = folder.path().join(&loader[1..]);
            fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
            fs::write(file, "").expect("a file");
        }
        let machine = Machine::at(folder.path(), std::iter::empty());
        let mut libraries = Libraries::of(&machine);
        for (name, path) in cache {
            libraries.cache.entry(name.into()).or_default().push(path.into());
        }
        let loaders = [GLIBC, MUSL].map(|path| (path, library(&[], "", "")));
        for (path, elf) in loaders.iter().chain(files) {
            libraries.known.insert(path.into(), Some(Rc::new(elf.clone())));
        }
        let found = libraries.needed_by(Path::new("/opt/app/bin/x"), Rc::new(x))?;
        let found: Vec<_> = found.iter().map(|path| path.display().to_string()).collect();
        Ok(found.join(" "))
    }

    #[test]
    fn the_cache_comes_before_the_built_in_folders() {
        let none = || library(&[], "", "");
        let files = [("/lib/liba.so", none()), ("/usr/local/lib/liba.so", none())];
        let x = elf(GLIBC, &["liba.so", "ld-linux.so.2"], "", "");
        let found = of_x(x.clone(), &files, &[]).expect("it is there");
        assert_eq!(found, format!("{GLIBC} /lib/liba.so"));
        let cache = [("liba.so", "/gone/liba.so"), ("liba.so", "/usr/local/lib/liba.so")];
        let found = of_x(x, &files, &cache).expect("it is there");
        assert_eq!(found, format!("{GLIBC} /usr/local/lib/liba.so"));
    }

    #[test]
    fn an_rpath_is_inherited_and_a_runpath_is_not() {
        let files = [
            ("/opt/app/lib/liba.so", library(&["libb.so"], "", "")),
            ("/opt/app/lib/libb.so", library(&[], "", "")),
        ];
        let x = elf(GLIBC, &["liba.so"], "$ORIGIN/../lib", "");
        let files = files.map(|(path, elf)| (path.replace("app/lib", "app/bin/../lib"), elf));
        let files: Vec<_> = files.iter().map(|(path, elf)| (path.as_str(), elf.clone())).collect();
        let found = of_x(x, &files, &[]).expect("both are there");
        let lib = "/opt/app/bin/../lib";
        assert_eq!(found, format!("{GLIBC} {lib}/liba.so {lib}/libb.so"));
        let x = elf(GLIBC, &["liba.so"], "/never", "relative:${ORIGIN}/../lib:/$LIB");
        let failure = of_x(x, &files, &[]).expect_err("libb is not found");
        let what = "find the library \"libb.so\" of \"/opt/app/bin/../lib/liba.so\"";
        assert!(failure.lines("t").contains(what), "{}", failure.lines("t"));
        let x = elf(MUSL, &["liba.so", "libc.so"], "", "$ORIGIN/../lib");
        let found = of_x(x, &files, &[]).expect("musl lets it be inherited");
        assert_eq!(found, format!("{MUSL} {lib}/liba.so {lib}/libb.so"));
    }

    #[test]
    fn what_is_loaded_serves_all_and_a_circle_ends() {
        let files = [
            ("/lib/liba.so", library(&["libb.so", "liba.so"], "", "")),
            ("/lib/libb.so", library(&["liba.so", "libc.so.6"], "", "/other")),
            ("/lib/libc.so.6", library(&[], "", "")),
            ("/other/liba.so", library(&[], "", "")),
            ("/other/libc.so.6", library(&[], "", "")),
        ];
        let x = elf(GLIBC, &["liba.so", "libc.so.6"], "", "");
        let found = of_x(x, &files, &[]).expect("all are there");
        assert_eq!(found, format!("{GLIBC} /lib/liba.so /lib/libc.so.6 /lib/libb.so"));
    }

    #[test]
    fn a_static_program_needs_nothing_and_a_lost_loader_is_named() {
        assert_eq!(of_x(library(&[], "", ""), &[], &[]).expect("nothing to find"), "");
        let failure = of_x(elf("/lib/ld.so", &[], "", ""), &[], &[]).expect_err("no loader");
        let what = "t: find the loader \"/lib/ld.so\" of \"/opt/app/bin/x\": ";
        assert!(failure.lines("t").starts_with(what), "{}", failure.lines("t"));
    }
}

//! Which libraries a program loads: found as its loader would, see `ld.so(8)`, without running
//! anything, for a program that nobody vouches for must not run (`ldd` may run it).
//!
//! A name that has been loaded is not looked for again. `LD_LIBRARY_PATH` is not heeded: a root
//! has no environment.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use common::elf::{self, Elf};
use common::{Failure, Tried};

use super::cache::{self, Cache};
use super::loader::{Loader, Object};
use super::machine::Machine;

/// Finds libraries on a machine.
pub struct Libraries<'a> {
    machine: &'a Machine,
    cache: Cache,
    known: HashMap<PathBuf, Option<Rc<Elf>>>,
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
        let (loader, mut files) = self.loader(program, &elf)?;
        // Some libraries ask for the loader, which is there before them.
        let own = elf.interpreter.as_deref().and_then(Path::file_name);
        let mut names: HashSet<OsString> = own.map(OsStr::to_owned).into_iter().collect();
        let mut objects = vec![Object::new(program.to_owned(), elf, None)];
        // Breadth first, as the loader does: what is found early serves all that ask later.
        let mut wanting = 0;
        while let Some(object) = objects.get(wanting) {
            for name in object.elf.needed.clone() {
                if !loader.has_inside(&name) && names.insert(name.clone()) {
                    let library = self.library(&name, &objects, wanting, &loader)?;
                    files.push(library.path.clone());
                    objects.push(library);
                }
            }
            wanting += 1;
        }
        Ok(files)
    }

    /// The loader of a program, and the files that it is made of.
    fn loader(&mut self, program: &Path, elf: &Elf) -> Result<(Loader, Vec<PathBuf>), Failure> {
        let Some(path) = &elf.interpreter else { return Ok((Loader::glibc(None), Vec::new())) };
        let what = || format!("find the loader {path:?} of {program:?}");
        let real = Path::new("/").join(self.machine.walk(path).tried(what)?.real);
        if self.headers(path)?.is_none_or(|loader| loader.kind != elf.kind) {
            return Err(Failure::new(format!("{}: it is for another kind of program", what())));
        }
        let Some(list) = Loader::musl_list(path) else {
            return Ok((Loader::glibc(real.parent()), vec![path.clone()]));
        };
        match fs::read(self.machine.file(&list)) {
            Ok(folders) => Ok((Loader::musl(&folders), vec![path.clone(), list])),
            Err(_) => Ok((Loader::musl(b"/lib:/usr/local/lib:/usr/lib"), vec![path.clone()])),
        }
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
        for path in loader.candidates(name, objects, wanting, &self.cache) {
            // A file that is not there, or is no library, or one for another processor, does not
            // end the search.
            let Ok(Some(elf)) = self.headers(&path) else { continue };
            if elf.kind == wants.elf.kind {
                return Ok(Object::new(path, elf, Some(wanting)));
            }
        }
        let (name, path) = (name.to_string_lossy(), &wants.path);
        Err(Failure::new(format!(
            "find the library {name:?} of {path:?}: it is in no folder that the loader searches"
        ))
        .hint("ldconfig makes the list of the libraries that are installed; ldconfig -p shows it"))
    }
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

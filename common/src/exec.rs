//! The hand-over: the next program takes this process, and finds the world as its caller left it.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{AccessFlags, access, execv, execveat};

use crate::report::Failure;
use crate::{elf, file, inroot, sys};

/// Becomes COMMAND. Returns only if it can't be: 127 if it is not there, else 126.
///
/// It is looked for in PATH, and a file that the kernel has no loader for is given to `/bin/sh`, as
/// execvp(3) does in POSIX and glibc: musl's does not. But a program of another machine is none that
/// a shell could read.
pub fn exec(command: &[OsString]) -> Failure {
    let Some(program) = command.first() else {
        return Failure::usage("no COMMAND given");
    };
    let words: Result<Vec<CString>, _> =
        command.iter().map(|word| CString::new(word.as_bytes())).collect();
    let Ok(words) = words else {
        return Failure::new(format!("run {program:?}: a NUL byte in its arguments"));
    };
    sys::restore_what_the_runtime_changed();
    let errno = search(program, |path| run(path, &words));
    failed(program, errno, |failure| match errno {
        Errno::EACCES => not_read(failure, program),
        Errno::ENOENT => not_found(failure, program),
        _ => failure,
    })
}

/// Tries one after the other; the errno of the one that counts if none can be run.
fn search(program: &OsStr, run: impl Fn(&Path) -> Errno) -> Errno {
    let mut errno = Errno::ENOENT;
    for path in candidates(program) {
        match run(&path) {
            Errno::EACCES => errno = Errno::EACCES,
            Errno::ENOENT | Errno::ENOTDIR | Errno::ENODEV | Errno::ESTALE | Errno::ETIMEDOUT
                if !is_path(program) => {}
            other => return other,
        }
    }
    errno
}

fn run(path: &Path, words: &[CString]) -> Errno {
    let exec = |path: &CStr, words: &[CString]| match execv(path, words) {
        Ok(never) => match never {},
        Err(errno) => errno,
    };
    let Ok(name) = CString::new(path.as_os_str().as_bytes()) else { return Errno::EINVAL };
    match exec(&name, words) {
        Errno::ENOEXEC => match is_text(path) {
            Ok(true) => {
                const SHELL: &CStr = c"/bin/sh";
                // A name that begins with a hyphen is no option.
                let dash = name.as_bytes().starts_with(b"-");
                let name = if dash { [b"./", name.as_bytes()].concat() } else { name.into_bytes() };
                let Ok(name) = CString::new(name) else { return Errno::EINVAL };
                let script =
                    [&[SHELL.to_owned(), name], words.get(1..).unwrap_or_default()].concat();
                exec(SHELL, &script)
            }
            Ok(false) => Errno::ENOEXEC,
            Err(errno) => errno,
        },
        errno => errno,
    }
}

/// Whether a shell may try to read it: not if it is a program, whole or cut. An error is one that
/// the shell would have, too.
fn is_text(path: &Path) -> nix::Result<bool> {
    let file = nix::fcntl::open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut head = Vec::new();
    let read = File::from(file).take(4).read_to_end(&mut head);
    Ok(read.is_ok() && head != b"\x7fELF")
}

fn failed(program: &OsStr, errno: Errno, explained: impl FnOnce(Failure) -> Failure) -> Failure {
    let failure = Failure::errno(format!("run {program:?}"), errno).hint_if(Errno::ENOEXEC, || {
        "it is a program of another machine, or a damaged one, as file(1) says; \
         nsenter-lite --load-interp has qemu run those of others"
            .into()
    });
    explained(failure).with_exec_status(if errno == Errno::ENOENT { 127 } else { 126 })
}

/// Looks for COMMAND as [`exec`] will do in a root and a directory that are not entered yet, by this
/// PATH or ours; whether its user may run it is seen only then.
pub fn find(
    root: impl AsFd,
    workdir: &Path,
    program: &OsStr,
    path: Option<&OsStr>,
) -> Result<(), Failure> {
    let tried = candidates_in(path.map(OsStr::to_owned), program)
        .map(|path| runnable(&root, &workdir.join(path)));
    let tried: Vec<_> = tried.collect();
    let refused =
        tried.iter().find_map(|outcome| outcome.err().filter(|errno| *errno == Errno::EACCES));
    match tried.iter().any(Result::is_ok) {
        true => Ok(()),
        false => Err(failed(program, refused.unwrap_or(Errno::ENOENT), |failure| failure)),
    }
}

fn runnable(root: impl AsFd, path: &Path) -> nix::Result<()> {
    let file = inroot::open_in(root, path, OFlag::O_PATH)?;
    let stat = fstat(file)?;
    let runnable = stat.st_mode & 0o111 != 0 && file::is(&stat, SFlag::S_IFREG);
    if runnable { Ok(()) } else { Err(Errno::EACCES) }
}

/// Finds COMMAND as [`exec`] does, and opens it, for [`exec_opened`] in another root or mount table.
pub fn open(command: &[OsString]) -> Result<OwnedFd, Failure> {
    let program = command.first().ok_or_else(|| Failure::usage("no COMMAND given"))?;
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let tried = |errno| Failure::errno(format!("run {program:?}"), errno);
    let path = in_path(program).unwrap_or_default();
    let fd = match nix::fcntl::open(&path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::ENOENT) => {
            return Err(not_found(tried(Errno::ENOENT), program).with_exec_status(127));
        }
        Err(errno) => return Err(tried(errno).with_exec_status(126)),
    };
    // What execve(2) says of a FIFO, which would wait for a writer, or a device.
    if !file::is(&fstat(&fd).map_err(tried)?, SFlag::S_IFREG) {
        return Err(tried(Errno::EACCES).with_exec_status(126));
    }
    let mut head = [0; 2];
    let file = File::open(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let is_script = file.and_then(|mut file| file.read_exact(&mut head)).is_ok();
    if is_script && head == *b"#!" {
        return Err(Failure::new(format!(
            "run {program:?} of outside: it is a script, and its interpreter is given a path, which \
             is not there inside"
        ))
        .hint(TAKE_A_PROGRAM)
        .with_exec_status(126));
    }
    Ok(fd)
}

/// The file that execvp(3) would take: the first in PATH that may be executed.
fn in_path(program: &OsStr) -> Option<PathBuf> {
    let runs = |file: &PathBuf| file.is_file() && access(file, AccessFlags::X_OK).is_ok();
    candidates(program).find(|file| is_path(program) || runs(file))
}

/// Where execvp(3) looks for a program; nowhere for one without a name.
fn candidates(program: &OsStr) -> impl Iterator<Item = PathBuf> {
    candidates_in(None, program)
}

fn candidates_in(path: Option<OsString>, program: &OsStr) -> impl Iterator<Item = PathBuf> {
    let path = path.or_else(|| std::env::var_os("PATH")).unwrap_or_else(|| "/bin:/usr/bin".into());
    let folders: Vec<PathBuf> = match is_path(program) {
        _ if program.is_empty() => vec![],
        true => vec![PathBuf::new()],
        false => std::env::split_paths(&path).collect(),
    };
    folders.into_iter().map(move |folder| folder.join(program))
}

fn is_path(program: &OsStr) -> bool {
    program.as_bytes().contains(&b'/')
}

const TAKE_A_PROGRAM: &str = "take a program for it, statically linked";

/// Becomes the program that [`open`] opened. See `execveat(2)`, Linux 3.19.
pub fn exec_opened(program: &OwnedFd, command: &[OsString]) -> Failure {
    let name = command.first().cloned().unwrap_or_default();
    let text = |text: Vec<u8>| CString::new(text);
    let words: Result<Vec<_>, _> =
        command.iter().map(|word| text(word.as_bytes().to_vec())).collect();
    let environment: Result<Vec<_>, _> = std::env::vars_os()
        .map(|(name, value)| text([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect();
    let (Ok(words), Ok(environment)) = (words, environment) else {
        return Failure::new(format!("run {name:?}: a NUL byte in its arguments"));
    };
    sys::restore_what_the_runtime_changed();
    let errno = match execveat(program, c"", &words, &environment, AtFlags::AT_EMPTY_PATH) {
        Ok(never) => match never {},
        Err(errno) => errno,
    };
    Failure::errno(format!("run {name:?} of outside"), errno)
        .hint_if(Errno::ENOENT, || {
            "what has to load it is looked for inside, and is not there: link it statically".into()
        })
        // A shell would have to read it by its path.
        .hint_if(Errno::ENOEXEC, || TAKE_A_PROGRAM.into())
        .with_exec_status(if errno == Errno::ENOENT { 127 } else { 126 })
}

/// Execution takes no right to read; but what the kernel has no loader for, a shell has to read.
fn not_read(failure: Failure, program: &OsStr) -> Failure {
    if let Some(folder) = candidates(program).find(|path| path.is_dir()) {
        return failure.hint(format!("{folder:?} is a folder, and no program"));
    }
    let may = |path: &Path, what| access(path, what).is_ok();
    let hidden = |path: &PathBuf| {
        path.is_file() && may(path, AccessFlags::X_OK) && !may(path, AccessFlags::R_OK)
    };
    match candidates(program).find(hidden) {
        Some(path) => failure.hint(format!(
            "{path:?} may be executed, but not read, as a script has to be: chmod a+r"
        )),
        None => failure,
    }
}

/// The kernel says ENOENT also when the file is there and what must load it is not.
fn not_found(failure: Failure, program: &OsStr) -> Failure {
    let Some(path) = candidates(program).find(|path| path.exists()) else {
        return match program.as_bytes() {
            [] => failure.hint("an empty word names no program: is a shell variable empty?"),
            _ if is_path(program) => failure,
            _ => failure.hint("it is in no folder of PATH here; name it by its path, as /bin/sh"),
        };
    };
    match interpreter(&path) {
        Some(loader) if fs::metadata(&loader).is_err() => {
            failure.hint(format!("{path:?} is there; what has to load it, {loader:?}, is not"))
        }
        _ => failure,
    }
}

/// The program that is loaded for this file: the `#!` line's, ELF's `PT_INTERP`, or the shell.
fn interpreter(path: &Path) -> Option<PathBuf> {
    let file = File::open(path).ok()?;
    let mut head = Vec::new();
    (&file).take(4096).read_to_end(&mut head).ok()?;
    let Some(rest) = head.strip_prefix(b"#!") else {
        return match elf::read(&file).ok()? {
            Some(program) => program.interpreter,
            None => Some("/bin/sh".into()),
        };
    };
    let line = rest.split(|byte| *byte == b'\n').next()?.trim_ascii();
    line.split(u8::is_ascii_whitespace).next().map(|word| OsString::from_vec(word.to_vec()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Form;

    fn run(program: &str) -> Failure {
        exec(&[program.into()])
    }

    /// A folder is no program, and the next one in PATH counts.
    #[test]
    fn the_search_goes_on_as_that_of_execvp() {
        let searched = |program: &str, answers: &[Errno]| {
            let asked = std::cell::Cell::new(0);
            let answer = |_: &Path| {
                asked.set(asked.get() + 1);
                *answers.get(asked.get() - 1).unwrap_or(&Errno::ENOENT)
            };
            search(OsStr::new(program), answer)
        };
        assert_eq!(searched("x", &[Errno::ENOTDIR]), Errno::ENOENT);
        assert_eq!(searched("x", &[Errno::EACCES, Errno::ENOENT]), Errno::EACCES);
        assert_eq!(searched("x", &[Errno::EACCES, Errno::E2BIG]), Errno::E2BIG);
        assert_eq!(searched("./x", &[Errno::ENOTDIR]), Errno::ENOTDIR);
        assert_eq!(searched("", &[Errno::E2BIG]), Errno::ENOENT);
    }

    #[test]
    fn a_missing_program_is_127_and_a_folder_126() {
        assert_eq!(run("/nowhere/at/all").status(Form::Command), 127);
        assert_eq!(run("no-such-program-anywhere").status(Form::Command), 127);
        let folder = run("/etc");
        assert_eq!(folder.status(Form::Command), 126);
        let wanted = "t: run \"/etc\": Permission denied (EACCES)\n\
            hint: \"/etc\" is a folder, and no program\n";
        assert_eq!(folder.lines("t"), wanted);
    }

    #[test]
    fn the_loader_of_an_elf_file_and_of_a_script() {
        let this = std::env::current_exe().expect("a test has a path");
        assert!(interpreter(&this).expect("it is linked dynamically").is_absolute());
        let script = std::env::temp_dir().join(format!("common-exec-{}", std::process::id()));
        fs::write(&script, "#! /no/such/interpreter -x\n").expect("a file in the temporary folder");
        let found = interpreter(&script);
        fs::remove_file(&script).expect("it was just written");
        assert_eq!(found, Some("/no/such/interpreter".into()));
    }
}

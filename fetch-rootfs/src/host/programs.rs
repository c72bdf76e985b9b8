//! Which programs a root gets, and what each of them needs to run.

use std::io::Read;
use std::path::{Path, PathBuf};

use common::{Failure, Tried};
use nix::errno::Errno;

use super::libraries::Libraries;
use super::machine::{Machine, Trail};

/// Every root has it: scripts begin with it, and so does a person.
const SHELL: &str = "/bin/sh";

/// What a person expects who enters a root to look around. No editor: one needs a lot besides
/// itself. No su: it needs PAM, and `chrootx -u` is there.
const USUAL: &str = "
    bash
    [ arch b2sum base32 base64 basename cat chgrp chmod chown chroot cksum comm cp csplit cut date
    dd df dir dircolors dirname du echo env expand expr factor false fmt fold groups head hostid id
    install join link ln logname ls md5sum mkdir mkfifo mknod mktemp mv nice nl nohup nproc numfmt
    od paste pathchk pr printenv printf ptx pwd readlink realpath rm rmdir runcon seq sha1sum
    sha224sum sha256sum sha384sum sha512sum shred shuf sleep sort split stat stdbuf stty sum sync
    tac tail tee test timeout touch tr true truncate tsort tty uname unexpand uniq unlink users vdir
    wc who whoami yes
    free kill pgrep pidwait pkill pmap ps pwdx slabtop sysctl tload top uptime vmstat w watch
    awk cmp diff egrep fgrep find grep less more sed which xargs
    bzip2 gunzip gzip tar unxz xz xzcat zcat
    chrt dmesg findmnt flock getopt hostname ip ipcmk ipcrm ipcs losetup lsblk lsns mount
    mountpoint nsenter prlimit renice script setarch setpriv setsid swapon taskset umount
    unshare whereis
    capsh clear getcap getent locale reset setcap tput tset
";

/// What the kernel and the loader need to start a program.
pub struct Closure {
    /// The program, and those that it is a script for.
    pub programs: Vec<Trail>,
    /// Loaders and libraries.
    pub libraries: Vec<Trail>,
}

/// What the programs named need, or the usual ones as far as this machine has them and can run
/// them; in any case a shell.
pub fn closures(machine: &Machine, named: &[String]) -> Result<Vec<Closure>, Failure> {
    let mut libraries = Libraries::of(machine);
    let mut closures = vec![closure(machine, &mut libraries, shell(machine)?)?];
    if named.is_empty() {
        let usual = USUAL.split_ascii_whitespace().filter_map(|name| machine.find_own(name));
        closures.extend(usual.filter_map(|path| closure(machine, &mut libraries, path).ok()));
    }
    for name in named {
        let path = named_by_user(machine, name)?;
        closures.push(closure(machine, &mut libraries, path)?);
    }
    Ok(closures)
}

fn shell(machine: &Machine) -> Result<PathBuf, Failure> {
    let usual = PathBuf::from(SHELL);
    match machine.walk(&usual) {
        Ok(trail) if trail.is_program() => Ok(usual),
        _ => Err(Failure::new(format!("find a shell for the root: this machine has no {usual:?}"))
            .hint("a root file system from an archive has its own: fetch-rootfs URL DIR")),
    }
}

fn named_by_user(machine: &Machine, name: &str) -> Result<PathBuf, Failure> {
    let what = format!("find the program {name:?} on this machine");
    let usage = |why: &str, hint: &str| Failure::usage(format!("{what}: {why}")).hint(hint);
    let path = PathBuf::from(name);
    if path.is_absolute() {
        return match machine.walk(&path) {
            Ok(trail) if trail.is_program() => Ok(path),
            Ok(_) => Err(usage("it is not an executable file", "chmod +x makes a file executable")),
            Err(error) => {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
                let why = format!("{} ({errno:?})", errno.desc());
                Err(usage(&why, "ls -l shows what is there"))
            }
        };
    }
    if name.is_empty() {
        return Err(usage("the name is empty", "write host:PROGRAM,PROGRAM"));
    }
    if name.contains('/') {
        return Err(usage("it is a relative path", "name it by its absolute path"));
    }
    machine.find(name).ok_or_else(|| {
        usage("it is in no folder of PATH", "install it, or name it by its absolute path")
    })
}

/// A program, its interpreter if it is a script, that one's own, and all their libraries.
fn closure(
    machine: &Machine,
    libraries: &mut Libraries<'_>,
    path: PathBuf,
) -> Result<Closure, Failure> {
    let mut closure = Closure { programs: Vec::new(), libraries: Vec::new() };
    let (mut todo, mut seen) = (vec![path], Vec::new());
    while let Some(path) = todo.pop() {
        if seen.contains(&path) {
            continue;
        }
        let trail = machine.walk(&path).tried(|| format!("find the program {path:?}"))?;
        let real = Path::new("/").join(&trail.real);
        match libraries.headers(&real)? {
            Some(elf) => {
                for library in libraries.needed_by(&real, elf)? {
                    let what = || format!("find the library {library:?}");
                    closure.libraries.push(machine.walk(&library).tried(what)?);
                }
            }
            None => todo.extend(interpreters(machine, &real)?),
        }
        closure.programs.push(trail);
        seen.push(path);
    }
    Ok(closure)
}

/// What a script is run by: what its first line says, and the program that env(1) is to run.
/// A script without such a line is given to the shell, which every root has.
fn interpreters(machine: &Machine, script: &Path) -> Result<Vec<PathBuf>, Failure> {
    const LONGEST_LINE: u64 = 256; // BINPRM_BUF_SIZE
    let mut head = Vec::new();
    let file = machine.open(script).tried(|| format!("read {script:?}"))?;
    file.take(LONGEST_LINE).read_to_end(&mut head).tried(|| format!("read {script:?}"))?;
    let Some((interpreter, program)) = first_line(&head) else { return Ok(Vec::new()) };
    let mut found = vec![PathBuf::from(interpreter)];
    if let Some(name) = program {
        found.push(machine.find(&name).ok_or_else(|| {
            Failure::new(format!("find the interpreter {name:?} of {script:?}: it is not in PATH"))
        })?);
    }
    Ok(found)
}

/// What `#!/usr/bin/env -S A=b perl -w` names: a program, and that which env(1) is to run.
pub fn first_line(head: &[u8]) -> Option<(String, Option<String>)> {
    let line = head.strip_prefix(b"#!")?;
    let line = String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or(line));
    let mut words = line.split_ascii_whitespace();
    let interpreter = words.next()?.to_owned();
    let program = words.find(|word| !word.starts_with('-') && !word.contains('='));
    let program = program.filter(|_| interpreter.ends_with("/env")).map(str::to_owned);
    Some((interpreter, program))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn machine(files: &[(&str, &str)]) -> (support::TempDir, Machine) {
        let folder = support::scratch();
        for (path, content) in files {
            let file = folder.path().join(path);
            fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
            fs::write(&file, content).expect("a file");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("our file");
        }
        let machine = Machine::at(folder.path(), std::iter::empty());
        (folder, machine)
    }

    fn taken(machine: &Machine, named: &[&str]) -> Result<Vec<String>, Failure> {
        let named: Vec<String> = named.iter().map(ToString::to_string).collect();
        let programs = closures(machine, &named)?.into_iter().flat_map(|closure| closure.programs);
        Ok(programs.map(|trail| trail.real.display().to_string()).collect())
    }

    #[test]
    fn a_script_brings_what_runs_it() {
        let (_folder, machine) = machine(&[
            ("bin/sh", "the shell"),
            ("usr/bin/env", "env"),
            ("usr/bin/python", "#! /opt/python3 -I\n"),
            ("opt/python3", "python"),
            ("usr/bin/tool", "#!/usr/bin/env -S LANG=C python -u\n"),
            ("usr/bin/circle", "#!/usr/bin/circle"),
        ]);
        let taken = |named: &[&str]| taken(&machine, named).expect("all is there");
        assert_eq!(
            taken(&["tool"]),
            ["bin/sh", "usr/bin/tool", "usr/bin/python", "opt/python3", "usr/bin/env"]
        );
        assert_eq!(taken(&["/usr/bin/circle"]), ["bin/sh", "usr/bin/circle"]);
    }

    #[test]
    fn what_is_named_must_be_there_and_what_is_usual_need_not() {
        let lost = ("usr/bin/lost", "#!/usr/bin/env nonesuch\n");
        let broken = ("usr/bin/ls", "\x7fELF and then nonsense");
        let (_folder, machine) = machine(&[("bin/sh", ""), ("usr/bin/env", ""), lost, broken]);
        assert_eq!(taken(&machine, &[]).expect("a shell is enough"), ["bin/sh", "usr/bin/env"]);
        for (name, status, why) in [
            ("nonesuch", 2, "it is in no folder of PATH"),
            ("/bin/nonesuch", 2, "ENOENT"),
            ("/bin", 2, "not an executable file"),
            ("./sh", 2, "a relative path"),
            ("", 2, "the name is empty"),
            ("lost", 1, "the interpreter \"nonesuch\" of \"/usr/bin/lost\""),
            ("ls", 1, "read the ELF headers of \"/usr/bin/ls\""),
        ] {
            let failure = taken(&machine, &[name]).expect_err("it can't be taken");
            assert_eq!(failure.status(common::Form::Plain), status, "{name}");
            assert!(failure.lines("t").contains(why), "{}", failure.lines("t"));
        }
    }

    #[test]
    fn a_root_without_a_shell_is_none() {
        let (_folder, machine) = machine(&[("usr/bin/ls", "ls")]);
        let failure = taken(&machine, &[]).expect_err("there is no shell");
        assert!(failure.lines("t").contains("no \"/bin/sh\""), "{}", failure.lines("t"));
    }
}

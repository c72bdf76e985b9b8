//! Not probes: programs that start others, or say who they are.

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{
    ForkResult, Gid, Uid, execv, execvp, geteuid, getpid, pipe, setgroups, setresgid, setresuid,
};

use crate::{faults, sys};

/// `None` if the name is none of ours.
#[allow(clippy::print_stdout, reason = "to be read by a test")]
pub fn run(name: &str, arguments: &[String]) -> Option<ExitCode> {
    let failed = match (name, arguments) {
        ("euid", []) => {
            println!("{}", geteuid());
            return Some(ExitCode::SUCCESS);
        }
        ("serial", []) => match sys::session_keyring() {
            Ok(serial) => {
                println!("{serial}");
                return Some(ExitCode::SUCCESS);
            }
            Err(errno) => errno.to_string(),
        },
        ("deny", [errno, calls, command @ ..]) if !command.is_empty() => {
            deny(errno, calls).and_then(|()| hand_over(command)).err()?
        }
        ("fault", [log, place, errno, command @ ..]) if !command.is_empty() => {
            match faults::run(log, place, errno, command) {
                Ok(status) => return Some(ExitCode::from(status)),
                Err(why) => why,
            }
        }
        ("mapped", [first, count, command @ ..]) if !command.is_empty() => {
            mapped(first, count).and_then(|()| hand_over(command)).err()?
        }
        _ => return None,
    };
    eprintln!("probe: {name}: {failed}");
    Some(ExitCode::from(125))
}

/// A script's first line, `#!/PATH/probe deny:ERRNO:CALL:PROGRAM`: PROGRAM by the script's name,
/// with the script's arguments, without the call.
pub fn stand_in(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let line = arguments.nth(1)?;
    let mut parts = line.to_str()?.strip_prefix("deny:")?.splitn(3, ':');
    let (errno, calls, program) = (parts.next()?, parts.next()?, parts.next()?);
    let words: Vec<CString> =
        arguments.filter_map(|word| CString::new(word.into_vec()).ok()).collect();
    let program = CString::new(program).ok()?;
    let failed = deny(errno, calls).and_then(|()| {
        execv(&program, &words).map(drop).map_err(|errno| format!("run {program:?}: {errno}"))
    });
    eprintln!("probe: {}", failed.err()?);
    Some(ExitCode::from(125))
}

fn hand_over(command: &[String]) -> Result<(), String> {
    let words: Vec<CString> =
        command.iter().filter_map(|word| CString::new(word.as_str()).ok()).collect();
    execvp(&words[0], &words).map(drop).map_err(|errno| format!("run {:?}: {errno}", command[0]))
}

/// From here on these calls end with this error, as on an older kernel, or under the filter of an
/// engine that does not know them.
fn deny(errno: &str, calls: &str) -> Result<(), String> {
    let errno = match errno {
        "ENOSYS" => Errno::ENOSYS,
        "EPERM" => Errno::EPERM,
        other => return Err(format!("no errno of ours: {other:?}")),
    };
    let number = |name: &str| {
        Ok(match name {
            "openat2" => libc::SYS_openat2,
            "open_tree" => libc::SYS_open_tree,
            "move_mount" => libc::SYS_move_mount,
            "mount_setattr" => libc::SYS_mount_setattr,
            "fsopen" => libc::SYS_fsopen,
            "clone3" => libc::SYS_clone3,
            "close_range" => libc::SYS_close_range,
            "pidfd_open" => libc::SYS_pidfd_open,
            "vhangup" => libc::SYS_vhangup, // nobody calls it: what the filter alone changes
            other => return Err(format!("no call of ours: {other:?}")),
        })
    };
    let numbers = calls.split(',').map(number).collect::<Result<Vec<_>, _>>()?;
    let count = u8::try_from(numbers.len()).map_err(|_| "too many calls".to_string())?;
    let statement = |code: u32, k: u32, jt: u8| libc::sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf: 0,
        k,
    };
    // The number of the call is what seccomp_data begins with.
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for (number, rest) in numbers.iter().zip((0..count).rev()) {
        let number = u32::try_from(*number).map_err(|error| error.to_string())?;
        program.push(statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number, rest + 1));
    }
    let answer = libc::SECCOMP_RET_ERRNO | (errno as i32).cast_unsigned();
    program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0));
    program.push(statement(libc::BPF_RET | libc::BPF_K, answer, 0));
    let filter = || common::sys::power::filter_calls(&program);
    filter()
        .or_else(|_| {
            // An ordinary user's filter must not reach into a setuid program.
            nix::sys::prctl::set_no_new_privs()?;
            filter()
        })
        .map_err(|errno| format!("seccomp: {errno}"))
}

/// Root in a user namespace whose ids 0 and up are the machine's FIRST and up. It takes a process
/// of the outside to write that map.
#[allow(clippy::exit, reason = "the child is there to write, and no more")]
fn mapped(first: &str, count: &str) -> Result<(), String> {
    let say = |errno: Errno| errno.to_string();
    let (reader, writer) = pipe().map_err(say)?;
    let (told, teller) = pipe().map_err(say)?;
    let us = getpid();
    match common::sys::fork().map_err(say)? {
        ForkResult::Child => {
            drop((writer, told));
            let _ = File::from(reader).read(&mut [0]);
            let written = ["uid_map", "gid_map"].into_iter().try_for_each(|name| {
                fs::write(format!("/proc/{us}/{name}"), format!("0 {first} {count}"))
            });
            let _ = written.and_then(|()| File::from(teller).write_all(b"x"));
            std::process::exit(0);
        }
        ForkResult::Parent { child } => {
            drop((reader, teller));
            unshare(CloneFlags::CLONE_NEWUSER).map_err(say)?;
            File::from(writer).write_all(b"x").map_err(|error| error.to_string())?;
            // Not by its status, which is lost where the caller ignores SIGCHLD.
            let told = File::from(told).read_exact(&mut [0]);
            told.map_err(|error| format!("write the map: {error}"))?;
            let _ = waitpid(child, None);
        }
    }
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[]).and_then(|()| setresgid(group, group, group)).map_err(say)?;
    setresuid(user, user, user).map_err(say)
}

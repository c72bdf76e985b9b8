//! A group given to a user, who then makes groups in it and limits them without being root.

use std::path::{Path, PathBuf};

use common::{Failure, Tried, file, shell};
use nix::unistd::{Uid, chown};

use crate::control::explain;

/// The files that let their owner move processes and hand controllers down. Not the limits: they
/// are what holds the user.
const FILES: [&str; 4] = ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks"];

/// A user by number, or by name as /etc/passwd has it.
pub fn user(name: &str) -> Result<Uid, Failure> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    let number = match name.parse() {
        Ok(number) if digits => number,
        _ => by_name(name)?,
    };
    // To chown(2) this one is -1, by which the owner stays as it is.
    if number == u32::MAX {
        return Err(Failure::new(format!("delegate to {name:?}: {number} is nobody's number"))
            .hint("id -u USER shows the number of a user"));
    }
    Ok(Uid::from_raw(number))
}

fn by_name(name: &str) -> Result<u32, Failure> {
    let file = "/etc/passwd";
    let text = file::text(file).tried(|| format!("read {file:?}"))?;
    let mut users = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let fields = users.find(|fields| fields.first() == Some(&name));
    fields.and_then(|fields| fields.get(2)?.parse().ok()).ok_or_else(|| {
        Failure::new(format!("find the user {name:?}: {file} has no such name"))
            .hint("a user from elsewhere is found by number: id -u USER")
    })
}

/// What becomes the user's: the folder, so that groups can be made in it, and these files.
fn files(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let files = FILES.iter().map(|name| dir.join(name)).filter(|file| file.exists());
    [dir.to_owned()].into_iter().chain(files)
}

/// The same in shell, where which of the files there will be is not known yet.
pub fn line(dir: &Path, user: Uid) -> String {
    let files = FILES.map(|name| shell::operand(dir.join(name))).join(" ");
    format!(
        "chown {user} {}; for file in {files}; do \
         if [ -e \"$file\" ]; then chown {user} \"$file\"; fi; done",
        shell::operand(dir)
    )
}

/// Gives it to the user.
pub fn delegate(dir: &Path, user: Uid) -> Result<(), Failure> {
    for file in files(dir) {
        chown(&file, Some(user), None)
            .tried(|| format!("give {file:?} to user {user}"))
            .map_err(explain)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_name_and_number() {
        assert_eq!(user("root").ok(), Some(Uid::from_raw(0)));
        assert_eq!(user("65534").ok(), Some(Uid::from_raw(65534)));
        for name in ["", "roo", "root:x", "-1", "99999999999", "4294967295"] {
            let lines = user(name).expect_err(name).lines("cgset");
            assert!(lines.contains("hint: "), "{lines}");
        }
    }
}

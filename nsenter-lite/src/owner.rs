//! Whose a new user namespace is: the user's who makes it. In the namespace above, that user has
//! every capability over it, and so may enter it; see user_namespaces(7).

use std::str::FromStr;

use common::Failure;
use common::subordinate;
use nix::errno::Errno;

use crate::place::become_somebody;

/// The option of unshare(1) for it.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Owning {
    /// Make the new user namespace as this user and group, whose it is then, and who may enter it
    /// (implies --user)
    ///
    /// For root. What else is made belongs to that user namespace. COMMAND goes on as this user, who
    /// may be nobody inside: --setuid and --setgid make it somebody.
    #[arg(long, value_name = "UID:GID")]
    pub owner: Option<Owner>,
}

/// What `--owner` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub user: u32,
    pub group: u32,
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = |text| subordinate::id(text).ok();
        text.split_once(':')
            .and_then(|(user, group)| Some(Self { user: id(user)?, group: id(group)? }))
            .ok_or_else(|| "write UID:GID, as 1000:1000".into())
    }
}

impl Owner {
    /// The words of setpriv(1), which runs the rest.
    pub fn words(self) -> String {
        format!("setpriv --clear-groups --regid {} --reuid {} ", self.group, self.user)
    }

    /// Is that user from now on, and can't be traced by them: what root has open is not theirs.
    pub fn act(self) -> Result<(), Failure> {
        become_somebody(Some(self.user), Some(self.group)).map_err(|failure| {
            failure.hint_if(Errno::EPERM, || "that takes root: leave --owner out".into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_two_numbers() {
        assert_eq!("1000:100".parse(), Ok(Owner { user: 1000, group: 100 }));
        for text in ["", "1000", ":", "1000:", "a:b", "1:2:3", "-1:0", "0:4294967295", "1000:x"] {
            assert!(text.parse::<Owner>().is_err(), "{text}");
        }
    }
}

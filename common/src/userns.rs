//! Why this machine refuses user namespaces to an ordinary user, found by looking.

use std::path::Path;

use crate::file;

fn sysctl(name: &str) -> Option<String> {
    let text = file::text(Path::new("/proc/sys").join(name)).ok()?;
    Some(text.trim().to_owned())
}

/// The switch that keeps them from this program, and how it is turned; `None` if it is none of
/// those that are known.
pub fn refusal() -> Option<String> {
    if sysctl("kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        return Some(
            "AppArmor keeps user namespaces from this program: \
            sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
                .into(),
        );
    }
    if sysctl("kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return Some(
            "this kernel keeps user namespaces for root: \
            sudo sysctl kernel.unprivileged_userns_clone=1"
                .into(),
        );
    }
    None
}

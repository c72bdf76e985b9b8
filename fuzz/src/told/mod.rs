//! How a refusal is to look.

/// A line and perhaps a hint, and nothing that a terminal would take for a command.
pub fn told(why: &str) {
    assert!(why.starts_with("fetch-rootfs: ") && why.lines().count() <= 2, "{why:?}");
    let plain = |line: &str| !line.chars().any(char::is_control);
    assert!(why.lines().all(plain), "{why:?}");
}

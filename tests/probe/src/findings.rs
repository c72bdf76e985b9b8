//! What a probe has seen, and the one line that it comes to.

use std::fmt::Display;
use std::process::ExitCode;

use nix::errno::Errno;

/// Attempts that failed as they should, that did not, and that could not be made.
#[derive(Default)]
pub struct Findings {
    held: Vec<String>,
    escaped: Vec<String>,
    unclear: Vec<String>,
}

impl Findings {
    /// This held.
    pub fn held(&mut self, what: impl Display) {
        self.held.push(what.to_string());
    }

    /// This did not.
    pub fn escaped(&mut self, what: impl Display) {
        self.escaped.push(what.to_string());
    }

    /// This could not be tried.
    pub fn unclear(&mut self, what: impl Display) {
        self.unclear.push(what.to_string());
    }

    /// Holds if `so`.
    pub fn holds(&mut self, so: bool, what: impl Display) {
        match so {
            true => self.held(what),
            false => self.escaped(what),
        }
    }

    /// A call that must fail, and with one of these errors: any other means that it failed for
    /// some other reason than a boundary.
    #[allow(clippy::needless_pass_by_value, reason = "what was got by it is closed")]
    pub fn refused<T>(&mut self, what: impl Display, done: nix::Result<T>, by: &[Errno]) {
        match done {
            Ok(_) => self.escaped(what),
            Err(errno) if by.contains(&errno) => self.held(format!("{what} {errno:?}")),
            Err(errno) => self.unclear(format!("{what} {errno:?}")),
        }
    }

    /// Prints the line; the worst decides.
    #[allow(clippy::print_stdout, reason = "the line is what the program is for")]
    pub fn tell(self, probe: &str) -> ExitCode {
        let (word, what, status) = match (self.escaped.is_empty(), self.unclear.is_empty()) {
            (false, _) => ("escaped", self.escaped, 1),
            (true, false) => ("unclear", self.unclear, 2),
            (true, true) if self.held.is_empty() => ("unclear", vec!["nothing tried".into()], 2),
            (true, true) => ("contained", self.held, 0),
        };
        println!("{probe}: {word}: {}", what.join("; "));
        ExitCode::from(status)
    }
}

/// What the kernel, a mount or a filter says where it lets nobody through. ENOSYS is a filter's,
/// for a call that a process of no power can't tell from one that does not exist.
pub const REFUSALS: [Errno; 4] = [Errno::EPERM, Errno::EACCES, Errno::EROFS, Errno::ENOSYS];

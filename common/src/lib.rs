//! What the five tools share, and nothing else: one way to fail, one way to walk through
//! a plan, one way to hand over to the next program.
//!
//! A tool is three rooms, and its `main` is the corridor: `cli` turns the command line into
//! a request, `plan` reads the system and returns a list of [`step::Step`]s, and
//! [`step::perform`] prints them, or does them, or both.

pub mod elf;
pub mod exec;
pub mod file;
pub mod idmap;
pub mod inroot;
pub mod mountinfo;
pub mod pid;
pub mod pidfd;
pub mod report;
pub mod resident;
pub mod shell;
pub mod size;
pub mod step;
pub mod subordinate;
pub mod sys;
pub mod terminal;
pub mod userns;

pub use report::{Failure, Form, Tried};
pub use step::{Flow, Line, Mode, Narration, Step};

//! A plan is a list of steps, and a step is one value that is printed, explained and done:
//! what a tool says and what it does can't drift apart.

use crate::report::{self, Failure};
use crate::shell;

/// How a step reads in a shell script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A command of its own: `mkdir rootfs/proc`.
    Run(String),
    /// A command that runs the rest of the script in a changed process: `unshare --mount`.
    Within(String),
    /// A command that runs the rest of the script, which it takes as one word: `script -c`.
    Whole(String),
    /// The command that the shell becomes, the last one: `/bin/sh -c true`.
    Exec(String),
}

/// What follows a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next step.
    Next,
    /// Nothing: the work is done, and this is the exit status.
    Done(u8),
}

/// One thing that a tool does to the system or to itself.
pub trait Step {
    /// What the tool holds while it works: descriptors, a child, a status.
    type Hands;

    /// The shell line that does the same.
    fn line(&self) -> Line;

    /// Why, in a few words, and the manual page: `a private copy of the mount table; unshare(2)`.
    fn why(&self) -> String;

    /// Does it.
    fn act(&self, hands: &mut Self::Hands) -> Result<Flow, Failure>;

    /// Takes it back, after a later step has failed.
    fn undo(&self, _hands: &mut Self::Hands) -> Result<(), Failure> {
        Ok(())
    }
}

/// What to do with a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Do it, silently.
    Act,
    /// Do it, and say on standard error what is being done, as `sh -x` does.
    Explain,
    /// Print it as a script, and do nothing.
    DryRun,
}

/// The two options that every tool has.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Narration {
    /// Print a POSIX shell script that does the same by classic commands; do nothing
    #[arg(short = 'n', long, conflicts_with = "explain")]
    pub dry_run: bool,
    /// Say on standard error what is being done, step by step, as `sh -x` does
    #[arg(short = 'x', long)]
    pub explain: bool,
}

impl Narration {
    /// What to do with the plan.
    pub fn mode(self) -> Mode {
        match self {
            Self { dry_run: true, .. } => Mode::DryRun,
            Self { explain: true, .. } => Mode::Explain,
            Self { .. } => Mode::Act,
        }
    }
}

/// Walks through a plan. If a step fails, those before it are undone in reverse order.
pub fn perform<S: Step>(steps: &[S], mode: Mode, hands: &mut S::Hands) -> Result<u8, Failure> {
    if mode == Mode::DryRun {
        return report::print(&script(steps)).map(|()| 0);
    }
    for (done, step) in steps.iter().enumerate() {
        if mode == Mode::Explain {
            report::tell(&format!("+ {}\n", commented(text(&step.line()), &step.why())));
        }
        match step.act(hands) {
            Ok(Flow::Next) => {}
            Ok(Flow::Done(status)) => return Ok(status),
            Err(failure) if !failure.is_for_us_to_undo() => return Err(failure),
            Err(failure) => return Err(roll_back(&steps[..done], failure, hands)),
        }
    }
    Ok(0)
}

fn roll_back<S: Step>(done: &[S], failure: Failure, hands: &mut S::Hands) -> Failure {
    done.iter().rev().fold(failure, |failure, step| match step.undo(hands) {
        Ok(()) => failure,
        Err(left) => failure.and_left(&left),
    })
}

/// The whole plan as a POSIX shell script.
pub fn script<S: Step>(steps: &[S]) -> String {
    format!("#!/bin/sh\nset -e\n{}", body(steps))
}

/// The lines of a script. What follows a [`Line::Within`] becomes an argument of its command:
/// put behind it if it is a command itself, else given to a shell of its own.
fn body<S: Step>(steps: &[S]) -> String {
    let Some((step, rest)) = steps.split_first() else { return String::new() };
    match step.line() {
        Line::Run(command) => commented(&command, &step.why()) + "\n" + &body(rest),
        Line::Exec(command) => commented(&format!("exec {command}"), &step.why()) + "\n",
        Line::Whole(prefix) => {
            let inner = format!(" # {}\n{}", step.why(), body(rest));
            format!("exec {prefix} {}\n", shell::quote(&inner))
        }
        Line::Within(prefix) => {
            let (mut command, mut why, mut rest) = (format!("exec {prefix}"), step.why(), rest);
            while let Some((next, after)) = rest.split_first() {
                if matches!(next.line(), Line::Run(_) | Line::Whole(_)) {
                    let inner = format!(" # {why}\n{}", body(rest));
                    return format!("{command} sh -e -c {}\n", shell::quote(&inner));
                }
                command.extend([" ", text(&next.line())]);
                why.extend(["; then: ", &next.why()]);
                rest = after;
            }
            commented(&command, &why) + "\n"
        }
    }
}

fn text(line: &Line) -> &str {
    match line {
        Line::Run(text) | Line::Within(text) | Line::Whole(text) | Line::Exec(text) => text,
    }
}

fn commented(command: &str, why: &str) -> String {
    format!("{command}  # {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes its name into the log; fails if it is called `bad`.
    struct Note(&'static str, Line);

    impl Step for Note {
        type Hands = Vec<String>;
        fn line(&self) -> Line {
            self.1.clone()
        }
        fn why(&self) -> String {
            format!("{}(2)", self.0)
        }
        fn act(&self, log: &mut Vec<String>) -> Result<Flow, Failure> {
            log.push(self.0.into());
            match self.0 {
                "bad" => Err(Failure::new("bad step")),
                "end" => Ok(Flow::Done(7)),
                _ => Ok(Flow::Next),
            }
        }
        fn undo(&self, log: &mut Vec<String>) -> Result<(), Failure> {
            log.push(format!("undo {}", self.0));
            if self.0 == "stuck" { Err(Failure::new("stuck step")) } else { Ok(()) }
        }
    }

    fn note(name: &'static str) -> Note {
        Note(name, Line::Run(name.into()))
    }

    #[test]
    fn a_failure_undoes_what_came_before_in_reverse() {
        let mut log = Vec::new();
        let plan = [note("one"), note("stuck"), note("bad"), note("never")];
        let failure = perform(&plan, Mode::Act, &mut log).expect_err("the plan has a bad step");
        assert_eq!(log, ["one", "stuck", "bad", "undo stuck", "undo one"]);
        assert_eq!(failure.lines("t"), "t: bad step; then, putting things back: stuck step\n");
    }

    #[test]
    fn done_ends_the_walk_with_its_status() {
        let mut log = Vec::new();
        let status = perform(&[note("end"), note("never")], Mode::Act, &mut log);
        assert_eq!((status.expect("no step fails"), log.len()), (7, 1));
    }

    #[test]
    fn a_script_nests_what_runs_in_a_changed_process() {
        let unshare = || Note("unshare", Line::Within("unshare --mount".into()));
        let sh = || Note("exec", Line::Exec("/bin/sh".into()));
        assert_eq!(
            script(&[note("mkdir"), unshare(), sh()]),
            "#!/bin/sh\nset -e\nmkdir  # mkdir(2)\n\
             exec unshare --mount /bin/sh  # unshare(2); then: exec(2)\n"
        );
        assert_eq!(
            script(&[unshare(), note("it's"), sh()]),
            "#!/bin/sh\nset -e\nexec unshare --mount sh -e -c ' # unshare(2)\n\
             it'\\''s  # it'\\''s(2)\nexec /bin/sh  # exec(2)\n'\n"
        );
        assert_eq!(
            script(&[unshare(), unshare(), note("mount"), sh()]),
            "#!/bin/sh\nset -e\nexec unshare --mount unshare --mount sh -e -c \
             ' # unshare(2); then: unshare(2)\nmount  # mount(2)\nexec /bin/sh  # exec(2)\n'\n"
        );
    }

    #[test]
    fn a_script_is_one_word_to_what_takes_it_whole() {
        let script_c = || Note("pty", Line::Whole("script -c".into()));
        let unshare = Note("unshare", Line::Within("unshare --mount".into()));
        let sh = || Note("exec", Line::Exec("/bin/sh".into()));
        let inner = "' # pty(2)\nexec /bin/sh  # exec(2)\n'";
        let alone = format!("#!/bin/sh\nset -e\nexec script -c {inner}\n");
        assert_eq!(script(&[script_c(), sh()]), alone);
        let inside = format!(" # unshare(2)\nexec script -c {inner}\n");
        let within =
            format!("#!/bin/sh\nset -e\nexec unshare --mount sh -e -c {}\n", shell::quote(&inside));
        assert_eq!(script(&[unshare, script_c(), sh()]), within);
    }

    #[test]
    fn a_dry_run_does_nothing() {
        let mut log = Vec::new();
        perform(&[note("one")], Mode::DryRun, &mut log).expect("printing works");
        assert!(log.is_empty());
    }
}

//! The options for what surrounds COMMAND while it runs.

/// A PID 1, a terminal.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Life {
    /// Be PID 1 for COMMAND, which is PID 2 then (implies --pid)
    ///
    /// PID 1 reaps orphans and passes on the signals that it gets. All that is left ends with
    /// COMMAND, and all ends when nsenter-lite is killed, whatever COMMAND does. COMMAND has a
    /// process group of its own, and the terminal if nsenter-lite would have it.
    #[arg(long, conflicts_with = "target")]
    pub init: bool,
    /// Give COMMAND a terminal of its own, for all of its input and output (implies --fork)
    ///
    /// It is of the new mount namespace's own devpts, if there is one, else of the caller's. COMMAND
    /// can put nothing into the input of the caller's terminal. Input that is no terminal is not
    /// echoed, and its end is told by Ctrl-D; output that is none gets no carriage returns.
    #[arg(long)]
    pub pty: bool,
}

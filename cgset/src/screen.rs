//! Where the live lines go: a block on the terminal that is drawn anew in its place, or line after
//! line where that can't be.

use std::io::{ErrorKind, IsTerminal, Write as _, stdout};

use common::{Failure, Tried, sys};

/// The window of a terminal that does not know its own.
const USUAL: (usize, usize) = (24, 80);

/// Standard output.
pub struct Screen {
    pub is_terminal: bool,
    /// Whether the cursor can be moved.
    moves: bool,
    /// How many lines stand above the cursor that are ours.
    drawn: usize,
}

impl Screen {
    /// As it is. The terminal's settings are left alone and the cursor stays below the block, so
    /// that there is nothing to put back, whatever ends us.
    pub fn ours() -> Self {
        let term = std::env::var("TERM").unwrap_or_default();
        let is_terminal = stdout().is_terminal();
        let moves = is_terminal && !["", "dumb"].contains(&term.as_str());
        Self { is_terminal, moves, drawn: 0 }
    }

    /// Columns of the window. In the last one some terminals go on to the next line.
    pub fn width() -> usize {
        sys::window(stdout()).unwrap_or(USUAL).1.saturating_sub(1)
    }

    /// What stands there is no longer where we think: the window has another size, or others have
    /// written below. The next block is a new one.
    pub fn forget(&mut self) {
        self.drawn = 0;
    }

    /// Draws the block, the first line of which is its head; says whether there is still a reader.
    pub fn draw(&mut self, lines: &[String]) -> Result<bool, Failure> {
        let rows = sys::window(stdout()).unwrap_or(USUAL).0;
        let text = self.frame(lines, rows);
        put(&text)
    }

    /// All of a block is one text, for one write: so there is never half of one to be seen.
    fn frame(&mut self, lines: &[String], rows: usize) -> String {
        if !self.moves {
            let head = usize::from(self.drawn > 0);
            self.drawn = lines.len();
            return lines.iter().skip(head).fold(String::new(), |text, line| text + line + "\n");
        }
        // One row is the cursor's; what has gone out of the window is not reached any more.
        let fit = rows.saturating_sub(1).max(1);
        let mut shown = lines.to_vec();
        if shown.len() > fit {
            let more = shown.len() - fit + 1;
            shown.truncate(fit - 1);
            shown.push(format!("... {more} more"));
        }
        let up = match self.drawn {
            0 => "\r".to_owned(),
            drawn => format!("\r\x1b[{drawn}A"),
        };
        self.drawn = shown.len();
        // Each line is cleared behind its end, and the rest of the old block below.
        let block = shown.iter().fold(String::new(), |text, line| text + line + "\x1b[K\n");
        format!("{up}{block}\x1b[J")
    }
}

/// Writes; says whether there is still a reader.
pub fn put(text: &str) -> Result<bool, Failure> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        outcome => outcome.tried(|| "write to standard output").map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<String> {
        (0..count).map(|n| n.to_string()).collect()
    }

    #[test]
    fn a_block_takes_the_place_of_the_one_before() {
        let mut screen = Screen { is_terminal: true, moves: true, drawn: 0 };
        assert_eq!(screen.frame(&lines(2), 24), "\r0\x1b[K\n1\x1b[K\n\x1b[J");
        assert_eq!(screen.frame(&lines(1), 24), "\r\x1b[2A0\x1b[K\n\x1b[J");
        screen.forget();
        assert_eq!(screen.frame(&lines(1), 24), "\r0\x1b[K\n\x1b[J");
    }

    #[test]
    fn a_block_is_no_higher_than_the_window() {
        let mut screen = Screen { is_terminal: true, moves: true, drawn: 0 };
        assert_eq!(screen.frame(&lines(9), 4), "\r0\x1b[K\n1\x1b[K\n... 7 more\x1b[K\n\x1b[J");
        assert!(screen.frame(&lines(9), 4).starts_with("\r\x1b[3A0"));
        assert_eq!(screen.frame(&lines(9), 1), "\r\x1b[3A... 9 more\x1b[K\n\x1b[J");
    }

    #[test]
    fn where_nothing_moves_the_head_comes_once() {
        let mut screen = Screen { is_terminal: true, moves: false, drawn: 0 };
        assert_eq!(screen.frame(&lines(2), 24), "0\n1\n");
        assert_eq!(screen.frame(&lines(2), 24), "1\n");
    }
}

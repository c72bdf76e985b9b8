//! Somebody at a terminal: a pseudoterminal that the test types on, with a shell as its session.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{Winsize, openpty};
use support::{Test, need_program, need_root};

const LIMIT: Duration = Duration::from_secs(10);

/// The session; its processes hang up with the value.
pub struct Session {
    keyboard: File,
    terminal: OwnedFd,
    screen: Receiver<Vec<u8>>,
    seen: String,
    shell: Child,
}

/// What a session takes.
pub fn need_sessions() -> Test {
    need_root()?;
    need_program("setsid")?;
    need_program("bash").map(drop)
}

impl Session {
    /// A program with a terminal of 24 rows and 80 columns; `$TOOL` is the tool.
    pub fn start(program: &[&str]) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("a pseudoterminal");
        // What other tests run meanwhile must not get it.
        for end in [&pair.master, &pair.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("ours");
        }
        let shells = || pair.slave.as_fd().try_clone_to_owned().expect("a descriptor");
        let shell = Command::new("setsid")
            .args(["--ctty", "env", "PS1=@ ", "PS2=", "ENV=", "TERM=dumb"])
            .arg(concat!("TOOL=", env!("CARGO_BIN_EXE_nsenter-lite")))
            .args(program)
            .stdin(shells())
            .stdout(shells())
            .stderr(shells())
            .spawn()
            .expect("setsid starts");
        let mut master =
            File::from(pair.master.as_fd().try_clone_to_owned().expect("a descriptor"));
        let (sender, screen) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(got @ 1..) = master.read(&mut bytes) {
                if sender.send(bytes[..got].to_vec()).is_err() {
                    break;
                }
            }
        });
        let keyboard = File::from(pair.master);
        Self { keyboard, terminal: pair.slave, screen, seen: String::new(), shell }
    }

    /// An interactive bash, which has job control.
    pub fn bash() -> Self {
        let mut session = Self::start(&["bash", "--norc", "--noprofile", "-i"]);
        session.expect("@ ");
        session
    }

    /// A script that is run by sh.
    pub fn sh(script: &str) -> Self {
        Self::start(&["sh", "-c", script])
    }

    /// Types something.
    pub fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes it");
    }

    /// Types a line.
    pub fn line(&mut self, line: &str) {
        self.keys(&format!("{line}\n"));
    }

    /// Waits until this is seen; gives what is seen up to there, from the last such place on.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let left = end.saturating_duration_since(Instant::now());
            let Ok(bytes) = self.screen.recv_timeout(left) else {
                panic!("not seen: {text:?}, but {:?}", self.seen);
            };
            self.seen += &String::from_utf8_lossy(&bytes);
        }
    }

    /// Runs a line of the shell to its next prompt; gives what it has printed.
    #[track_caller]
    pub fn run(&mut self, line: &str) -> String {
        self.line(&format!("{line}; echo so''far"));
        let seen = self.expect("sofar\r\n");
        self.expect("@ ");
        // Without the echo of the line, by the terminal and perhaps by the shell once more.
        let output = seen.rsplit_once("''far\r\n").map_or("", |(_, output)| output);
        output.trim_end_matches("sofar\r\n").to_owned()
    }

    /// As long as a program takes to start, and to do what can't be seen.
    pub fn pause(&mut self) {
        let end = Instant::now() + Duration::from_millis(300);
        while let Ok(bytes) =
            self.screen.recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            self.seen += &String::from_utf8_lossy(&bytes);
        }
        thread::sleep(end.saturating_duration_since(Instant::now()));
    }

    /// The process that has the session.
    pub fn pid(&self) -> i32 {
        self.shell.id().cast_signed()
    }

    /// Gives the window another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = ["rows", &rows.to_string(), "cols", &columns.to_string()].map(str::to_owned);
        let terminal = self.terminal.try_clone().expect("a descriptor");
        let set = Command::new("stty").args(size).stdin(terminal).status().expect("stty starts");
        assert!(set.success());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

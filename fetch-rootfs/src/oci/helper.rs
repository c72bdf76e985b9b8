//! Programs that know passwords: `docker-credential-NAME get` reads a server from standard input, and
//! writes who one is there. What they write is a secret, and never shown.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::auth::Credentials;
use super::manifest::LARGEST;

/// The user that a helper names where the secret is an identity token.
const TOKEN: &str = "<token>";

/// A helper, and the server that it is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    program: String,
    server: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl Helper {
    pub fn new(name: &str, server: &str) -> Self {
        // So docker(1) calls its own registry when it stores a password.
        let server = if server == "docker.io" { "https://index.docker.io/v1/" } else { server };
        Self { program: format!("docker-credential-{name}"), server: server.into() }
    }

    /// Asks it. That it has nothing, or is not there, is no failure yet: the image may be public.
    pub fn ask(&self) -> Credentials {
        self.answer().unwrap_or_else(|why| {
            Credentials::Elsewhere(format!(
                "{} has nothing for {}: {why}",
                self.program, self.server
            ))
        })
    }

    fn answer(&self) -> Result<Credentials, String> {
        // It is a word to look up in PATH, and no path.
        if self.program.contains('/') {
            return Err("its name is that of no helper".into());
        }
        let failed = |error: io::Error| error.to_string();
        let mut child = Command::new(&self.program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        if let Some(mut input) = child.stdin.take() {
            // One that does not read it fails by itself.
            let _ = writeln!(input, "{}", self.server);
        }
        let mut bytes = Vec::new();
        let output = child.stdout.take();
        let read = output.map(|output| output.take(LARGEST).read_to_end(&mut bytes));
        let status = child.wait().map_err(failed)?;
        read.transpose().map_err(failed)?;
        if !status.success() {
            return Err(status.to_string());
        }
        // The error of the parser may quote what it can't read.
        let answer: Answer =
            serde_json::from_slice(&bytes).map_err(|_| "it answers otherwise than it should")?;
        Ok(match answer.username.as_str() {
            TOKEN => Credentials::IdentityToken(answer.secret),
            user => Credentials::Basic(STANDARD.encode(format!("{user}:{}", answer.secret))),
        })
    }
}

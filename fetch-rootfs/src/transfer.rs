//! How what is asked for comes over the network: the options, and what they come to.

use std::path::PathBuf;

use clap::value_parser;
use common::{Failure, shell};

use crate::cache;
use crate::cli::Source;
use crate::credentials::Header;
use crate::http;
use crate::location;

/// The options.
#[derive(clap::Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Options {
    /// Send this header, 'Name: value', to the URL's server, and to no other that it redirects to;
    /// may be given more than once; none to a registry. Only --dry-run and --explain show it
    #[arg(long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
    /// Try again so often when a server does not answer, breaks off or is busy, after longer and
    /// longer pauses; what has come counts, the rest is asked for
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub retries: u32,
    /// Give up when a server says nothing for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = value_parser!(u32).range(1..))]
    pub timeout: u32,
    /// Keep downloads in this directory, not in $XDG_CACHE_HOME/container-tools or
    /// ~/.cache/container-tools
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Neither look for a download in the cache nor keep it there
    #[arg(long, conflicts_with_all = ["cache_dir", "offline"])]
    pub no_cache: bool,
    /// Take downloads from the cache alone
    #[arg(long)]
    pub offline: bool,
}

/// What they come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    pub headers: Vec<Header>,
    pub retries: u32,
    pub timeout: u32,
    pub cache: Option<PathBuf>,
    pub offline: bool,
}

impl Options {
    pub fn transfer(&self) -> Result<Transfer, Failure> {
        let cache = match (self.no_cache, &self.cache_dir) {
            (true, _) => None,
            (false, Some(dir)) => Some(
                std::path::absolute(dir)
                    .map_err(|error| Failure::usage(format!("use the cache {dir:?}: {error}")))?,
            ),
            (false, None) => cache::usual().ok(),
        };
        Ok(Transfer {
            headers: self
                .headers
                .iter()
                .map(|text| Header::parse(text))
                .collect::<Result<_, _>>()?,
            retries: self.retries,
            timeout: self.timeout,
            cache,
            offline: self.offline,
        })
    }
}

impl Transfer {
    pub fn client(&self) -> http::Client {
        http::Client::new(self.timeout, self.headers.clone())
    }

    /// For another URL than the one whose server the headers are meant for.
    pub fn beside(&self, source: &Source, url: &str) -> Self {
        let theirs = matches!(source, Source::Url(ours) if !location::same_server(ours, url));
        let headers = if theirs { Vec::new() } else { self.headers.clone() };
        Self { headers, ..self.clone() }
    }

    /// The shell line that gets a URL.
    pub fn line(&self, url: &str, to: &str) -> String {
        let headers = self.headers.iter().fold(String::new(), |words, one| {
            words + " -H " + &shell::word(format!("{}: {}", one.name, one.value))
        });
        format!(
            "curl -fsSL --retry {} --connect-timeout {time} --speed-time {time} --netrc-optional \
             ${{NETRC:+--netrc-file \"$NETRC\"}}{headers} -o {to} {}",
            self.retries,
            shell::word(url),
            time = self.timeout,
        )
    }
}

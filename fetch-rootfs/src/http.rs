//! One request over HTTP. Redirects are followed here, one by one, so that none leads from https to
//! http, and so that what is meant for one server is not sent to another.

use std::io::{self, Read};
use std::time::Duration;

use common::Failure;
use nix::errno::Errno;
use ureq::http::{HeaderMap, Uri};
use ureq::tls::{RootCerts, TlsConfig};

use crate::credentials::{self, Header};
use crate::proxy;

pub const MOST_REDIRECTS: usize = 10;

/// Who asks: what is sent along, and how long an answer may take.
pub struct Client {
    agent: ureq::Agent,
    timeout: u32,
    headers: Vec<Header>,
}

/// What a server has answered.
pub struct Answer {
    /// Where it was in the end.
    pub url: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Box<dyn Read + Send>,
    /// The length of the body, if the server tells it.
    pub length: Option<u64>,
}

/// Why there is no answer that is of use.
#[derive(Debug)]
pub struct Trouble {
    pub what: String,
    pub hint: Option<String>,
    /// Another attempt may succeed.
    pub passes: bool,
    /// How long the server wants to be left alone.
    pub wait: Option<Duration>,
}

impl Trouble {
    /// What another attempt will not change.
    pub fn lasting(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, passes: false, wait: None }
    }

    /// What another attempt may change.
    pub fn passing(what: impl Into<String>) -> Self {
        Self { passes: true, ..Self::lasting(what) }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        let failure = Self::new(trouble.what);
        match trouble.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl Answer {
    /// A header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Client {
    /// The server may be silent for `timeout` seconds at a time.
    pub fn new(timeout: u32, headers: Vec<Header>) -> Self {
        Self { agent: agent(Duration::from_secs(timeout.into())), timeout, headers }
    }

    /// Gets a URL. Answers other than 200, 206 and 304 are trouble.
    pub fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, Trouble> {
        let answer = self.ask(url, headers)?;
        match answer.status {
            200 | 206 | 304 => Ok(answer),
            status => Err(refused(&answer.url, status, answer.header("retry-after"))),
        }
    }

    /// Asks for a URL, where redirects lead, too; gives whatever is answered in the end.
    pub fn ask(&self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, Trouble> {
        let (url, in_url) = credentials::split_url(url);
        let mut private = self.headers.clone();
        if !private.iter().any(|header| header.name.eq_ignore_ascii_case("authorization")) {
            private.extend(in_url.or_else(|| credentials::from_netrc(&host(&url)?)));
        }
        let mut at = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let private = if same_server(&url, &at) { private.as_slice() } else { &[] };
            let answer = self.once(&at, headers, private)?;
            match answer.status {
                300..=303 | 305..=399 => at = redirected(&at, answer.header("location"))?,
                _ => return Ok(answer),
            }
        }
        Err(Trouble::lasting(format!("get {url:?}: redirected more than {MOST_REDIRECTS} times")))
    }

    fn once(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        private: &[Header],
    ) -> Result<Answer, Trouble> {
        let mut request = self.agent.get(url).config().proxy(proxy::for_url(url)?).build();
        for header in private {
            request = request.header(&header.name, &header.value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.call().map_err(|error| explain(url, &error, self.timeout))?;
        let (parts, body) = response.into_parts();
        let length = body.content_length();
        let body = Box::new(body.into_reader());
        let (status, headers) = (parts.status.as_u16(), parts.headers);
        Ok(Answer { url: url.to_owned(), status, headers, body, length })
    }

    /// What it means that a body broke off.
    pub fn broken(&self, url: &str, error: &io::Error) -> Trouble {
        let (url, _) = credentials::split_url(url);
        let trouble = Trouble::passing(format!("read {url:?}: {}", in_words(error)));
        match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
            Some(ureq::Error::Timeout(_)) => trouble.hint(longer(self.timeout)),
            _ => trouble,
        }
    }
}

pub fn agent(timeout: Duration) -> ureq::Agent {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        // The archive's digest is of the bytes as they are stored: nothing may be unpacked for us.
        .accept_encoding("identity")
        .user_agent(concat!("fetch-rootfs/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(timeout))
        .timeout_recv_response(Some(timeout))
        .timeout_per_read(Some(timeout))
        .build()
        .into()
}

fn host(url: &str) -> Option<String> {
    url.parse::<Uri>().ok()?.host().map(str::to_owned)
}

/// The same scheme, host and port.
pub fn same_server(one: &str, other: &str) -> bool {
    let server = |url: &str| {
        let uri: Uri = url.parse().ok()?;
        let scheme = uri.scheme_str()?.to_owned();
        let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        Some((scheme, uri.host()?.to_ascii_lowercase(), port))
    };
    server(one).is_some_and(|one| Some(one) == server(other))
}

fn redirected(from: &str, location: Option<&str>) -> Result<String, Trouble> {
    let fail = |why: &str| Err(Trouble::lasting(format!("get {from:?}: redirected {why}")));
    let Some(location) = location else { return fail("to nowhere") };
    let Some(to) = join(from, location) else { return fail(&format!("to {location:?}")) };
    match (from.starts_with("https://"), to.split_once("://").map(|(scheme, _)| scheme)) {
        (_, Some("https")) | (false, Some("http")) => Ok(to),
        _ => fail(&format!("to {to:?}, which is not as safe")),
    }
}

/// A location may be a whole URL, or one relative to the present.
fn join(from: &str, location: &str) -> Option<String> {
    if location.contains("://") {
        return Some(location.to_owned());
    }
    let uri: Uri = from.parse().ok()?;
    let (scheme, host) = (uri.scheme_str()?, uri.authority()?);
    if let Some(host) = location.strip_prefix("//") {
        return Some(format!("{scheme}://{host}"));
    }
    if location.starts_with('/') {
        return Some(format!("{scheme}://{host}{location}"));
    }
    let folder = uri.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    Some(format!("{scheme}://{host}{folder}/{location}"))
}

fn refused(url: &str, status: u16, retry_after: Option<&str>) -> Trouble {
    let name = ureq::http::StatusCode::from_u16(status).map(|s| s.to_string());
    let name = name.unwrap_or_else(|_| status.to_string());
    let seconds = retry_after.and_then(|text| text.trim().parse().ok());
    Trouble {
        what: format!("get {url:?}: the server answers {name}"),
        hint: Some(hint(status).into()),
        passes: matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
        wait: seconds.map(Duration::from_secs),
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 | 407 => {
            "the server wants to know who asks (--header, ~/.netrc), or does not give it to anyone"
        }
        404 | 410 => "is the address right? the maker's site lists what there is",
        408 | 429 | 500.. => "the server is in trouble: try again later",
        _ => "see what it says: curl -i URL",
    }
}

/// The system's resolver says so only in words: that it can't be asked now is another matter.
fn is_unknown_name(error: &io::Error) -> bool {
    let text = error.to_string();
    text.contains("failed to lookup") && !text.contains("Temporary failure")
}

/// As every message has it: `Connection refused (ECONNREFUSED)`.
fn in_words(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(errno) => format!("{} ({errno:?})", errno.desc()),
        None => error.to_string(),
    }
}

pub fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(inner) => in_words(inner),
        error => error.to_string(),
    }
}

pub const NAME: &str = "is the name right, and does resolv.conf work?";
const UNTRUSTED: &str = "is it the right server? SSL_CERT_FILE=CA.pem trusts a CA of its own";

pub fn longer(timeout: u32) -> String {
    format!("nothing came for {timeout} s; --timeout SECONDS waits longer")
}

fn explain(url: &str, error: &ureq::Error, timeout: u32) -> Trouble {
    let what = format!("get {url:?}: {}", reason(error));
    match error {
        ureq::Error::Io(inner) if is_unknown_name(inner) => Trouble::lasting(what).hint(NAME),
        ureq::Error::Timeout(_) => Trouble::passing(what).hint(longer(timeout)),
        // So rustls says that it does not trust the server.
        ureq::Error::Io(inner) if inner.kind() == io::ErrorKind::InvalidData => {
            Trouble::lasting(what).hint(UNTRUSTED)
        }
        ureq::Error::Io(_) | ureq::Error::ConnectionFailed | ureq::Error::Protocol(_) => {
            Trouble::passing(what)
        }
        ureq::Error::HostNotFound => Trouble::lasting(what).hint(NAME),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            Trouble::lasting(what).hint("a URL is as https://HOST/PATH")
        }
        ureq::Error::Rustls(_) => Trouble::lasting(what).hint(UNTRUSTED),
        _ => Trouble::lasting(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_may_be_relative_and_never_less_safe() {
        let to = |from, location| redirected(from, Some(location)).ok();
        let base = "https://h:8/a/b.tar?x";
        assert_eq!(to(base, "c.tar").as_deref(), Some("https://h:8/a/c.tar"));
        assert_eq!(to(base, "/c.tar").as_deref(), Some("https://h:8/c.tar"));
        assert_eq!(to(base, "//g/c").as_deref(), Some("https://g/c"));
        assert_eq!(to("http://h/a", "https://g/c").as_deref(), Some("https://g/c"));
        assert_eq!(to(base, "http://g/c"), None);
        assert_eq!(to("http://h/a", "file:///etc/passwd"), None);
        assert!(redirected(base, None).is_err());
    }

    #[test]
    fn a_server_is_its_scheme_host_and_port() {
        assert!(same_server("https://h/a", "https://H:443/b"));
        assert!(same_server("http://a:1/x", "http://a:1/y"));
        assert!(!same_server("http://a:1/x", "http://a:2/x"));
        assert!(!same_server("http://a/x", "https://a/x"));
        for other in ["http://h/a", "https://g/a", "https://h:444/a", "nonsense"] {
            assert!(!same_server("https://h/a", other), "{other}");
        }
    }
}

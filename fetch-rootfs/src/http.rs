//! One request over HTTP, to a server of archives or to a registry. Redirects are followed here, one
//! by one, so that none leads from https to http, and so that what is meant for one server is not
//! sent to another.

use std::io::{self, Read};
use std::time::Duration;

use common::Failure;
use nix::errno::Errno;
use ureq::Body;
use ureq::http::{HeaderMap, Method, Response, StatusCode, Uri};
use ureq::tls::{RootCerts, TlsConfig};

use crate::credentials::{self, Header};
use crate::location::{redirected, same_server};
use crate::patience::retry_after;
use crate::proxy;

const MOST_REDIRECTS: usize = 10;

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

    /// `404 Not Found`.
    pub fn status_in_words(&self) -> String {
        let status = StatusCode::from_u16(self.status).map(|status| status.to_string());
        status.unwrap_or_else(|_| self.status.to_string())
    }

    /// Whether another attempt may be answered otherwise.
    pub fn passes(&self) -> bool {
        matches!(self.status, 408 | 429 | 500 | 502 | 503 | 504)
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
            _ => Err(refused(&answer)),
        }
    }

    /// Asks for a URL; gives whatever is answered in the end.
    pub fn ask(&self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, Trouble> {
        let (url, in_url) = credentials::split_url(url);
        let mut private = self.headers.clone();
        if !private.iter().any(|header| header.name.eq_ignore_ascii_case("authorization")) {
            private.extend(in_url.or_else(|| credentials::from_netrc(&host(&url)?)));
        }
        self.follow(&Method::GET, &url, headers, &private)
    }

    /// Goes where redirects lead, too. What is private is for the first server alone.
    pub fn follow(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        private: &[Header],
    ) -> Result<Answer, Trouble> {
        let mut at = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let private = if same_server(url, &at) { private } else { &[] };
            let answer = self.once(method, &at, headers, private)?;
            match answer.status {
                300..=303 | 305..=399 => at = redirected(&at, answer.header("location"))?,
                _ => return Ok(answer),
            }
        }
        Err(Trouble::lasting(format!("get {url:?}: redirected more than {MOST_REDIRECTS} times")))
    }

    fn once(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        private: &[Header],
    ) -> Result<Answer, Trouble> {
        let request = match *method {
            Method::HEAD => self.agent.head(url),
            _ => self.agent.get(url),
        };
        let mut request = request.config().proxy(proxy::for_url(url)?).build();
        for header in private {
            request = request.header(&header.name, &header.value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.answer(url, request.call())
    }

    /// Sends a form, to this server and no other: what is in it is private.
    pub fn post(&self, url: &str, form: &str) -> Result<Answer, Trouble> {
        let request = self.agent.post(url).config().proxy(proxy::for_url(url)?).build();
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        self.answer(url, request.send(form))
    }

    fn answer(
        &self,
        url: &str,
        response: Result<Response<Body>, ureq::Error>,
    ) -> Result<Answer, Trouble> {
        let response = response.map_err(|error| explain(url, &error, self.timeout))?;
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

fn agent(timeout: Duration) -> ureq::Agent {
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

pub fn host(url: &str) -> Option<String> {
    url.parse::<Uri>().ok()?.host().map(str::to_owned)
}

fn refused(answer: &Answer) -> Trouble {
    let (url, name) = (&answer.url, answer.status_in_words());
    Trouble {
        what: format!("get {url:?}: the server answers {name}"),
        hint: Some(hint(answer.status).into()),
        passes: answer.passes(),
        wait: retry_after(answer),
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

fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(inner) => in_words(inner),
        error => error.to_string(),
    }
}

const NAME: &str = "is the name right, and does resolv.conf work?";
const UNTRUSTED: &str = "is it the right server? SSL_CERT_FILE=CA.pem trusts a CA of its own";
const PLAIN: &str =
    "does it speak TLS there? if not: http://HOST/PATH, or --plain-http for a registry";
const NOBODY: &str = "does a server run there, at this port?";

const PROXY: &str = "a proxy is asked, which $http_proxy, $https_proxy or $all_proxy names";

/// What helps where nobody answers; it may be the proxy that does not.
fn or_proxy(url: &str, hint: &'static str) -> &'static str {
    if matches!(proxy::for_url(url), Ok(Some(_))) { PROXY } else { hint }
}

fn longer(timeout: u32) -> String {
    format!("nothing came for {timeout} s; --timeout SECONDS waits longer")
}

fn explain(url: &str, error: &ureq::Error, timeout: u32) -> Trouble {
    let what = format!("get {url:?}: {}", reason(error));
    match error {
        ureq::Error::Io(inner) if is_unknown_name(inner) => {
            Trouble::lasting(what).hint(or_proxy(url, NAME))
        }
        ureq::Error::Timeout(_) => Trouble::passing(what).hint(longer(timeout)),
        ureq::Error::Io(inner) if inner.kind() == io::ErrorKind::ConnectionRefused => {
            Trouble::passing(what).hint(or_proxy(url, NOBODY))
        }
        ureq::Error::Io(inner) if inner.to_string().contains("corrupt message") => {
            Trouble::lasting(what).hint(PLAIN)
        }
        // A server that does not understand the first bytes hangs up.
        ureq::Error::Io(inner)
            if inner.kind() == io::ErrorKind::UnexpectedEof && url.starts_with("https:") =>
        {
            Trouble::passing(what).hint(PLAIN)
        }
        // So rustls says that it does not trust the server.
        ureq::Error::Io(inner) if inner.kind() == io::ErrorKind::InvalidData => {
            Trouble::lasting(what).hint(UNTRUSTED)
        }
        ureq::Error::Io(_) | ureq::Error::ConnectionFailed | ureq::Error::Protocol(_) => {
            Trouble::passing(what)
        }
        ureq::Error::HostNotFound => Trouble::lasting(what).hint(or_proxy(url, NAME)),
        ureq::Error::ConnectProxyFailed(_) => Trouble::lasting(what).hint(PROXY),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            Trouble::lasting(what).hint("a URL is as https://HOST/PATH")
        }
        ureq::Error::Rustls(_) => Trouble::lasting(what).hint(UNTRUSTED),
        _ => Trouble::lasting(what),
    }
}

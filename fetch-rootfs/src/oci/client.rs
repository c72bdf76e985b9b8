//! Requests to a registry: with what it wants to know, again where something may pass, and along
//! redirects.

use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use common::Failure;
use serde::Deserialize;
use ureq::Body;
use ureq::http::Response;

use super::auth::{self, Credentials};
use super::challenge::{self, Challenge};
use super::files::{huge, quote};
use super::manifest::{LARGEST, parse};
use super::reference::Reference;
use super::url::{may_ask, redirected, with_query};
use crate::http::{MOST_REDIRECTS, NAME, agent, longer, reason, same_server};

/// How often something that may pass is tried, and how long the first pause is.
pub const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);

/// Who asks, and for what.
pub struct Client {
    agent: ureq::Agent,
    reference: Reference,
    base: String,
    timeout: u32,
    credentials: Credentials,
    /// What the requests carry, once the registry has asked for it.
    authorization: Mutex<Option<String>>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(alias = "access_token")]
    token: String,
}

impl Client {
    pub fn new(reference: &Reference, timeout: u32, plain_http: bool) -> Result<Self, Failure> {
        let scheme = if plain_http || reference.is_loopback() { "http" } else { "https" };
        Ok(Self {
            agent: agent(Duration::from_secs(timeout.into())),
            base: format!("{scheme}://{}/v2/{}", reference.server(), reference.repository),
            reference: reference.clone(),
            timeout,
            credentials: auth::find(reference)?,
            authorization: Mutex::default(),
        })
    }

    /// Gets `PATH` of the repository, from an offset on.
    pub fn get(&self, path: &str, accept: &str, from: u64) -> Result<Response<Body>, Failure> {
        let url = format!("{}/{path}", self.base);
        let (mut tries, mut asked) = (1, false);
        loop {
            let outcome = self.follow(&url, accept, from);
            let last = tries == TRIES;
            let wait = match outcome {
                Ok(response) => match response.status().as_u16() {
                    200 | 206 => return Ok(response),
                    401 if !asked => {
                        asked = true;
                        self.answer(&response)?;
                        continue;
                    }
                    429 | 500.. if !last => retry_after(&response),
                    _ => return Err(self.refused(&url, response)),
                },
                Err((failure, true)) if last => return Err(failure),
                Err((_, true)) => None,
                Err((failure, false)) => return Err(failure),
            };
            thread::sleep(pause(tries, wait).min(Duration::from_secs(self.timeout.into())));
            tries += 1;
        }
    }

    /// Follows redirects, one by one: what identifies us is for the registry alone. A failure
    /// comes with whether it may pass.
    fn follow(
        &self,
        url: &str,
        accept: &str,
        from: u64,
    ) -> Result<Response<Body>, (Failure, bool)> {
        let mut at = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let mut request = self.agent.get(&at).header("Accept", accept);
            if let Some(value) =
                lock(&self.authorization).as_ref().filter(|_| same_server(&at, url))
            {
                request = request.header("Authorization", value);
            }
            if from > 0 {
                request = request.header("Range", format!("bytes={from}-"));
            }
            let response = request.call().map_err(|error| self.explain(&at, &error))?;
            let location = response.headers().get("location").and_then(|to| to.to_str().ok());
            match (response.status().is_redirection(), location) {
                (true, Some(location)) => at = redirected(&at, location).map_err(|f| (f, false))?,
                _ => return Ok(response),
            }
        }
        let what = format!("get {url:?}: redirected more than {MOST_REDIRECTS} times");
        Err((Failure::new(what), false))
    }

    /// Gets what the registry wants the next requests to carry.
    fn answer(&self, response: &Response<Body>) -> Result<(), Failure> {
        let headers = response.headers().get_all("www-authenticate");
        let header = challenge::parse(headers.iter().filter_map(|value| value.to_str().ok()));
        let value = match (header, &self.credentials) {
            (Some(Challenge::Bearer { realm, service, scope }), _) => {
                format!("Bearer {}", self.token(&realm, service.as_deref(), scope.as_deref())?)
            }
            (Some(Challenge::Basic), Credentials::Basic(auth)) => format!("Basic {auth}"),
            (Some(Challenge::Basic), _) => return Ok(()),
            (None, _) => {
                return Err(Failure::new(format!(
                    "log in to {}: it does not say how, or by no way that is known",
                    self.reference.host
                )));
            }
        };
        *lock(&self.authorization) = Some(value);
        Ok(())
    }

    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<String, Failure> {
        let what = format!("get a token from {realm:?}");
        if !may_ask(realm, &self.base) {
            return Err(Failure::new(format!(
                "{what}: it is neither https nor on the registry's own host"
            )));
        }
        let pull = format!("repository:{}:pull", self.reference.repository);
        let service = service.map(|service| ("service", service));
        let query = service.into_iter().chain([("scope", scope.unwrap_or(&pull))]);
        let url = with_query(realm, query);
        let mut request = self.agent.get(&url);
        if let Credentials::Basic(auth) = &self.credentials {
            request = request.header("Authorization", format!("Basic {auth}"));
        }
        let failed = |error| Failure::new(format!("{what}: {}", reason(&error)));
        let response = request.call().map_err(failed)?;
        match response.status().as_u16() {
            200 => {}
            401 | 403 => {
                return Err(self.denied(format!("{what}: it answers {}", response.status())));
            }
            _ => return Err(Failure::new(format!("{what}: it answers {}", response.status()))),
        }
        let token: Token = parse(&body(response, "the token")?, "the token")?;
        let plain = token.token.bytes().all(|byte| byte.is_ascii_graphic());
        if plain && !token.token.is_empty() {
            Ok(token.token)
        } else {
            Err(Failure::new(format!("{what}: it is no token")))
        }
    }

    fn explain(&self, url: &str, error: &ureq::Error) -> (Failure, bool) {
        let failure = Failure::new(format!("get {url:?}: {}", reason(error)));
        match error {
            ureq::Error::Timeout(_) => (failure.hint(longer(self.timeout)), true),
            ureq::Error::HostNotFound => (failure.hint(NAME), false),
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) if !url.starts_with("http:") => {
                (failure.hint("a registry without TLS: --plain-http"), false)
            }
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                (failure.hint("is a registry running there, at this port?"), false)
            }
            // What getaddrinfo(3) says comes as text.
            ureq::Error::Io(error) if error.to_string().contains("lookup address") => {
                (failure.hint(NAME), false)
            }
            _ => (failure, true),
        }
    }

    fn refused(&self, url: &str, response: Response<Body>) -> Failure {
        let status = response.status();
        let what = format!("get {url:?}: the registry answers {status}{}", told(response));
        match status.as_u16() {
            401 | 403 => self.denied(what),
            404 => Failure::new(what).hint("is the name right, and is there such a tag?"),
            429 => Failure::new(what).hint("too much was asked: log in, or wait, as it says"),
            500.. => Failure::new(what).hint("the registry is in trouble: try again later"),
            _ => Failure::new(what),
        }
    }

    fn denied(&self, what: String) -> Failure {
        let host = &self.reference.host;
        let login = format!("skopeo login --authfile FILE {host}; REGISTRY_AUTH_FILE=FILE");
        Failure::new(what).hint(match &self.credentials {
            Credentials::Nobody => format!("is there such an image? if it is private: {login}"),
            Credentials::Basic(_) => format!("what is kept for {host} is not enough: {login}"),
            Credentials::Elsewhere(why) => format!("{why}, which is not asked: {login}"),
        })
    }
}

/// A lock whose holder has panicked ends the program anyway.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The whole body, if it is not longer than such a thing may be.
pub fn body(response: Response<Body>, name: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut reader = response.into_body().into_reader().take(LARGEST + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(format!("get {name:?}: {error}")))?;
    if bytes.len() as u64 > LARGEST { Err(huge(name)) } else { Ok(bytes) }
}

/// What the registry says itself, if it does as the specification wants.
fn told(response: Response<Body>) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    let bytes = body(response, "the answer").unwrap_or_default();
    let errors = serde_json::from_slice(&bytes).unwrap_or(Errors { errors: Vec::new() });
    let first = errors.errors.into_iter().next().filter(|error| !error.message.is_empty());
    first.map(|error| format!(", {}", quote(&error.message))).unwrap_or_default()
}

fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let seconds = response.headers().get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Twice as long each time, or as long as the server says.
pub fn pause(tries: u32, told: Option<Duration>) -> Duration {
    told.unwrap_or(PAUSE * 2u32.pow(tries - 1))
}

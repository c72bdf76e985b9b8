//! Requests to a registry: with what it wants to know, and again where something may pass.

use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::Failure;
use serde::Deserialize;
use ureq::http::Method;

use super::auth::{self, Credentials};
use super::challenge::{self, Challenge};
use super::digest::Digest;
use super::manifest::{LARGEST, parse_private};
use super::reference::Reference;
use super::url::{form_of, may_ask, with_query};
use crate::credentials::Header;
use crate::entry::quoted;
use crate::http::{self, Answer, Trouble};
use crate::patience::{Patience, retry_after};
use crate::transfer::Transfer;

/// Who asks, and for what.
pub struct Client {
    http: http::Client,
    retries: u32,
    reference: Reference,
    base: String,
    credentials: Mutex<Credentials>,
    /// What the requests carry, once the registry has asked for it.
    authorization: Mutex<Option<Header>>,
}

/// A body that was read to its end.
pub struct Document {
    pub bytes: Vec<u8>,
    /// What the registry says it is.
    pub media_type: Option<String>,
}

/// Some say it by one name, some by the other, and some by both.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Client {
    pub fn new(
        reference: &Reference,
        transfer: &Transfer,
        plain_http: bool,
    ) -> Result<Self, Failure> {
        Ok(Self {
            // Headers of the command line are for a URL's server.
            http: http::Client::new(transfer.timeout, Vec::new()),
            retries: transfer.retries,
            base: base(reference, plain_http),
            reference: reference.clone(),
            credentials: Mutex::new(auth::find(reference)?),
            authorization: Mutex::default(),
        })
    }

    pub fn patience(&self) -> Patience {
        Patience::new(self.retries)
    }

    /// Gets a small thing of the repository whole, however often it takes; where that fails for now,
    /// a hint may help.
    pub fn document(
        &self,
        path: &str,
        accept: &str,
        hint: Option<&str>,
    ) -> Result<Document, Failure> {
        self.patience().until(|| {
            let asked = self.ask(&Method::GET, path, &[("accept", accept)]);
            let answer = asked.map_err(|trouble| match hint {
                Some(hint) if trouble.passes => trouble.hint(hint),
                _ => trouble,
            })?;
            let media_type = answer.header("content-type");
            let media_type = media_type.map(|kind| kind.split(';').next().unwrap_or(kind).trim());
            Ok(Document { media_type: media_type.map(str::to_owned), bytes: self.body(answer)? })
        })
    }

    /// The URL of `PATH` of the repository.
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// What digest a manifest has now, if the registry tells it without sending it: that is not
    /// counted as a pull where pulls are.
    pub fn digest(&self, path: &str, accept: &str) -> Option<Digest> {
        let answer = self.ask(&Method::HEAD, path, &[("accept", accept)]).ok()?;
        Digest::parse(answer.header("docker-content-digest")?)
    }

    /// Begins to get `PATH` of the repository, from an offset on.
    pub fn begin(&self, path: &str, from: u64) -> Result<Answer, Trouble> {
        let range = format!("bytes={from}-");
        let headers = [("accept", "*/*"), ("range", range.as_str())];
        self.ask(&Method::GET, path, if from > 0 { &headers } else { &headers[..1] })
    }

    /// What it means that a body broke off.
    pub fn broken(&self, path: &str, error: &std::io::Error) -> Trouble {
        self.http.broken(&self.url(path), error)
    }

    /// One attempt, but for telling the registry who asks, if it wants to know.
    fn ask(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Trouble> {
        let url = self.url(path);
        let what = format!("get {url:?}: the registry");
        let ask = || {
            let private: Vec<Header> = lock(&self.authorization).iter().cloned().collect();
            self.http.follow(method, &url, headers, &private)
        };
        let mut answer = ask()?;
        if answer.status == 401 {
            let Some(header) = self.identify(&answer)? else {
                return Err(self.refused(&what, answer));
            };
            *lock(&self.authorization) = Some(header);
            answer = ask()?;
        }
        match answer.status {
            200 | 206 => Ok(answer),
            _ => Err(self.refused(&what, answer)),
        }
    }

    /// What the registry wants the next requests to carry, if we have it.
    fn identify(&self, answer: &Answer) -> Result<Option<Header>, Trouble> {
        let headers = answer.headers.get_all("www-authenticate");
        let header = challenge::parse(headers.iter().filter_map(|value| value.to_str().ok()));
        let value = match (header, self.credentials()) {
            (Some(Challenge::Bearer { realm, service, scope }), _) => {
                let scope = scope.unwrap_or_else(|| self.scope());
                format!("Bearer {}", self.token(&realm, service.as_deref(), &scope)?)
            }
            (Some(Challenge::Basic), Credentials::Basic(auth)) => format!("Basic {auth}"),
            (Some(Challenge::Basic), _) => return Ok(None),
            (None, _) => {
                return Err(Trouble::lasting(format!(
                    "log in to {}: it does not say how, or by no way that is known",
                    self.reference.host
                )));
            }
        };
        Ok(Some(authorization(value)))
    }

    /// Who we are; a helper is asked when somebody wants to know, and once.
    fn credentials(&self) -> Credentials {
        let mut known = lock(&self.credentials);
        if let Credentials::Helper(helper) = &*known {
            *known = helper.ask();
        }
        known.clone()
    }

    fn scope(&self) -> String {
        format!("repository:{}:pull", self.reference.repository)
    }

    fn token(&self, realm: &str, service: Option<&str>, scope: &str) -> Result<String, Trouble> {
        let what = format!("get a token from {realm:?}");
        if !may_ask(realm, &self.base) {
            return Err(Trouble::lasting(format!(
                "{what}: it is neither https nor on the registry's own host"
            )));
        }
        let query = service.map(|service| ("service", service)).into_iter();
        let query = query.chain([("scope", scope)]);
        let asked = match self.credentials() {
            Credentials::IdentityToken(token) => {
                let more = [("client_id", "fetch-rootfs"), ("grant_type", "refresh_token")];
                let form = query.chain(more).chain([("refresh_token", token.as_str())]);
                self.http.post(realm, &form_of(form))
            }
            credentials => {
                let private = match credentials {
                    Credentials::Basic(auth) => vec![authorization(format!("Basic {auth}"))],
                    _ => Vec::new(),
                };
                self.http.follow(&Method::GET, &with_query(realm, query), &[], &private)
            }
        };
        let answer =
            asked.map_err(|why| Trouble { what: format!("get a token: {}", why.what), ..why })?;
        if answer.status != 200 {
            return Err(self.refused(&format!("{what}: it"), answer));
        }
        let bytes = self.body(answer)?;
        token_in(&bytes, &what)
    }

    /// The whole body, if it is not longer than such a thing may be.
    fn body(&self, answer: Answer) -> Result<Vec<u8>, Trouble> {
        let mut bytes = Vec::new();
        let read = answer.body.take(LARGEST + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.http.broken(&answer.url, &error))?;
        if bytes.len() as u64 > LARGEST {
            let most = common::size::human(LARGEST);
            let what = format!("get {:?}: it is larger than {most}", answer.url);
            return Err(Trouble::lasting(what));
        }
        Ok(bytes)
    }

    /// `what` says who answers.
    fn refused(&self, what: &str, answer: Answer) -> Trouble {
        let (name, status) = (answer.status_in_words(), answer.status);
        let (passes, wait) = (answer.passes(), retry_after(&answer));
        let told = told(&self.body(answer).unwrap_or_default());
        let hint = match status {
            401 | 403 => Some(self.denied()),
            404 => Some("is the name right, and is there such a tag?".into()),
            429 => Some("too much was asked: log in, or wait, as it says".into()),
            500.. => Some("the registry is in trouble: try again later".into()),
            _ => None,
        };
        Trouble { what: format!("{what} answers {name}{told}"), hint, passes, wait }
    }

    fn denied(&self) -> String {
        let host = &self.reference.host;
        let login = format!("skopeo login --authfile FILE {host}; REGISTRY_AUTH_FILE=FILE");
        match &*lock(&self.credentials) {
            Credentials::Nobody => format!("is there such an image? if it is private: {login}"),
            Credentials::Elsewhere(why) => format!("{why}; {login}"),
            _ => format!("what is kept for {host} is not enough: {login}"),
        }
    }
}

/// Where the repository is.
pub fn base(reference: &Reference, plain_http: bool) -> String {
    let scheme = if plain_http || reference.is_loopback() { "http" } else { "https" };
    format!("{scheme}://{}/v2/{}", reference.server(), reference.repository)
}

fn authorization(value: String) -> Header {
    Header { name: "Authorization".into(), value }
}

/// A lock whose holder has panicked ends the program anyway.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The token that an answer has.
pub fn token_in(answer: &[u8], what: &str) -> Result<String, Trouble> {
    let token = parse_private::<Token>(answer, "the token").ok();
    let token = token.and_then(|token| token.token.or(token.access_token));
    let plain = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
    let none = || Trouble::lasting(format!("{what}: it is no token"));
    token.filter(|token| plain(token) && !token.is_empty()).ok_or_else(none)
}

/// What the registry says itself, if it does as the specification wants.
pub fn told(bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    let errors = serde_json::from_slice(bytes).unwrap_or(Errors { errors: Vec::new() });
    let first = errors.errors.into_iter().next().filter(|error| !error.message.is_empty());
    first.map(|error| format!(", {}", quoted(&error.message))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_word_and_not_shown() {
        let token = |answer: &str| token_in(answer.as_bytes(), "get it").map_err(Failure::from);
        assert_eq!(token(r#"{"token": "a.b-c="}"#).expect("a word"), "a.b-c=");
        assert_eq!(token(r#"{"access_token": "a"}"#).expect("a word"), "a");
        for answer in
            [r#"{"token": "hid den"}"#, r#"{"token": ""}"#, "\"hidden\"", r#"["hid den"]"#]
        {
            let lines = token(answer).expect_err(answer).lines("t");
            assert!(!lines.contains("hid"), "{lines}");
        }
    }
}

//! A URL's body. Redirects are followed here, one by one, so that none leads from https to http.

use std::io::Read;
use std::time::Duration;

use common::Failure;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};

const MOST_REDIRECTS: usize = 10;

/// A body, and its length if the server tells it.
pub struct Body {
    pub read: Box<dyn Read>,
    pub length: Option<u64>,
}

/// Gets it. The server may be silent for `timeout` seconds at a time.
pub fn get(url: &str, timeout: u32) -> Result<Body, Failure> {
    let agent = agent(Duration::from_secs(timeout.into()));
    let mut at = url.to_owned();
    for _ in 0..=MOST_REDIRECTS {
        let response = agent.get(&at).call().map_err(|error| explain(&at, &error, timeout))?;
        let status = response.status();
        if status.is_redirection() && status.as_u16() != 304 {
            let location = response.headers().get("location").and_then(|to| to.to_str().ok());
            at = redirected(&at, location)?;
            continue;
        }
        if status.as_u16() != 200 {
            return Err(Failure::new(format!("get {at:?}: the server answers {status}"))
                .hint(hint(status.as_u16())));
        }
        let body = response.into_body();
        let length = body.content_length();
        let reader = body.into_reader();
        return Ok(Body { read: Box::new(reader), length });
    }
    Err(Failure::new(format!("get {url:?}: redirected more than {MOST_REDIRECTS} times")))
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

fn redirected(from: &str, location: Option<&str>) -> Result<String, Failure> {
    let fail = |why: &str| Err(Failure::new(format!("get {from:?}: redirected {why}")));
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

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => "the server wants to know who asks, or does not give it to anyone",
        404 | 410 => "is the address right? the maker's site lists what there is",
        500.. => "the server is in trouble: try again later",
        _ => "see what it says: curl -i URL",
    }
}

fn explain(url: &str, error: &ureq::Error, timeout: u32) -> Failure {
    let failure = Failure::new(format!("get {url:?}: {error}"));
    match error {
        ureq::Error::Timeout(_) => {
            failure.hint(format!("nothing came for {timeout} s; --timeout SECONDS waits longer"))
        }
        ureq::Error::HostNotFound => failure.hint("is the name right, and does resolv.conf work?"),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            failure.hint("a URL is as https://HOST/PATH")
        }
        _ => failure,
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
}

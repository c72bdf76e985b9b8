//! Where a registry may have a token come from, and how it is asked for.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use ureq::http::Uri;

use crate::location::has_good_port;

/// A password is sent there: to https, or where the registry itself is spoken to by http.
pub fn may_ask(realm: &str, base: &str) -> bool {
    let (Ok(to), Ok(base)) = (realm.parse::<Uri>(), base.parse::<Uri>()) else { return false };
    let user = to.authority().is_some_and(|authority| authority.as_str().contains('@'));
    match (to.scheme_str(), base.scheme_str()) {
        _ if user || !has_good_port(realm) => false,
        (Some("https"), _) => true,
        (Some("http"), Some("http")) => to.host() == base.host(),
        _ => false,
    }
}

/// Adds to what may have a query already.
pub fn with_query<'a>(url: &str, query: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    query.fold(url.to_owned(), |url, (key, value)| {
        let mark = if url.contains('?') { '&' } else { '?' };
        format!("{url}{mark}{key}={}", encoded(value))
    })
}

/// The same as a body, which no log has.
pub fn form_of<'a>(query: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = query.map(|(key, value)| format!("{key}={}", encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn encoded(value: &str) -> PercentEncode<'_> {
    const MOST: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(value, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_asked_for_where_a_password_may_go() {
        let (safe, here) = ("https://r.io/v2/a", "http://127.0.0.1:5000/v2/a");
        assert!(may_ask("https://auth.io/token?x=y", safe) && may_ask("https://a/t", here));
        assert!(may_ask("http://127.0.0.1:5001/token", here));
        for realm in ["http://r.io/token", "file:///etc/passwd", "ftp://r.io/", "/token", "", "x"] {
            assert!(!may_ask(realm, safe), "{realm}");
        }
        for realm in [
            "http://10.0.0.1/",
            "http://127.0.0.1@10.0.0.1/",
            "http://[127.0.0.1]@10.0.0.1/",
            "http://[::1]/",
            "http://127.0.0.1:99999/",
        ] {
            assert!(!may_ask(realm, here), "{realm}");
        }
    }

    #[test]
    fn a_scope_is_encoded() {
        assert_eq!(
            encoded("repository:a/b:pull&x=é").to_string(),
            "repository%3Aa%2Fb%3Apull%26x%3D%C3%A9"
        );
        let query = [("a", "b c"), ("d", "e")];
        assert_eq!(with_query("https://h/t", query.into_iter()), "https://h/t?a=b%20c&d=e");
        assert_eq!(form_of(query.into_iter()), "a=b%20c&d=e");
        assert_eq!(with_query("https://h/t?x=y", query.into_iter()), "https://h/t?x=y&a=b%20c&d=e");
    }
}

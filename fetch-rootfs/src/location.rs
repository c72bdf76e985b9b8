//! Where a redirect leads: a reference that is read as RFC 3986, 5.2 has it, for RFC 9110 allows
//! any in `Location`. It never leads to what is less safe.

use ureq::http::Uri;

use crate::http::Trouble;

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

/// Whether what stands behind the host's colon is a port, or nothing, which is the usual one. For the
/// library what it can't read is the usual one, too, and another server would be asked.
pub fn has_good_port(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let behind = host.rsplit_once(']').map_or(host, |(_, behind)| behind);
    let port = behind.split_once(':').map_or("", |(_, port)| port);
    port.is_empty() || !port.starts_with('+') && port.parse::<u16>().is_ok()
}

/// Where a server sends us that was asked for `from`.
pub fn redirected(from: &str, location: Option<&str>) -> Result<String, Trouble> {
    let fail = |why: &str| Err(Trouble::lasting(format!("get {from:?}: redirected {why}")));
    let Some(location) = location else { return fail("to nowhere") };
    let nowhere = format!("to {location:?}, which is no place");
    let Some(to) = join(from, location.trim()) else { return fail(&nowhere) };
    let is = |url: &str, scheme| url.split_once("://").is_some_and(|(found, _)| found == scheme);
    match is(&to, "https") || is(&to, "http") && is(from, "http") {
        true if !has_good_port(&to) => fail(&format!("to {location:?}, whose port is none")),
        true if to.parse::<Uri>().is_ok() => Ok(to),
        true => fail(&nowhere),
        false => fail(&format!("to {location:?}, which is not as safe")),
    }
}

/// A whole URL, or what it lacks is that of the present one. What follows a `#` is for readers.
fn join(from: &str, location: &str) -> Option<String> {
    let uri: Uri = from.parse().ok()?;
    let (scheme, server) = (uri.scheme_str()?, uri.authority()?);
    let location = location.split('#').next().unwrap_or_default();
    if let Some((scheme, rest)) = scheme_of(location) {
        return Some(format!("{}:{rest}", scheme.to_ascii_lowercase()));
    }
    if location.starts_with("//") {
        return Some(format!("{scheme}:{location}"));
    }
    let (path, query) = match location.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (location, None),
    };
    let query = match (path, query) {
        ("", None) => uri.query(),
        _ => query,
    };
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    let path = match path {
        "" => uri.path().to_owned(),
        path if path.starts_with('/') => without_dots(path),
        path => {
            let folder = uri.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            without_dots(&format!("{folder}/{path}"))
        }
    };
    Some(format!("{scheme}://{server}{path}{query}"))
}

/// A letter, and letters, digits, `+`, `-`, `.` up to the first colon.
fn scheme_of(location: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = location.split_once(':')?;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let first = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    (first && scheme.bytes().all(known)).then_some((scheme, rest))
}

/// `/a/./b/../c` is `/a/c`, and nothing is above the top.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        match part {
            "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
        if matches!(part, "." | "..") && parts.peek().is_none() {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of RFC 3986, 5.4, that are for http.
    #[test]
    fn a_reference_is_read_as_the_standard_has_it() {
        let base = "http://a/b/c/d;p?q";
        for (reference, wanted) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("/g?at=http://h/i", "http://a/g?at=http://h/i"),
            ("sha256:0", "sha256:0"),
        ] {
            assert_eq!(join(base, reference).as_deref(), Some(wanted), "{reference:?}");
        }
    }

    #[test]
    fn a_redirect_is_never_less_safe() {
        let to = |from, location| redirected(from, Some(location)).ok();
        let base = "https://h:8/a/b.tar?x";
        assert_eq!(to(base, "c.tar").as_deref(), Some("https://h:8/a/c.tar"));
        assert_eq!(to(base, "//g/c").as_deref(), Some("https://g/c"));
        assert_eq!(to(base, "HTTPS://g/c").as_deref(), Some("https://g/c"));
        assert_eq!(to("http://h/a", "https://g/c").as_deref(), Some("https://g/c"));
        for location in ["http://g/c", "HTTP://g/c", "file:///etc/passwd", "data:,x", "https:///"] {
            assert_eq!(to(base, location), None, "{location}");
        }
        assert_eq!(to("http://h/a", "file:///etc/passwd"), None);
        assert!(redirected(base, None).is_err());
        let why = redirected(base, Some("//h:99999/c")).expect_err("no port").what;
        assert!(why.contains("whose port is none"), "{why}");
    }

    #[test]
    fn what_is_no_port_is_not_the_usual_one() {
        for url in [
            "http://h/x",
            "http://h:/x",
            "http://h:65535",
            "http://me:99999@h:80/x:y",
            "http://[::1]/x",
            "http://[::1]:8080/x",
            "https://h/a:b",
            "h:80",
        ] {
            assert!(has_good_port(url), "{url}");
        }
        for url in [
            "http://127.0.0.1:99999/x",
            "http://h:65536",
            "http://h:+80/",
            "http://h:-1/",
            "http://h:http?x",
            "http://[::1]:x/",
            "http://me:80@h:x/",
            "h:99999",
        ] {
            assert!(!has_good_port(url), "{url}");
        }
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

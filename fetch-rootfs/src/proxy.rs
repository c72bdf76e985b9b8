//! The proxy for a URL, by the environment variables that curl(1) knows, in its order. One that
//! can't be used is an error: who names a proxy may not want to be seen without it.

use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

use crate::http::Trouble;
use crate::location::has_good_port;

/// `HTTP_PROXY` is not among them: a web server sets it for a CGI program from the header `Proxy:`
/// of any request.
fn variables(scheme: &str) -> &'static [&'static str] {
    match scheme {
        "https" => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        _ => &["http_proxy", "all_proxy", "ALL_PROXY"],
    }
}

/// The proxy to be asked, if any.
pub fn for_url(url: &str) -> Result<Option<Proxy>, Trouble> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    choose(url, set)
}

pub fn choose(url: &str, set: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>, Trouble> {
    let Ok(uri) = url.parse::<Uri>() else { return Ok(None) };
    let names = variables(uri.scheme_str().unwrap_or_default());
    let Some((name, value)) = names.iter().find_map(|name| Some((name, set(name)?))) else {
        return Ok(None);
    };
    let none_for = set("no_proxy").or_else(|| set("NO_PROXY")).unwrap_or_default();
    if is_exempt(&uri, &none_for) {
        return Ok(None);
    }
    let proxy = Proxy::new(value.trim()).ok().filter(|_| has_good_port(value.trim()));
    // What the variable holds may be a password.
    proxy.map(Some).ok_or_else(|| {
        Trouble::lasting(format!("get {url:?}: the proxy that ${name} names is none"))
            .hint("as http://HOST:PORT or socks5://HOST:PORT")
    })
}

/// By the library's own rules: names, domains, `*`.
fn is_exempt(uri: &Uri, none_for: &str) -> bool {
    let names = none_for.split(',').map(str::trim).filter(|name| !name.is_empty());
    let proxy = names.fold(Proxy::builder(ProxyProtocol::Http), ureq::ProxyBuilder::no_proxy);
    proxy.build().is_ok_and(|proxy| proxy.is_no_proxy(uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(url: &str, set: &[(&str, &str)]) -> Result<Option<String>, String> {
        let get = |name: &str| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let proxy = choose(url, get).map_err(|trouble| trouble.what)?;
        Ok(proxy.map(|proxy| proxy.host().to_owned()))
    }

    #[test]
    fn a_proxy_is_chosen_by_the_scheme() {
        let all =
            [("https_proxy", "http://s:1"), ("http_proxy", "p:2"), ("ALL_PROXY", "http://a:3")];
        assert_eq!(host("https://h/x", &all), Ok(Some("s".into())));
        assert_eq!(host("http://h/x", &all), Ok(Some("p".into())));
        assert_eq!(host("http://h/x", &all[2..]), Ok(Some("a".into())));
        assert_eq!(host("http://h/x", &all[..1]), Ok(None));
        assert_eq!(host("http://h/x", &[("HTTP_PROXY", "http://evil")]), Ok(None));
        assert_eq!(host("http://h/x", &[("http_proxy", "socks5://s:9")]), Ok(Some("s".into())));
        for proxy in ["bad://me:secret@p", "http://me:secret@p:99999", "p:x"] {
            let bad = host("http://h/x", &[("http_proxy", proxy)]).expect_err(proxy);
            assert!(bad.contains("$http_proxy") && !bad.contains("secret"), "{bad}");
        }
    }

    #[test]
    fn some_hosts_need_none() {
        for (none_for, exempt) in
            [("h", true), ("x, .d ,h", true), ("*", true), ("other", false), ("", false)]
        {
            let set = [("http_proxy", "http://p"), ("no_proxy", none_for)];
            assert_eq!(host("http://h/x", &set).map(|proxy| proxy.is_none()), Ok(exempt));
        }
    }
}

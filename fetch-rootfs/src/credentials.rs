//! What is told to one server only: the headers of the command line, and who we are, from the URL
//! itself or from ~/.netrc.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Once;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Failure, report, shell};
use percent_encoding::percent_decode_str;

/// A header as it is sent. Its value may be a secret: it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    pub value: String,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: …", self.name)
    }
}

impl Header {
    /// Reads `Name: value`. Where that fails, the message does not repeat it.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let fail = || {
            Failure::usage("read a --header: it is not as \"Name: value\"")
                .hint("--header 'Authorization: Bearer TOKEN'")
        };
        let (name, value) = text.split_once(':').ok_or_else(fail)?;
        let value = value.trim();
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let plain = |byte: u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        match !name.is_empty() && name.bytes().all(word) && value.bytes().all(plain) {
            true => Ok(Self { name: name.into(), value: value.into() }),
            false => Err(fail()),
        }
    }

    fn basic(user: &str, password: &str) -> Self {
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Self { name: "Authorization".into(), value }
    }
}

/// Takes `user:password@` out of a URL, which is then fit to be shown.
pub fn split_url(url: &str) -> (String, Option<Header>) {
    let whole = || (url.to_owned(), None);
    let Some((scheme, rest)) = url.split_once("://") else { return whole() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some((who, host)) = rest[..end].rsplit_once('@') else { return whole() };
    let (user, password) = who.split_once(':').unwrap_or((who, ""));
    let header = Header::basic(&decoded(user), &decoded(password));
    (format!("{scheme}://{host}{}", &rest[end..]), Some(header))
}

/// `%40` in a URL is `@`.
fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Who we are to this host, by $NETRC or ~/.netrc.
pub fn from_netrc(host: &str) -> Option<Header> {
    let file = match std::env::var_os("NETRC") {
        Some(file) => PathBuf::from(file),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".netrc"),
    };
    let text = fs::read_to_string(&file).ok()?;
    let (user, password) = look_up(&text, host)?;
    if fs::metadata(&file).is_ok_and(|about| about.mode() & 0o077 != 0) {
        warn(&file);
    }
    Some(Header::basic(&user, &password))
}

fn warn(file: &std::path::Path) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        report::tell(&format!(
            "fetch-rootfs: note: others can read passwords in {file:?}: chmod 600 {}\n",
            shell::operand(file)
        ));
    });
}

/// The first entry for the host, else the `default` one; netrc(5).
pub fn look_up(text: &str, host: &str) -> Option<(String, String)> {
    let mut found = None;
    let mut ours = false;
    let text = without_macros(text);
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "machine" | "default" if ours => break,
            "machine" => ours = words.next()?.eq_ignore_ascii_case(host),
            "default" => ours = true,
            "login" | "password" | "account" => {
                let value = words.next()?;
                if ours {
                    let (user, password) = found.get_or_insert_with(Default::default);
                    match word {
                        "login" => value.clone_into(user),
                        "password" => value.clone_into(password),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// A macro runs to the next empty line; a comment, to the end of its own.
fn without_macros(text: &str) -> String {
    let mut inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        let start = line.trim_start();
        inside = (inside || start.starts_with("macdef")) && !start.is_empty();
        if !inside && !start.starts_with('#') {
            kept.extend([line, "\n"]);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_text_is_read_without_harm(text in "\\PC{0,80}", words in "[a-z# \n%@:/]{0,200}") {
            let _ = (Header::parse(&text), look_up(&words, "machine"), look_up(&text, "h"));
            let (shown, header) = split_url(&format!("https://{text}@h/{words}"));
            prop_assert!(header.is_none() || shown.starts_with("https://"));
            let (again, none) = split_url(&shown);
            prop_assert!(none.is_some() || again == shown);
        }
    }

    #[test]
    fn a_header_is_a_name_and_a_value_and_is_not_shown() {
        let header = Header::parse("X-Token:  a b ").expect("a header");
        assert_eq!((header.name.as_str(), header.value.as_str()), ("X-Token", "a b"));
        assert_eq!(format!("{header:?}"), "X-Token: …");
        for text in ["", "secret", ": secret", "a b: secret", "a: secret\r\nb: c", "a: \0"] {
            let failure = Header::parse(text).expect_err("no header").lines("t");
            assert!(!failure.contains("secret"), "{failure}");
        }
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        let (url, header) = split_url("https://me:p%40ss@h:8/a@b?c");
        assert_eq!(url, "https://h:8/a@b?c");
        assert_eq!(header, Some(Header::basic("me", "p@ss")));
        assert_eq!(split_url("https://h/a@b"), ("https://h/a@b".into(), None));
        assert_eq!(decoded("%zz%4"), "%zz%4");
    }

    #[test]
    fn a_netrc_has_an_entry_for_a_host_or_a_default() {
        let text = "# machine c login no\nmachine a login x password y\n\
            macdef m\nmachine b login no\n\nmachine b\n  password q\n  login p\ndefault login d password e\n";
        let look_up = |host| look_up(text, host);
        let pair = |user: &str, password: &str| Some((user.into(), password.into()));
        assert_eq!(look_up("A"), pair("x", "y"));
        assert_eq!(look_up("b"), pair("p", "q"));
        assert_eq!(look_up("c"), pair("d", "e"));
        assert_eq!(super::look_up("machine a login x", "b"), None);
        assert_eq!(super::look_up("machine", "b"), None);
    }
}

//! What users and makers write: lists of digests, netrc files, names of images. The first line of
//! an input says which parser the rest is for. What is accepted says what was written and no more,
//! and reads the same as it is printed; what is refused is told without a password.
#![no_main]

use std::path::Path;

use fetch_rootfs::parsers;
use libfuzzer_sys::{Corpus, fuzz_target};

mod told;
use told::told;

const SECRET: &str = "s3cr3t";

fuzz_target!(|input: &str| -> Corpus {
    let Some((parser, text)) = input.split_once('\n') else { return Corpus::Reject };
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    match parser {
        "source" => source(text),
        "version" => version(text),
        "reference" => reference(text),
        "platform" => platform(text),
        "digest" => assert!(parsers::digest(text).is_none_or(|printed| printed == text)),
        "url" => url(first, rest),
        "header" => header(text),
        "netrc" => netrc(first, rest),
        "proxy" => proxy(first, rest),
        "checksums" => checksums(first, rest),
        "auth" => auth(first, rest),
        "exclude" => exclude(first, rest),
        "acl" => acl(text),
        "pax" => pax(text),
        "base64" => base64(text),
        "whiteout" => whiteout(text),
        _ => return Corpus::Reject,
    }
    Corpus::Keep
});

fn source(text: &str) {
    if let Err(why) = parsers::source(text) {
        told(&why);
    }
    // As somebody would type it who has read about another program.
    for scheme in ["https", "ftp", "docker", "oci", "s3"] {
        let error = parsers::source(&format!("{scheme}://me:{SECRET}@{text}")).err();
        let error = error.filter(|_| !text.contains(SECRET)).unwrap_or_default();
        assert!(!error.contains(SECRET), "{error}");
    }
}

fn version(text: &str) {
    match parsers::version(text) {
        Some(Ok(url)) => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/:._-".contains(&byte);
            assert!(url.starts_with("https://") && url.bytes().all(plain), "{url}");
            assert!(!url.contains("/../"), "{url}");
        }
        Some(Err(why)) => told(&why),
        None => {}
    }
}

fn reference(text: &str) {
    match parsers::reference(text) {
        Err(why) => told(&why),
        Ok((printed, server)) => {
            assert_eq!(parsers::reference(&printed), Ok((printed.clone(), server.clone())));
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/:._-@[]".contains(&byte);
            assert!(printed.bytes().all(plain) && !printed.contains("/../"), "{printed}");
            let (name, port) = server.rsplit_once(':').unwrap_or((&server, ""));
            let host = if port.contains(']') { &server } else { name };
            let reached = parsers::server(&format!("https://{server}/v2/x"));
            assert_eq!(reached, Some(("https".into(), host.into())), "{server}");
        }
    }
}

fn platform(text: &str) {
    match parsers::platform(text) {
        Ok(printed) => assert_eq!(parsers::platform(&printed), Ok(printed.clone())),
        Err(why) => told(&why),
    }
}

fn url(scheme: &str, rest: &str) {
    let url = format!("{scheme}://{rest}");
    let (shown, header) = parsers::url_and_user(&url);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if header.is_none() {
        assert_eq!(shown, url);
    }
    if !scheme.contains("://")
        && let Some((user, _)) = authority.rsplit_once('@')
    {
        assert!(header.is_some_and(|header| header.starts_with("Basic ")));
        assert_eq!(shown.len() + user.len() + 1, url.len());
        assert_eq!(parsers::url_and_user(&shown), (shown.clone(), None));
    }
    let plain = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain && !scheme.is_empty() && !url.contains(SECRET) {
        let (shown, header) = parsers::url_and_user(&format!("{scheme}://me:{SECRET}@{rest}"));
        assert!(!shown.contains(SECRET) && header.is_some(), "{shown}");
    }
}

fn header(text: &str) {
    match parsers::header(text) {
        Err(why) => {
            told(&why);
            assert_eq!(Err(why), parsers::header(""), "it says what it was given");
        }
        Ok((name, value)) => {
            let sent = format!("{name}: {value}");
            assert!(!sent.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{sent:?}");
            assert_eq!(parsers::header(&sent), Ok((name, value)));
        }
    }
}

fn netrc(host: &str, text: &str) {
    let Some((user, password)) = parsers::netrc(text, host) else { return };
    let words = || text.split_whitespace();
    for found in [user, password] {
        assert!(found.is_empty() || words().any(|word| word == found), "{found:?}");
    }
    let named = words().any(|word| word == "default" || word.eq_ignore_ascii_case(host));
    assert!(named, "nothing in it is for {host:?}");
}

fn proxy(url: &str, rest: &str) {
    let (proxy, exceptions) = rest.split_once('\n').unwrap_or((rest, ""));
    if let Err(why) = parsers::proxy(url, proxy, exceptions) {
        told(&why);
    }
    let with_secret = format!("x://me:{SECRET}@{proxy}");
    for proxy in [&with_secret, &with_secret[4..]] {
        let error = parsers::proxy(url, proxy, exceptions).err().unwrap_or_default();
        assert!(url.contains(SECRET) || !error.contains(SECRET), "{error}");
    }
    // What a list leaves out, a longer one leaves out, too.
    if parsers::proxy(url, "http://p", exceptions) == Ok(None) {
        let more = format!("{exceptions},other.example");
        assert_eq!(parsers::proxy(url, "http://p", &more), Ok(None), "{url} {exceptions}");
    }
}

fn checksums(name: &str, list: &str) {
    let found = match parsers::checksums(list, name) {
        Ok(found) => found,
        Err(why) => return told(&why),
    };
    assert!(!found.is_empty());
    for (kind, digits) in found {
        // In BSD's form, and in OpenSSL's.
        let tags = [kind.replace('-', ""), kind.replace('-', "2-")];
        let says = |line: &str| {
            let at = line.find(name);
            let line = line.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
            // Those say which kind it is.
            let tagged = !line.starts_with(&digits);
            let tag = tags.iter().any(|tag| line.starts_with(&tag.to_ascii_lowercase()));
            at.is_some() && line.contains(&digits) && (!tagged || tag)
        };
        assert!(list.lines().any(says), "{kind} {digits} for {name:?}");
        assert_eq!(digits.len(), if kind == "SHA-256" { 64 } else { 128 });
    }
}

fn auth(image: &str, file: &str) {
    match parsers::auth(file, image) {
        Err(why) => told(&why),
        Ok(Some(auth)) => {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
            assert!(!auth.is_empty() && auth.bytes().all(known), "{auth:?}");
        }
        Ok(None) => {}
    }
    // Whatever is where: what it holds may be a password.
    let file = file.replace("SECRET", SECRET);
    let error = parsers::auth(&file, "h/a").err().unwrap_or_default();
    assert!(!error.contains(SECRET), "{error}");
}

fn exclude(pattern: &str, name: &str) {
    let excluded = parsers::excludes(pattern, name);
    assert_eq!(excluded, parsers::excludes(pattern, &format!("./{name}")));
    if excluded {
        assert!(parsers::excludes(pattern, &format!("{name}/below")), "{pattern:?} {name:?}");
    }
    // With nothing in it that stands for anything else, it is a name.
    let plain = pattern.strip_prefix("./").unwrap_or(pattern).trim_start_matches('/');
    let (name, anchored) = (plain.trim_end_matches('/'), plain.len() < pattern.len());
    if !matches!(name, "" | ".") && !name.contains(['*', '?', '[', '\\']) && !name.starts_with("./")
    {
        assert!(parsers::excludes(pattern, name), "{pattern:?}");
        assert_eq!(parsers::excludes(pattern, &format!("top/{name}")), !anchored, "{pattern:?}");
    }
}

fn acl(text: &str) {
    let Some(value) = parsers::acl(text) else { return };
    let (version, entries) = value.split_at(4);
    assert_eq!((version, entries.len() % 8), (&[2, 0, 0, 0][..], 0));
    let written: Vec<String> = entries
        .chunks(8)
        .map(|entry| {
            let kind = match entry[0] {
                1 | 2 => "user",
                4 | 8 => "group",
                16 => "mask",
                _ => "other",
            };
            let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
            let name = if id == u32::MAX { String::new() } else { id.to_string() };
            let right = |bit, letter| if entry[2] & bit != 0 { letter } else { '-' };
            format!("{kind}:{name}:{}{}{}", right(4, 'r'), right(2, 'w'), right(1, 'x'))
        })
        .collect();
    assert_eq!(parsers::acl(&written.join(",")), Some(value), "{written:?}");
}

fn pax(text: &str) {
    match parsers::pax(text.as_bytes()) {
        Err(why) => told(&why),
        Ok(attributes) => {
            for (at, name) in attributes.iter().enumerate() {
                assert!(!name.is_empty() && !name.contains(&0), "{name:?}");
                assert!(attributes[..at].iter().all(|earlier| earlier != name), "{name:?}");
            }
        }
    }
}

fn base64(text: &str) {
    let Some(bytes) = parsers::base64(text) else { return };
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = text.trim_end_matches('=');
    assert_eq!(bytes.len(), text.len() * 3 / 4);
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| usize::from(byte >> (7 - at % 8) & 1));
    for (at, letter) in text.bytes().enumerate().take(bytes.len() * 8 / 6) {
        let six = (0..6).fold(0, |sum, next| sum * 2 + bit(at * 6 + next));
        assert_eq!(LETTERS[six], letter, "{text:?} {bytes:?}");
    }
}

fn whiteout(path: &str) {
    // As the extractor has it: without these.
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return;
    }
    let Some(name) = parsers::whiteout(path) else { return };
    let last = path.rsplit('/').next().unwrap_or_default();
    match name == Path::new(".") {
        true => assert_eq!(last, ".wh..wh..opq"),
        false => assert_eq!(Some(last), format!(".wh.{}", name.display()).as_str().into()),
    }
    assert!(name.iter().count() == 1 && name != Path::new(".."), "{path:?} takes {name:?}");
}

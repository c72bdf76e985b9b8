//! What servers and registries say, and gpgv. The first line of an input says which parser the
//! rest is for. Nothing leads to where it is less safe, an image's layers are what its documents
//! name, and what is refused is told in a way that is fit for a terminal.
#![no_main]

use fetch_rootfs::parsers;
use libfuzzer_sys::{Corpus, fuzz_target};

mod told;
use told::told;

fuzz_target!(|input: &str| -> Corpus {
    let Some((parser, text)) = input.split_once('\n') else { return Corpus::Reject };
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    match parser {
        "challenge" => challenge(text),
        "token" => token(text),
        "token-url" => token_url(first, rest),
        "redirect" => redirect(first, rest),
        "server" => server(first, rest),
        "range" => range(text),
        "retry" => retry(text),
        "note" => note(text),
        "noted" => noted(first, rest),
        "reason" => told(&parsers::reason(text)),
        "gpgv" => gpgv(text),
        "index" | "layout" | "saved" => image(parser, text),
        _ => return Corpus::Reject,
    }
    Corpus::Keep
});

fn challenge(headers: &str) {
    let Some(found) = parsers::challenge(headers) else { return };
    let lower = headers.to_ascii_lowercase();
    let scheme = if found.is_empty() { "basic" } else { "bearer" };
    assert!(lower.contains(scheme), "{headers:?}");
    // Without escapes they are as they stand there.
    for part in found {
        assert!(headers.contains('\\') || headers.contains(&part), "{part:?}");
    }
}

fn token(answer: &str) {
    match parsers::token(answer) {
        Ok(token) => {
            assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
        }
        Err(why) => told(&why),
    }
    // Whatever is where, it may be one.
    let error = parsers::token(&answer.replace("SECRET", "s3cr3t")).err().unwrap_or_default();
    assert!(!error.contains("s3cr3t"), "{error}");
}

/// A password goes there.
fn token_url(first: &str, rest: &str) {
    let (base, scope) = rest.split_once('\n').unwrap_or((rest, ""));
    let Some(url) = parsers::token_url(first, base, scope) else { return };
    let (scheme, host) = parsers::server(&url).expect("it can be asked");
    assert_eq!(parsers::server(first), Some((scheme.clone(), host.clone())), "{url}");
    if scheme != "https" {
        assert_eq!(parsers::server(base), Some((scheme, host)), "{url} for {base}");
    }
}

fn redirect(from: &str, to: &str) {
    let known = |url: &str| url.starts_with("https://") || url.starts_with("http://");
    if !known(from) || parsers::server(from).is_none() {
        return;
    }
    let url = match parsers::redirected(from, to) {
        Ok(url) => url,
        Err(why) => return told(&why),
    };
    let safe = url.starts_with("https://");
    assert!(safe || url.starts_with("http://") && !from.starts_with("https://"), "{url}");
    // Only a whole URL leads to another server; spaces around a header's value are none of it.
    let to = to.trim();
    let scheme = to.split(['/', '?', '#']).next().is_some_and(|start| start.contains(':'));
    if !scheme && !to.starts_with("//") && parsers::server(&url).is_some() {
        assert!(parsers::same_server(from, &url), "{from} to {to:?}: {url}");
    }
}

fn server(one: &str, other: &str) {
    let same = parsers::same_server(one, other);
    assert_eq!(same, parsers::same_server(other, one));
    if same {
        let lower =
            |url| parsers::server(url).map(|(scheme, host)| (scheme, host.to_ascii_lowercase()));
        assert_eq!(lower(one), lower(other));
    }
}

/// `bytes START-END/WHOLE`, in digits.
fn range(text: &str) {
    let Some((start, whole)) = parsers::content_range(text) else { return };
    let numbers = text.strip_prefix("bytes ").expect("the unit");
    let (range, length) = numbers.split_once('/').expect("a length");
    let (from, to) = range.split_once('-').expect("a range");
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        assert!(digits, "{text:?}");
        text.parse::<u64>().expect("it is read")
    };
    assert_eq!(start, number(from));
    assert!(start <= number(to));
    match whole {
        Some(whole) => assert!(whole == number(length) && number(to) < whole),
        None => assert_eq!(length, "*"),
    }
}

/// A number is read as it stands; all else is a date, of which years have four digits.
fn retry(text: &str) {
    let Some(seconds) = parsers::retry_after(text) else { return };
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let digits = text.trim_start_matches('0');
        assert_eq!(digits, if seconds == 0 { String::new() } else { seconds.to_string() });
    } else {
        assert!(text.contains(':') && seconds < 253_402_300_800, "{text:?}: {seconds}");
    }
}

fn note(text: &str) {
    let url = "https://h/a";
    let Some(written) = parsers::note(text, url) else { return };
    assert_eq!(parsers::note(&written, url), Some(written));
}

/// What HTTP lets a server say is read as it was said.
fn noted(etag: &str, rest: &str) {
    let (modified, url) = rest.split_once('\n').unwrap_or((rest, ""));
    let header = |text: &str| {
        let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        plain && text == text.trim()
    };
    if header(etag) && header(modified) && header(url) {
        let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        assert_eq!(parsers::noted(url, etag, modified), Some((said(etag), said(modified))));
    }
}

fn gpgv(status: &str) {
    let says = |word: &str| {
        let line = format!("[GNUPG:] {word}");
        status.lines().any(|said| said == line || said.starts_with(&format!("{line} ")))
    };
    let good = says("GOODSIG") && says("VALIDSIG") && !says("BADSIG");
    assert_eq!(parsers::is_good(status), good);
}

/// Documents on lines of their own, and the name of the image that is wanted, if there is one.
fn image(form: &str, text: &str) {
    let mut documents: Vec<&str> = text.lines().collect();
    let wanted = documents.pop_if(|last| !last.starts_with(['{', '[']));
    match parsers::image(form, &documents, wanted) {
        Err(why) => told(&why),
        Ok(layers) => {
            assert!((1..=512).contains(&layers.len()));
            for (name, digest) in layers {
                let digits = digest.as_deref().map(|digest| digest.trim_start_matches("sha256:"));
                let path = digits.map(|digits| format!("blobs/sha256/{digits}"));
                assert!(path.map_or(form == "saved", |path| path == name), "{name:?} {digest:?}");
                let there = digits.unwrap_or_default();
                assert!(documents.iter().any(|text| text.contains(there)), "{digest:?}");
            }
        }
    }
}

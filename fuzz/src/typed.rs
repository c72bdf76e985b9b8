//! What people type, a word on each line: it is refused, or what comes out of it are numbers that
//! the kernel can't read in another way.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|typed: &str| {
    let words: Vec<&str> = typed.split(['\0', '\n']).collect();
    cgset::is_understood(["cgset"].iter().chain(&words).map(Into::into));
    for pair in words.windows(2) {
        for v2 in [false, true] {
            look(pair[0], pair[1], v2);
        }
    }
    for word in words {
        a_size(word);
        a_pid(word);
    }
});

/// Typed as the file and the text that it comes to, a setting comes to the same.
fn look(key: &str, value: &str, v2: bool) {
    let mut written = cgset::written(key, value, v2).unwrap_or_default();
    // An empty list, for all CPUs that there are, has no words of its own.
    written.retain(|(_, text)| !text.is_empty());
    for (file, text) in written {
        // A rate of the network goes into no file.
        if !file.starts_with("net.") {
            numbers_are_plain(&text);
        }
        let again = cgset::written(&file, &text, v2);
        let same =
            again.as_ref().is_some_and(|again| again.contains(&(file.clone(), text.clone())));
        assert!(same, "{key} {value} is {file} {text}, and that is {again:?}");
    }
}

/// The kernel takes 010 for 8 and 0x1 for 1, and leaves out what it does not know of 10M.
fn numbers_are_plain(text: &str) {
    assert!(!text.contains('\n'), "{text:?} is two lines");
    for word in text.split(' ') {
        let value = word.rsplit('=').next().unwrap_or_default();
        let value = value.strip_prefix('-').unwrap_or(value);
        let starts = value.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c));
        let mut parts = value.split(['-', ',', ':', '/']).filter(|_| starts);
        assert!(parts.all(|part| !is_number(part) || is_plain(part)), "{word:?} in {text:?}");
    }
}

fn is_number(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_digit() || c == '+')
}

/// Decimal digits, perhaps a fraction, and no more zeros at the beginning than it takes.
fn is_plain(part: &str) -> bool {
    let (whole, fraction) = part.split_once('.').unwrap_or((part, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits(whole) && digits(fraction) && (whole == "0" || !whole.starts_with('0'))
}

fn a_size(word: &str) {
    let Ok(bytes) = common::size::parse(word) else { return };
    assert_eq!(common::size::parse(&bytes.to_string()).ok(), Some(bytes));
    common::size::human(bytes);
}

fn a_pid(word: &str) {
    let Ok(pid) = common::pid::parse(word) else { return };
    assert!(pid.as_raw() > 0 && pid.to_string() == word, "{word:?} is {pid}");
}

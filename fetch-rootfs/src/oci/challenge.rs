//! How a registry says what it wants to know: `WWW-Authenticate`, RFC 9110.

/// What to come back with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A token, from the place that it names.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
    /// A name and a password.
    Basic,
}

/// Reads the header; a token is preferred, for a password then goes to its maker alone.
pub fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let all: Vec<(String, Vec<(String, String)>)> = headers.flat_map(challenges).collect();
    let bearer = all.iter().find_map(|(scheme, parameters)| {
        let parameter = |name: &str| {
            parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        };
        let realm = parameter("realm").filter(|_| scheme == "bearer")?;
        Some(Challenge::Bearer { realm, service: parameter("service"), scope: parameter("scope") })
    });
    let basic = || all.iter().any(|(scheme, _)| scheme == "basic").then_some(Challenge::Basic);
    bearer.or_else(basic)
}

/// `Basic realm="a", Bearer realm="b",service="c"`: a word without `=` begins the next one.
fn challenges(header: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            return found;
        }
        let word = word.to_ascii_lowercase();
        match (after.strip_prefix('='), found.last_mut()) {
            (Some(after), Some((_, parameters))) => {
                let (value, after) = value(after);
                parameters.push((word, value));
                rest = after;
            }
            (Some(_), None) => return found,
            (None, _) => {
                found.push((word, Vec::new()));
                rest = after;
            }
        }
    }
}

/// A word, or text between quotation marks, in which `\` keeps the next character as it is.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = text.split_at(text.find([' ', '\t', ',']).unwrap_or(text.len()));
        return (word.to_owned(), rest);
    };
    let (mut value, mut chars) = (String::new(), quoted.chars());
    while let Some(character) = chars.next() {
        match character {
            '"' => break,
            '\\' => value.extend(chars.next()),
            other => value.push(other),
        }
    }
    (value, chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_all_sorts() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.into(),
                service: service.map(str::to_owned),
                scope: scope.map(str::to_owned),
            })
        };
        for (headers, wanted) in [
            (
                &[r#"Bearer realm="https://a/t",service="s",scope="repository:a:pull,push""#][..],
                bearer("https://a/t", Some("s"), Some("repository:a:pull,push")),
            ),
            (
                &[r#"Basic realm="x, y", bearer Realm="https://b", service=s"#],
                bearer("https://b", Some("s"), None),
            ),
            (&["Basic realm=x", "Bearer realm=\"q\\\"uote\""], bearer("q\"uote", None, None)),
            (&["Basic"], Some(Challenge::Basic)),
            (&["Bearer service=x", "BASIC realm=\"y"], Some(Challenge::Basic)),
            (&["Digest realm=x", "", "=", "realm=x", "Bearer"], None),
        ] {
            assert_eq!(parse(headers.iter().copied()), wanted, "{headers:?}");
        }
    }
}

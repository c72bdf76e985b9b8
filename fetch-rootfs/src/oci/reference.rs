//! What an image is called in a registry: `alpine:3.20`, `host:5000/team/name@sha256:…`.

use std::fmt;
use std::net::IpAddr;

use common::Failure;

use super::digest::Digest;

/// Where a name without a host is looked up, as Docker does; and where that is served.
const DEFAULT: &str = "docker.io";
const DEFAULT_SERVER: &str = "registry-1.docker.io";

/// A name, in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub host: String,
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

impl Reference {
    /// Reads what follows `docker://` or `oci://`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let fail = |why: &str| {
            Failure::usage(format!("read the image {text:?}: {why}"))
                .hint("as docker://alpine:3.20 or docker://HOST:PORT/NAME@sha256:DIGITS")
        };
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                (rest, Some(Digest::parse(digest).ok_or_else(|| no_digest(digest))?))
            }
        };
        let (host, path) = match rest.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            _ => (DEFAULT, rest),
        };
        let (name, tag) = match path.rsplit_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (path, None),
        };
        let library = host == DEFAULT && !name.contains('/');
        let repository = if library { format!("library/{name}") } else { name.to_owned() };
        if !is_host(host) {
            return Err(fail("its host is no HOST or HOST:PORT"));
        }
        if !repository.split('/').all(is_part) || repository.len() > 255 {
            return Err(fail("its name is not of lower-case letters, digits, . _ - and /"));
        }
        if !tag.is_none_or(is_tag) {
            return Err(fail("its tag is not of letters, digits, . _ and -"));
        }
        Ok(Self { host: host.into(), repository, tag: tag.map(str::to_owned), digest })
    }

    /// The host that answers for it.
    pub fn server(&self) -> &str {
        if self.host == DEFAULT { DEFAULT_SERVER } else { &self.host }
    }

    /// Whether it never leaves this machine: then http is as safe as https.
    pub fn is_loopback(&self) -> bool {
        let name = host_name(&self.host);
        name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// What names its manifest: the digest, which can't change, before the tag.
    pub fn manifest(&self) -> String {
        let tag = || self.tag.clone().unwrap_or_else(|| "latest".into());
        self.digest.map_or_else(tag, |digest| digest.to_string())
    }
}

/// A user and a password may have been typed there: nothing of it is repeated.
fn no_digest(text: &str) -> Failure {
    let failure = Failure::usage(
        "read the image: what follows its @ is not sha256: and 64 hexadecimal digits, lower-case",
    );
    let digest = text.split_once(':').is_some_and(|(kind, digits)| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        matches!(kind, "sha256" | "SHA256" | "sha512") && plain
    });
    failure.hint(match digest {
        true => "a digest is whole: skopeo inspect --format '{{.Digest}}' docker://NAME prints it",
        false => "who you are to a registry is for skopeo login --authfile FILE HOST",
    })
}

/// A host without its port, and an IPv6 address without its brackets.
pub fn host_name(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    host.split(':').next().unwrap_or(host)
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let known = address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
            (
                if known { "v6" } else { "" },
                port.strip_prefix(':').or((!port.is_empty()).then_some("x")),
            )
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    !name.is_empty()
        && name.bytes().all(known)
        && port.is_none_or(|port| port.parse().is_ok_and(|port: u16| port > 0))
}

/// A part of a name: words with single separators between.
fn is_part(part: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [part.bytes().next(), part.bytes().next_back()];
    ends.iter().all(|end| end.is_some_and(word))
        && part.bytes().all(|byte| word(byte) || b"._-".contains(&byte))
        && !part.contains("..")
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.bytes().next().is_some_and(word)
        && tag.len() <= 128
        && tag.bytes().all(|byte| word(byte) || b".-".contains(&byte))
}

/// In full, as skopeo(1) takes it: it does not like a tag beside a digest.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => write!(f, ":{}", self.manifest()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_short_and_long() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, wanted) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("team/name", "docker.io/team/name:latest"),
            ("host:5000/name:1", "host:5000/name:1"),
            ("localhost/a/b__c", "localhost/a/b__c:latest"),
            ("[::1]:80/a", "[::1]:80/a:latest"),
            (&format!("a.b/c:1@{digest}"), &format!("a.b/c@{digest}")),
        ] {
            let reference = Reference::parse(text).expect(text);
            assert_eq!(reference.to_string(), wanted);
        }
        for text in [
            "",
            "Alpine",
            "a:",
            "a b",
            "a:1 2",
            "a/../b",
            "a//b",
            "/a",
            "a/",
            "host:0/a",
            "h:x/a",
            "a@sha256:12",
            "a@md5:x",
            "-a",
            "a..b/c/d..e",
            "a?x",
            "h:1/a?b",
            "u@h/a",
            "[::1/a",
            "a:b:c",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_password_in_a_name_is_not_shown() {
        for text in
            ["me:hidden@h/a", "me:hid@den@h/a:1", "me:hidden@a", "hidden@", "me:hid@sha256:1/a"]
        {
            let lines = Reference::parse(text).expect_err(text).lines("t");
            assert!(!lines.contains("hid") && lines.contains("skopeo login"), "{lines}");
        }
    }

    #[test]
    fn a_digest_that_is_cut_off_is_none_of_a_password() {
        for text in ["a@sha256:12", "h/a@sha512:00", "a@sha256:"] {
            let lines = Reference::parse(text).expect_err(text).lines("t");
            assert!(lines.contains("skopeo inspect") && !lines.contains("login"), "{lines}");
        }
    }

    #[test]
    fn this_machine_is_known_by_name_and_address() {
        let loopback = |text: &str| Reference::parse(text).expect(text).is_loopback();
        assert!(loopback("localhost:5000/a") && loopback("127.9.9.9/a") && loopback("[::1]:5/a"));
        assert!(!loopback("127.0.0.1.example/a") && !loopback("a") && !loopback("10.0.0.1/a"));
    }
}

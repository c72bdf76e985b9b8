//! Who one is to a registry: the files that `podman login`, `skopeo login` and `docker login`
//! write. See containers-auth.json(5).

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use common::{Failure, Tried};
use serde::Deserialize;

use super::helper::Helper;
use super::manifest::{LARGEST, parse_private};
use super::reference::Reference;

/// What is known.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Nobody,
    /// `USER:PASSWORD` in base64, as the file and the header have it.
    Basic(String),
    /// What a token is given for, instead of a password.
    IdentityToken(String),
    /// A program knows.
    Helper(Helper),
    /// They are not to be had: the reason.
    Elsewhere(String),
}

/// A secret is not printed.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("Nobody"),
            Self::Basic(_) => f.write_str("Basic(…)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(…)"),
            Self::Helper(helper) => write!(f, "{helper:?}"),
            Self::Elsewhere(why) => write!(f, "Elsewhere({why:?})"),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Known {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    identitytoken: String,
}

/// Looks into the files, in the order that the others do.
pub fn find(reference: &Reference) -> Result<Credentials, Failure> {
    let mut elsewhere = Credentials::Nobody;
    for (path, must_exist) in files() {
        let Some(bytes) = read(&path, must_exist)? else { continue };
        match find_in(&bytes, &path, reference)? {
            found @ (Credentials::Basic(_) | Credentials::IdentityToken(_)) => return Ok(found),
            found if elsewhere == Credentials::Nobody => elsewhere = found,
            _ => {}
        }
    }
    Ok(elsewhere)
}

/// Looks into what one of them holds.
pub fn find_in(file: &[u8], path: &Path, reference: &Reference) -> Result<Credentials, Failure> {
    let known: Known = parse_private(file, &format!("{path:?}"))?;
    Ok(known.find(reference))
}

/// A file that the caller names stands for all others.
fn files() -> Vec<(PathBuf, bool)> {
    let folder =
        |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(named) = folder("REGISTRY_AUTH_FILE") {
        return vec![(named, true)];
    }
    let home = folder("HOME");
    let config = folder("XDG_CONFIG_HOME").or_else(|| Some(home.clone()?.join(".config")));
    let docker = folder("DOCKER_CONFIG").or_else(|| Some(home?.join(".docker")));
    [
        folder("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")),
        config.map(|folder| folder.join("containers/auth.json")),
        docker.map(|folder| folder.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .map(|path| (path, false))
    .collect()
}

fn read(path: &Path, must_exist: bool) -> Result<Option<Vec<u8>>, Failure> {
    let failed = || format!("read the credentials {path:?}");
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => return Ok(None),
        file => file.tried(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).tried(failed)?;
    Ok(Some(bytes))
}

impl Known {
    fn find(&self, reference: &Reference) -> Credentials {
        let full = format!("{}/{}", reference.host, reference.repository);
        // `host/a/b`, then `host/a`, then `host`.
        let ends = full.match_indices('/').map(|(at, _)| at).rev();
        let names: Vec<&str> =
            [full.len()].into_iter().chain(ends).map(|end| &full[..end]).collect();
        for name in names {
            if let Some(helper) = value(&self.cred_helpers, name) {
                return Credentials::Helper(Helper::new(helper, name));
            }
            match value(&self.auths, name) {
                // The password beside it, if any, is of nobody.
                Some(entry) if !entry.identitytoken.is_empty() => {
                    return Credentials::IdentityToken(entry.identitytoken.clone());
                }
                Some(entry) if is_base64(&entry.auth) => {
                    return Credentials::Basic(entry.auth.clone());
                }
                _ => {}
            }
        }
        let helper = |name: &String| Credentials::Helper(Helper::new(name, &reference.host));
        self.creds_store.as_ref().map_or(Credentials::Nobody, helper)
    }
}

fn value<'a, T>(map: &'a BTreeMap<String, T>, name: &str) -> Option<&'a T> {
    map.iter().find(|(key, _)| plain(key) == name).map(|(_, value)| value)
}

/// Old files have `https://index.docker.io/v1/` for what is `docker.io`.
fn plain(key: &str) -> String {
    let key = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or(key.strip_suffix("/v2")).unwrap_or(key);
    match key.split_once('/').map_or(key, |(host, _)| host) {
        "index.docker.io" | "registry-1.docker.io" => {
            let path = key.split_once('/').map(|(_, path)| format!("/{path}"));
            format!("docker.io{}", path.unwrap_or_default())
        }
        _ => key.to_owned(),
    }
}

/// What may stand in a header as it is.
fn is_base64(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
    !text.is_empty() && text.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(json: &str, image: &str) -> Credentials {
        let reference = Reference::parse(image).expect("a name");
        find_in(json.as_bytes(), Path::new("it"), &reference).expect("it is well-formed")
    }

    #[test]
    fn what_a_file_holds_is_not_shown() {
        let reference = Reference::parse("h/a").expect("a name");
        for json in [r#"{"auths": {"h": "hidden"}}"#, r#"{"auths": "hidden"}"#, "\"hidden\"", "hid"]
        {
            let file = Path::new("auth.json");
            let lines = find_in(json.as_bytes(), file, &reference).expect_err(json).lines("t");
            assert!(lines.contains("at line 1") && !lines.contains("hid"), "{lines}");
        }
    }

    #[test]
    fn the_nearest_name_counts() {
        let json = r#"{"auths": {"h:5": {"auth": "aG9zdA=="}, "h:5/a": {"auth": "YQ=="},
            "https://index.docker.io/v1/": {"auth": "aHVi"}, "e.f": {"auth": "a\r\nX: y"}},
            "credHelpers": {"g.h": "pass"}}"#;
        let basic = |text: &str| Credentials::Basic(text.into());
        assert_eq!(find(json, "h:5/a/b"), basic("YQ=="));
        assert_eq!(find(json, "h:5/ab"), basic("aG9zdA=="));
        assert_eq!(find(json, "alpine"), basic("aHVi"));
        assert_eq!(find(json, "h:6/a"), Credentials::Nobody);
        assert_eq!(find(json, "e.f/a"), Credentials::Nobody, "no header in a header");
        assert_eq!(find(json, "g.h/a"), Credentials::Helper(Helper::new("pass", "g.h")));
        let store = r#"{"credsStore": "desktop", "auths": {"h.i": {}}}"#;
        assert_eq!(find(store, "h.i/a"), Credentials::Helper(Helper::new("desktop", "h.i")));
        let token = r#"{"auths": {"h.i": {"auth": "YTo=", "identitytoken": "secret"}}}"#;
        assert_eq!(find(token, "h.i/a"), Credentials::IdentityToken("secret".into()));
        assert!(!format!("{:?} {:?}", find(token, "h.i/a"), basic("secret")).contains("secret"));
    }
}

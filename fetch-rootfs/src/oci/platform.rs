//! Which machine an image is for: `linux/amd64`, `linux/arm/v7`.

use std::fmt;

use common::Failure;
use serde::Deserialize;

/// As images and `--platform` have it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(default)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

impl Platform {
    /// This machine's, in Go's words, which images use.
    pub fn machine() -> Self {
        let architecture = go_name(std::env::consts::ARCH);
        Self { os: "linux".into(), architecture: architecture.into(), variant: None }
    }

    /// `OS/ARCH` or `OS/ARCH/VARIANT`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let plain = |part: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            !part.is_empty() && part.bytes().all(known)
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [os, architecture, rest @ ..] if rest.len() < 2 && parts.iter().all(|p| plain(p)) => {
                Ok(Self {
                    os: (*os).into(),
                    architecture: go_name(architecture).into(),
                    variant: rest.first().map(|variant| (*variant).into()),
                })
            }
            _ => Err(Failure::usage(format!("read the platform {text:?}: it is not OS/ARCH"))
                .hint("as linux/amd64, linux/arm64 or linux/arm/v7")),
        }
    }

    /// Whether an image for `other` is one for this.
    pub fn takes(&self, other: &Self) -> bool {
        let variant = |platform: &Self| match (platform.architecture.as_str(), &platform.variant) {
            ("arm64", Some(variant)) if variant == "v8" => None,
            (_, variant) => variant.clone(),
        };
        self.os == other.os
            && self.architecture == other.architecture
            && (self.variant.is_none() || variant(self) == variant(other))
    }

    /// The order of preference among those that are taken: on amd64 the plain one, which runs on
    /// all; on arm the newest that is common.
    pub fn rank(&self) -> (bool, String) {
        let variant = self.variant.clone().unwrap_or_default();
        let newest_common = self.architecture == "arm" && variant == "v7";
        (!newest_common, variant)
    }
}

fn go_name(architecture: &str) -> &str {
    match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" | "i386" | "i686" => "386",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        Platform::parse(text).expect(text)
    }

    #[test]
    fn a_platform_is_two_or_three_words() {
        assert_eq!(platform("linux/x86_64").to_string(), "linux/amd64");
        assert_eq!(platform("linux/arm/v7").to_string(), "linux/arm/v7");
        for text in ["", "linux", "linux/", "/amd64", "a/b/c/d", "a/b/", "a b/c", "a/\u{1b}"] {
            assert!(Platform::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn variants() {
        assert!(platform("linux/arm64").takes(&platform("linux/arm64/v8")));
        assert!(platform("linux/arm64/v8").takes(&platform("linux/arm64")));
        assert!(platform("linux/arm").takes(&platform("linux/arm/v6")));
        assert!(!platform("linux/arm/v7").takes(&platform("linux/arm/v6")));
        assert!(!platform("linux/amd64").takes(&platform("windows/amd64")));
        let best = |texts: [&str; 2]| texts.map(platform).into_iter().min_by_key(Platform::rank);
        assert_eq!(best(["linux/arm/v6", "linux/arm/v7"]), Some(platform("linux/arm/v7")));
        assert_eq!(best(["linux/amd64/v3", "linux/amd64"]), Some(platform("linux/amd64")));
    }
}

//! Names for what some makers publish: where it is, and how they say what it must be.
//!
//! `NAME`, or `NAME:VERSION`. In a pattern `{version}` is the whole version, `{series}` its first
//! two parts, and `{arch}` the maker's word for this machine.

use common::Failure;

use crate::checksum::{Digest, Kind};
use crate::cli::Source;
use crate::wanted::Wanted;

/// One maker's root file system.
pub struct Entry {
    pub name: &'static str,
    /// The versions that are known here, the first of them for a bare name. `VERSION` may be one
    /// of them, the start of one, or any other that the maker has.
    versions: &'static [&'static str],
    /// This machine's name for itself, and the maker's.
    machines: &'static [(&'static str, &'static str)],
    url: &'static str,
    proof: Proof,
    /// What the maker publishes for comparison, in words.
    says: &'static str,
}

/// How it is verified without being asked.
enum Proof {
    /// The URL of a list of digests.
    List(&'static str),
    /// What git calls the file, in the commit that the URL names.
    GitBlob(&'static str),
    /// The maker publishes nothing that is understood here.
    Nothing,
}

const GO: &[(&str, &str)] = &[("x86_64", "amd64"), ("aarch64", "arm64")];

pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "alpine",
        versions: &["3.20.3"],
        machines: &[("x86_64", "x86_64"), ("aarch64", "aarch64")],
        url: "https://dl-cdn.alpinelinux.org/alpine/v{series}/releases/{arch}/\
            alpine-minirootfs-{version}-{arch}.tar.gz",
        proof: Proof::List(
            "https://dl-cdn.alpinelinux.org/alpine/v{series}/releases/{arch}/\
            alpine-minirootfs-{version}-{arch}.tar.gz.sha256",
        ),
        says: "a list of one SHA-256 beside it; a signature (.asc)",
    },
    Entry {
        name: "arch",
        versions: &["latest"],
        machines: &[("x86_64", "x86_64")],
        url: "https://geo.mirror.pkgbuild.com/iso/{version}/archlinux-bootstrap-{arch}.tar.zst",
        proof: Proof::List("https://geo.mirror.pkgbuild.com/iso/{version}/sha256sums.txt"),
        says: "sha256sums.txt; a signature (.sig); the tree is in a folder root.x86_64",
    },
    Entry {
        name: "busybox",
        versions: &["latest"],
        machines: &[("x86_64", "amd64"), ("aarch64", "arm64v8")],
        url: "https://raw.githubusercontent.com/docker-library/busybox/dist-{arch}/{version}/musl/\
            {arch}/rootfs.tar.gz",
        proof: Proof::Nothing,
        says: "the digest of the layer in index.json beside it, an OCI image",
    },
    Entry {
        name: "centos7",
        versions: &["7.8.2003"],
        machines: &[("x86_64", "x86_64")],
        url: "https://raw.githubusercontent.com/CentOS/sig-cloud-instance-images/\
            216a920c467977bbd0f456d3bc381100a88b3768/docker/centos-7.8.2003-x86_64-docker.tar.xz",
        proof: Proof::GitBlob("35654e74b9990a2b7116f9473c09fe7dbfdc7515"),
        says: "the blob's id in git, which is SHA-1; a signature (.asc)",
    },
    Entry {
        name: "debian",
        versions: &["bookworm", "trixie"],
        machines: &[("x86_64", "amd64"), ("aarch64", "arm64v8")],
        url: "https://raw.githubusercontent.com/debuerreotype/docker-debian-artifacts/dist-{arch}/\
            {version}/slim/oci/blobs/rootfs.tar.gz",
        proof: Proof::Nothing,
        says: "the digest of the layer in ../index.json, an OCI image",
    },
    Entry {
        name: "ubuntu",
        versions: &["24.04.4"],
        machines: GO,
        url: "https://cdimage.ubuntu.com/ubuntu-base/releases/{series}/release/\
            ubuntu-base-{version}-base-{arch}.tar.gz",
        proof: Proof::List(
            "https://cdimage.ubuntu.com/ubuntu-base/releases/{series}/release/SHA256SUMS",
        ),
        says: "SHA256SUMS; its signature (SHA256SUMS.gpg)",
    },
    Entry {
        name: "void",
        versions: &["20240314"],
        machines: &[("x86_64", "x86_64"), ("aarch64", "aarch64")],
        url: "https://repo-default.voidlinux.org/live/{version}/void-{arch}-ROOTFS-{version}.tar.xz",
        proof: Proof::List("https://repo-default.voidlinux.org/live/{version}/sha256sum.txt"),
        says: "sha256sum.txt as BSD writes it; a signature by signify",
    },
];

/// What a source means, if it names an entry: `alpine`, `alpine:3.20`. A file of that name is
/// `./alpine`.
pub fn find(text: &str) -> Option<(&'static Entry, Option<&str>)> {
    let (name, version) = match text.split_once(':') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    ENTRIES.iter().find(|entry| entry.name == name).map(|entry| (entry, version))
}

/// The table, for people and for the shell.
pub fn table() -> String {
    let row = |entry: &Entry| {
        let versions = entry.versions.join(",");
        let checked = match entry.proof {
            Proof::Nothing => "unverified",
            Proof::List(_) | Proof::GitBlob(_) => "verified",
        };
        format!("{}\t{versions}\t{checked}\t{}\t{}\n", entry.name, entry.url, entry.says)
    };
    ENTRIES.iter().map(row).collect()
}

impl Entry {
    /// Where it is for this machine, and what it is compared with.
    pub fn resolve(
        &self,
        version: Option<&str>,
        machine: &str,
    ) -> Result<(Source, Wanted), Failure> {
        let failed = |why: String| {
            Failure::usage(format!("find {:?} in the catalogue: {why}", self.name))
                .hint("fetch-rootfs --list shows what there is; any other archive has a URL")
        };
        let version = self.version(version).map_err(failed)?;
        let known = self.machines.iter().find(|(ours, _)| *ours == machine);
        let Some((_, arch)) = known else {
            return Err(failed(format!("there is none for {machine}")));
        };
        let fill = |pattern: &str| {
            let series: Vec<&str> = version.split('.').take(2).collect();
            pattern
                .replace("{version}", &version)
                .replace("{series}", &series.join("."))
                .replace("{arch}", arch)
        };
        let url = fill(self.url);
        let name = url.rsplit_once('/').map(|(_, name)| name.to_owned()).unwrap_or_default();
        let mut wanted = Wanted::default();
        match self.proof {
            Proof::List(list) => wanted.list = Some((Source::Url(fill(list)), name)),
            Proof::GitBlob(id) => wanted.digests.push(Digest::parse(Kind::GitBlob, id)?),
            Proof::Nothing => {}
        }
        Ok((Source::Url(url), wanted))
    }

    /// `3.20` is the newest 3.20.N that is known here. What is not known is taken by its word
    /// where the URL depends on it.
    fn version(&self, asked: Option<&str>) -> Result<String, String> {
        let Some(asked) = asked else { return Ok(self.versions[0].to_owned()) };
        let word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if asked.is_empty() || !asked.chars().all(word) || asked.contains("..") {
            return Err(format!("{asked:?} is no version"));
        }
        let starts = |known: &&&str| {
            known.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        match self.versions.iter().find(starts) {
            Some(known) => Ok((*known).to_owned()),
            None if !self.url.contains("{version}") => Err(format!("there is no version {asked}")),
            None => Ok(asked.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str, machine: &str) -> Result<String, String> {
        let (entry, version) = find(text).ok_or("no entry")?;
        match entry.resolve(version, machine).map_err(|failure| failure.lines("t"))? {
            (Source::Url(url), _) => Ok(url),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn every_entry_is_well_formed() {
        let mut names: Vec<&str> = ENTRIES.iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ENTRIES.len(), "each name once");
        for entry in ENTRIES {
            assert!(
                entry.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            );
            assert!(!entry.says.is_empty() && !entry.versions.is_empty(), "{}", entry.name);
            for version in entry.versions {
                for (machine, _) in entry.machines {
                    let (source, wanted) =
                        entry.resolve(Some(version), machine).expect("a version for a machine");
                    let list = wanted.list.map(|(list, name)| {
                        assert!(!name.is_empty());
                        list
                    });
                    for source in [Some(source), list].into_iter().flatten() {
                        let Source::Url(url) = source else { panic!("{source:?}") };
                        let parsed: ureq::http::Uri = url.parse().expect("a URL");
                        assert_eq!(parsed.scheme_str(), Some("https"));
                        assert!(!url.contains(['{', '}', ' ']) && parsed.path().len() > 1, "{url}");
                    }
                }
            }
        }
        assert_eq!(table().lines().count(), ENTRIES.len());
        assert!(table().lines().all(|line| line.split('\t').count() == 5));
    }

    #[test]
    fn a_version_may_be_whole_or_its_start() {
        let three = url("alpine", "x86_64").expect("an entry");
        assert!(three.ends_with("/v3.20/releases/x86_64/alpine-minirootfs-3.20.3-x86_64.tar.gz"));
        for text in ["alpine:3.20", "alpine:3", "alpine:3.20.3"] {
            assert_eq!(url(text, "x86_64").as_ref(), Ok(&three), "{text}");
        }
        assert!(
            url("alpine:3.21.2", "aarch64").expect("an entry").contains("v3.21/releases/aarch64")
        );
        for (text, why) in [
            ("alpine:", "is no version"),
            ("alpine:../x", "is no version"),
            ("centos7:6", "no version 6"),
            ("nothing", "no entry"),
            ("x/alpine", "no entry"),
        ] {
            assert!(url(text, "x86_64").expect_err(text).contains(why), "{text}");
        }
        assert!(url("arch", "riscv64").expect_err("another machine").contains("riscv64"));
    }
}

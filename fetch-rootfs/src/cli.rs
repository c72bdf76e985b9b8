//! The command line: what is asked for, before anything of the system is looked at.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use common::{Failure, Narration, Tried, shell, size};
use nix::unistd::geteuid;

use crate::names::{Names, Pattern};
use crate::wanted::Wanted;
use crate::{catalogue, credentials, location, transfer, wanted};

use crate::oci::{Choice, platform::Platform, reference::Reference};

/// Get a root file system, verify it, extract it
///
/// SOURCE is a name of the catalogue (--list), a URL (http, https), a file, - for standard input,
/// or host: a root file system made of this machine's own programs and what they need, or
/// host:PROG,PROG for programs of your choice. An archive is a tar archive or, as the kernel's
/// initramfs, a cpio archive, plain or compressed by gzip, xz, zstd, bzip2 or lz4, told by its
/// content.
///
/// It may be an image, too, told by its content: an OCI layout, as a folder or an archive, or what
/// docker save and podman save write. Its layers are applied in order, each verified. layers:DIR
/// applies the archives in a folder, in the order of their names. docker://NAME:TAG and
/// docker://HOST/NAME@DIGEST, or oci:// instead, are images in a registry.
///
/// DIR appears when all of it is there and verified, and not before; it must not exist, or be
/// empty. Its path goes to standard output. As root, owners, modes, device nodes and extended
/// attributes are kept; otherwise all files are yours, setuid and setgid bits are dropped, and
/// device nodes, which only root can make, are left out and listed at the end.
#[derive(Debug, Default, Parser)]
#[command(
    name = "fetch-rootfs",
    version,
    after_help = "Exit status: 0 done, 1 failed, 2 wrong \
    usage, 128+N ended by signal N."
)]
pub struct Cli {
    #[command(flatten)]
    pub narration: Narration,
    #[command(flatten)]
    pub wanted: wanted::Options,
    #[command(flatten)]
    pub transfer: transfer::Options,
    /// Leave device nodes out, and say nothing of them
    #[arg(long)]
    pub skip_devices: bool,
    /// Whose the files are: me; keep, as the archive has it, which only root can do; or map, as a
    /// user namespace sees it, where 0 is you and 1 and up are your subordinate ids (subuid(5)).
    /// Root keeps them unless told otherwise, others are me
    #[arg(long, value_name = "me|keep|map", hide_possible_values = true)]
    pub owner: Option<Owner>,
    /// Leave the first N parts of each name away, and out what has no more
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub strip_components: usize,
    /// Leave out what matches, and what is in it: *, ? and [a-z] match slashes, too; from the
    /// beginning of any part of a name, with a slash in front only from the top
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Print the names in the archive, each on a line, and extract nothing; of an image, the names of
    /// the tree that its layers come to, in order. With --json, an object for each: what it is, mode,
    /// owner, size, time. Where something is to be verified, nothing is printed before it is
    #[arg(long, conflicts_with = "dir")]
    pub list_entries: bool,
    /// Refuse an archive whose files are larger together
    #[arg(long, value_name = "SIZE", default_value = "16G")]
    pub max_size: String,
    /// Refuse an archive with more entries
    #[arg(long, value_name = "N", default_value_t = 2_000_000)]
    pub max_entries: u64,
    /// Refuse a name of more parts
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub max_depth: usize,
    /// Refuse an archive that becomes so many times as large (from 64 MiB on)
    #[arg(long, value_name = "N", default_value_t = 250)]
    pub max_ratio: u64,
    /// No progress bar on a terminal
    #[arg(short, long)]
    pub quiet: bool,
    /// Print an object of JSON instead of the path: what was fetched, and what came of it
    #[arg(long)]
    pub json: bool,
    /// Of an image for several kinds of machine, the one for this
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Of a file with several images, the one of this name
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
    /// Speak to a registry by http, though it is not on this machine
    #[arg(long)]
    pub plain_http: bool,
    /// Print the catalogue: name, versions, whether it is verified unasked, URL, and how its maker
    /// says what it must be
    #[arg(long, exclusive = true)]
    pub list: bool,
    /// URL, file, -, image, docker://NAME, layers:DIR, host, host:PROG,PROG, or NAME[:VERSION] of
    /// the catalogue
    #[arg(required_unless_present = "list")]
    pub source: Option<String>,
    /// The directory to make
    #[arg(required_unless_present_any = ["list", "list_entries"])]
    pub dir: Option<PathBuf>,
}

/// Whose the files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Owner {
    Me,
    Keep,
    Map,
}

/// Where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Url(String),
    File(PathBuf),
    Stdin,
    Host(Vec<String>),
    /// A file of the cache, which has this SHA-256.
    Cached {
        file: PathBuf,
        sha256: [u8; 32],
    },
    Layers(PathBuf),
    Registry(Reference),
}

/// What an archive may be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub skip_devices: bool,
    pub max_size: u64,
    pub max_entries: u64,
    pub max_depth: usize,
    pub max_ratio: u64,
    pub owner: Owner,
    pub names: Names,
    pub quiet: bool,
    pub choice: Choice,
    pub plain_http: bool,
}

impl Source {
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let programs = text.strip_prefix("host:");
        let scheme =
            text.split_once("://").map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
        match (text, scheme.as_ref().map(|(scheme, rest)| (scheme.as_str(), *rest)), programs) {
            ("", ..) => Err(Failure::usage("read the source \"\": it is empty")
                .hint("is a shell variable empty?")),
            ("-", ..) => Ok(Source::Stdin),
            ("host", ..) => Ok(Source::Host(Vec::new())),
            (_, Some((scheme @ ("http" | "https"), rest)), _) => url(&format!("{scheme}://{rest}")),
            (_, Some(("docker" | "oci", name)), _) => Reference::parse(name).map(Source::Registry),
            (_, Some(("file", path)), _) => {
                Err(Failure::usage(format!("read the source {text:?}: file is not known"))
                    .hint(format!("a file on this machine is its path: {}", shell::word(path))))
            }
            (_, Some((scheme, _)), _) => {
                let text = credentials::split_url(text).0;
                Err(Failure::usage(format!("read the source {text:?}: {scheme} is not known"))
                    .hint("a URL starts with https:// or http://, an image with docker://"))
            }
            (.., Some(programs)) => {
                let programs: Vec<String> = programs
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect();
                match programs.is_empty() {
                    true => Err(Failure::usage("read the source \"host:\": it names no program")
                        .hint("host alone takes what a shell needs; or host:sh,ls")),
                    false => Ok(Source::Host(programs)),
                }
            }
            _ => match text.strip_prefix("layers:") {
                Some("") => Err(Failure::usage("read the source \"layers:\": it names no folder")),
                Some(folder) => Ok(Source::Layers(folder.into())),
                None => Ok(Source::File(text.into())),
            },
        }
    }
}

fn url(text: &str) -> Result<Source, Failure> {
    let shown = credentials::split_url(text).0;
    let fail = |why| Failure::usage(format!("read the source {shown:?}: {why}"));
    let host = shown.split_once("://").map_or("", |(_, rest)| rest);
    if host.is_empty() || host.starts_with([':', '/', '?', '#']) {
        return Err(fail("it names no host").hint("a URL is as https://HOST/PATH"));
    }
    match location::has_good_port(text) {
        true => Ok(Source::Url(text.to_owned())),
        false => Err(fail("its port is none")
            .hint("a port is a number, at most 65535: https://HOST:PORT/PATH")),
    }
}

impl Cli {
    /// The source, and what it is compared with; a name of the catalogue brings both.
    pub fn request(&self) -> Result<(Source, Wanted), Failure> {
        let text = self.source.as_deref().unwrap_or_default();
        let Some((entry, version)) = catalogue::find(text) else {
            let source = Source::parse(text)?;
            let wanted = self.wanted.wanted(&source)?;
            return Ok((source, wanted));
        };
        let machine = nix::sys::utsname::uname().tried(|| "ask the kernel for its machine")?;
        let machine = machine.machine().to_string_lossy().into_owned();
        let (source, known) = entry.resolve(version, &machine)?;
        let wanted = self.wanted.wanted(&source)?;
        Ok((source, wanted.or(known)))
    }

    pub fn rules(&self) -> Result<Rules, Failure> {
        Ok(Rules {
            skip_devices: self.skip_devices,
            max_size: size::parse(&self.max_size)?,
            max_entries: self.max_entries,
            max_depth: self.max_depth,
            max_ratio: self.max_ratio,
            owner: self.owner.unwrap_or(match geteuid().is_root() {
                true => Owner::Keep,
                false => Owner::Me,
            }),
            names: Names {
                strip: self.strip_components,
                exclude: self.exclude.iter().map(|text| Pattern::new(text)).collect(),
            },
            quiet: self.quiet,
            choice: Choice {
                platform: self.platform.as_deref().map(Platform::parse).transpose()?,
                image: self.image.clone(),
            },
            plain_http: self.plain_http,
        })
    }
}

/// The digits of a digest.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Result<Source, String> {
        let cli = Cli { source: Some(text.into()), ..Cli::default() };
        cli.request().map(|(source, _)| source).map_err(|failure| failure.lines("fetch-rootfs"))
    }

    #[test]
    fn every_source() {
        assert_eq!(source("-"), Ok(Source::Stdin));
        assert_eq!(source("host"), Ok(Source::Host(vec![])));
        assert_eq!(source("host:sh,ls"), Ok(Source::Host(vec!["sh".into(), "ls".into()])));
        assert_eq!(source("https://x/y"), Ok(Source::Url("https://x/y".into())));
        assert_eq!(source("a/b:c.tar"), Ok(Source::File("a/b:c.tar".into())));
        assert_eq!(source("./alpine"), Ok(Source::File("./alpine".into())));
        assert!(matches!(source("centos7:6"), Err(why) if why.contains("--list")));
        assert_eq!(source("layers:a/b"), Ok(Source::Layers("a/b".into())));
        for text in
            ["", "ftp://x", "host:", "host:,", "https://", "layers:", "docker://", "oci://A"]
        {
            assert!(source(text).is_err(), "{text:?}");
        }
        assert_eq!(source("HTTPS://H/Y"), Ok(Source::Url("https://H/Y".into())), "RFC 3986, 3.1");
        assert!(matches!(source("Docker://alpine"), Ok(Source::Registry(_))));
        for text in ["http://", "https:///x", "http://:80/", "http://me:word@/x", "HTTP://?x"] {
            let why = source(text).expect_err(text);
            assert!(why.contains("names no host") && !why.contains("word"), "{why}");
        }
    }
}

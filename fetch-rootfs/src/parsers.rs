//! The parsers that are written by hand, from a text to what was read of it: what the fuzzers try,
//! who see nothing else of this crate. A refusal is as it is printed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use common::Failure;
use ureq::http::Uri;

use crate::cli::{Source, hex};
use crate::credentials::{self, Header};
use crate::download::{self, Version};
use crate::host::{cache as libraries, loader, programs};
use crate::names::Pattern;
use crate::oci::challenge::{self, Challenge};
use crate::oci::digest::Digest;
use crate::oci::files::Files;
use crate::oci::manifest::{Descriptor, Documents};
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::oci::whiteout::{self, Mark};
use crate::oci::{Blob, Choice, auth, client, layout, manifest, save, url};
use crate::tar::{libarchive, pax};
use crate::{acl, cache, catalogue, checksum, http, location, patience, proxy, signature};

/// As it is printed.
fn said(failure: impl Into<Failure>) -> String {
    failure.into().lines("fetch-rootfs")
}

// What users and makers write.

/// The command line's first word.
pub fn source(text: &str) -> Result<(), String> {
    Source::parse(text).map(drop).map_err(said)
}

/// A name of the catalogue: the URL.
pub fn version(text: &str) -> Option<Result<String, String>> {
    let (entry, version) = catalogue::find(text)?;
    Some(match entry.resolve(version, "x86_64") {
        Ok((Source::Url(url), _)) => Ok(url),
        Ok((source, _)) => Err(format!("{source:?}")),
        Err(failure) => Err(said(failure)),
    })
}

/// An image's name: printed, and the host that answers for it with its port.
pub fn reference(text: &str) -> Result<(String, String), String> {
    let reference = Reference::parse(text).map_err(said)?;
    Ok((reference.to_string(), reference.server().to_owned()))
}

/// A platform, printed.
pub fn platform(text: &str) -> Result<String, String> {
    Platform::parse(text).map(|platform| platform.to_string()).map_err(said)
}

/// An image's digest, printed.
pub fn digest(text: &str) -> Option<String> {
    Digest::parse(text).map(|digest| digest.to_string())
}

/// A URL without the user in it, and the header that is sent instead.
pub fn url_and_user(text: &str) -> (String, Option<String>) {
    let (url, header) = credentials::split_url(text);
    (url, header.map(|header| header.value))
}

/// A header's name and value.
pub fn header(text: &str) -> Result<(String, String), String> {
    Header::parse(text).map(|header| (header.name, header.value)).map_err(said)
}

/// User and password for a host in a netrc(5).
pub fn netrc(text: &str, host: &str) -> Option<(String, String)> {
    credentials::look_up(text, host)
}

/// The proxy's host for a URL, where every variable names this proxy and these exceptions.
pub fn proxy(url: &str, proxy: &str, exceptions: &str) -> Result<Option<String>, String> {
    let set = |name: &str| {
        Some(if name.eq_ignore_ascii_case("no_proxy") { exceptions } else { proxy }.to_owned())
    };
    let chosen = proxy::choose(url, set).map_err(said)?;
    Ok(chosen.map(|proxy| proxy.host().to_owned()))
}

/// A list's digests for a name: what kind, and its digits.
pub fn checksums(list: &str, name: &str) -> Result<Vec<(String, String)>, String> {
    let found = checksum::listed("SUMS", list.as_bytes(), name).map_err(said)?;
    Ok(found.iter().map(|one| (one.kind.to_string(), hex(&one.bytes))).collect())
}

/// What containers-auth.json(5) has for an image.
pub fn auth(file: &str, image: &str) -> Result<Option<String>, String> {
    let reference = Reference::parse(image).map_err(said)?;
    match auth::find_in(file.as_bytes(), Path::new("auth.json"), &reference).map_err(said)? {
        auth::Credentials::Basic(auth) => Ok(Some(auth)),
        _ => Ok(None),
    }
}

/// Whether `--exclude` leaves a name out.
pub fn excludes(pattern: &str, name: &str) -> bool {
    Pattern::new(pattern).matches(name.as_bytes())
}

/// The kernel's form of an access control list.
pub fn acl(text: &str) -> Option<Vec<u8>> {
    acl::attribute(text.as_bytes()).ok()
}

/// The records of an extended header: the attributes' names.
pub fn pax(data: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let names = |pax: pax::Pax| pax.xattrs.into_iter().map(|(name, _)| name).collect();
    pax::parse(data).map(names).map_err(said)
}

/// libarchive's base64.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    libarchive::value(text.as_bytes())
}

/// What a layer's entry takes away: `.` for all of its folder.
pub fn whiteout(path: &str) -> Option<PathBuf> {
    match whiteout::mark(Path::new(path)) {
        Ok(Some(Mark::Gone(name))) => Some(name.into()),
        Ok(Some(Mark::Opaque)) => Some(".".into()),
        Ok(Some(Mark::Aufs) | None) | Err(_) => None,
    }
}

// What servers and registries say, and gpgv.

/// The headers of a 401: nothing for a password, or the realm, service and scope of a token.
pub fn challenge(headers: &str) -> Option<Vec<String>> {
    challenge::parse(headers.lines()).map(|challenge| match challenge {
        Challenge::Bearer { realm, service, scope } => {
            [Some(realm), service, scope].into_iter().flatten().collect()
        }
        Challenge::Basic => Vec::new(),
    })
}

/// Where a token is asked for, if it may be.
pub fn token_url(realm: &str, base: &str, scope: &str) -> Option<String> {
    let query = [("scope", scope)].into_iter();
    url::may_ask(realm, base).then(|| url::with_query(realm, query))
}

/// Where a redirect leads.
pub fn redirected(from: &str, location: &str) -> Result<String, String> {
    location::redirected(from, Some(location)).map_err(said)
}

/// Whether what is meant for the one is sent to the other.
pub fn same_server(one: &str, other: &str) -> bool {
    location::same_server(one, other)
}

/// The scheme and the host that a URL leads to.
pub fn server(url: &str) -> Option<(String, String)> {
    let scheme = url.parse::<Uri>().ok()?.scheme_str()?.to_owned();
    Some((scheme, http::host(url)?))
}

/// `Content-Range`: the start, and the whole length if it is told.
pub fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    download::content_range(text)
}

/// `Retry-After`, in seconds; of a date, since 1970.
pub fn retry_after(text: &str) -> Option<u64> {
    patience::wait(text, SystemTime::UNIX_EPOCH).map(|wait| wait.as_secs())
}

/// A note of the cache about a URL, and what is written for what was read of it.
pub fn note(text: &str, url: &str) -> Option<String> {
    cache::Known::read(text).map(|known| known.text(url))
}

/// Writes a note of what a server calls a version, and reads it.
pub fn noted(url: &str, etag: &str, modified: &str) -> Option<(Option<String>, Option<String>)> {
    let version = Version { etag: Some(etag.into()), modified: Some(modified.into()) };
    let known = cache::Known { version, sha256: [7; 32] };
    let again = cache::Known::read(&known.text(url)).filter(|again| again.sha256 == [7; 32])?;
    Some((again.version.etag, again.version.modified))
}

/// A token, in a registry's answer.
pub fn token(answer: &str) -> Result<String, String> {
    client::token_in(answer.as_bytes(), "get a token").map_err(said)
}

/// A registry's reason for an answer.
pub fn reason(answer: &str) -> String {
    said(Failure::new(format!(
        "get it: the registry answers 404{}",
        client::told(answer.as_bytes())
    )))
}

/// What gpgv says of a signature.
pub fn is_good(status: &str) -> bool {
    signature::judge(status).is_ok()
}

/// An image, by documents that name each other: the last byte of a digest, a document's place.
/// The names and digests of its layers.
pub fn image(
    form: &str,
    documents: &[&str],
    wanted: Option<&str>,
) -> Result<Vec<(String, Option<String>)>, String> {
    let named = Named(documents);
    let choice = Choice { platform: None, image: wanted.map(str::to_owned) };
    let blobs = match form {
        "index" => {
            let top = manifest::parse(documents.first().unwrap_or(&"").as_bytes(), "the index");
            top.and_then(|top: manifest::Index| {
                manifest::choose(&named, top.manifests, &Platform::machine())
                    .map(|chosen| chosen.layers)
            })
        }
        "layout" => layout::layers(&named, &choice),
        _ => save::layers(&named, &choice),
    };
    let layer = |blob: Blob| (blob.name, blob.digest.map(|digest| digest.to_string()));
    blobs.map(|blobs| blobs.into_iter().map(layer).collect()).map_err(said)
}

struct Named<'a>(&'a [&'a str]);

impl Documents for Named<'_> {
    fn manifest(&self, of: &Descriptor) -> Result<Vec<u8>, Failure> {
        let place = usize::from_str_radix(&of.digest.hex()[62..], 16).unwrap_or_default();
        let found = self.0.get(place).ok_or_else(|| Failure::new("there is no such document"));
        found.map(|text| text.as_bytes().to_vec())
    }
    fn config(&self, of: &Descriptor) -> Result<Vec<u8>, Failure> {
        self.manifest(of)
    }
}

impl Files for Named<'_> {
    fn open(&self, name: &str) -> Result<Box<dyn Read + Send + '_>, Failure> {
        let place = usize::from(!matches!(name, "oci-layout" | "manifest.json"));
        Ok(Box::new(self.0.get(place).map_or(&b""[..], |text| text.as_bytes())))
    }
}

// What programs and their loaders are made of.

/// `/etc/ld.so.cache`: names, and where they are.
pub fn loader_cache(bytes: &[u8]) -> Vec<(PathBuf, Vec<PathBuf>)> {
    let known = libraries::parse(bytes).into_iter();
    known.map(|(name, paths)| (name.into(), paths)).collect()
}

/// A part of a RUNPATH, for what is in a folder.
pub fn search_path(entry: &[u8], origin: &Path) -> Option<PathBuf> {
    loader::expand(entry, origin)
}

/// What a script's first line names.
pub fn script(head: &[u8]) -> Option<(String, Option<String>)> {
    programs::first_line(head)
}

//! A registry on loopback that follows the distribution specification, and misbehaves as it is
//! told.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::image::{Image, digest};

/// `me:secret`, as a header has it.
pub const PASSWORD: &str = "bWU6c2VjcmV0";
const TOKEN: &str = "a-token";

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    /// Every blob, and manifest, has a byte changed.
    Changed,
    /// Blobs end in the middle: the first time, or each time.
    Cut {
        always: bool,
    },
    /// The same, and it knows no ranges.
    CutWithoutRanges,
    /// It never takes what it has asked for.
    NeverSatisfied,
    /// 429 for the first so many requests.
    TooMany(usize),
    /// 503 for the first so many requests, and not to come back before a date, which is past.
    Busy(usize),
    /// Blobs are elsewhere.
    Redirect(String),
    /// Blobs are elsewhere on the same server, which is told by a relative path.
    Moved,
    /// Tokens are elsewhere.
    Realm(String),
    /// A blob takes that long.
    Slow(Duration),
    /// These blobs take that long.
    SlowSome(Vec<(String, Duration)>),
    /// It does not tell a manifest's digest alone.
    NoHead,
    /// It calls every manifest plain text.
    Untyped,
    /// Manifests without end.
    Endless,
}

/// What it wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    Nothing,
    Token,
    TokenForPassword,
    /// A token for what is posted, which has to have this in it.
    TokenForToken(&'static str),
    Basic,
}

#[derive(Clone)]
pub struct Registry {
    pub address: String,
    image: Image,
    tags: Arc<Mutex<HashMap<String, String>>>,
    auth: Auth,
    fault: Fault,
    log: Arc<Mutex<Vec<String>>>,
}

struct Request {
    head: bool,
    path: String,
    headers: HashMap<String, String>,
}

impl Registry {
    /// Serves these blobs under any name; a tag is a digest.
    pub fn start(image: &Image, tags: &[(&str, &str)], auth: Auth, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (log, image) = (Arc::default(), image.clone());
        let registry = Self { address, image, tags: Arc::default(), auth, fault, log };
        for (tag, digest) in tags {
            registry.tag(tag, digest);
        }
        let server = registry.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                // A client that goes away is what some tests are about.
                thread::spawn(move || drop(server.answer(stream)));
            }
        });
        registry
    }

    pub fn name(&self, rest: &str) -> String {
        format!("docker://{}/{rest}", self.address)
    }

    /// Has a tag lead there from now on.
    pub fn tag(&self, tag: &str, digest: &str) {
        self.tags.lock().expect("nobody panics with it").insert(tag.into(), digest.into());
    }

    fn digest_of(&self, name: &str) -> String {
        let tags = self.tags.lock().expect("nobody panics with it");
        tags.get(name).map_or(name, String::as_str).to_owned()
    }

    /// What was asked for since this was last asked, without who asked.
    pub fn asked(&self) -> Vec<String> {
        let log = std::mem::take(&mut *self.log.lock().expect("nobody panics with it"));
        let word = |line: &String| line.split("  ").next().unwrap_or_default().to_owned();
        log.iter().map(word).collect()
    }

    /// The paths that were asked for, each with its Authorization and Range; HEAD before a path.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("nobody panics with it").clone()
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut input = BufReader::new(stream.try_clone()?);
        let request = read(&mut input)?;
        let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
        let (authorization, range) = (header("authorization"), header("range"));
        let count = {
            let mut log = self.log.lock().expect("nobody panics with it");
            let method = if request.head { "HEAD " } else { "" };
            log.push(format!("{method}{} {authorization} {range}", request.path));
            log.len()
        };
        if matches!(self.fault, Fault::TooMany(most) if count <= most) {
            return reply(&mut stream, "429 Too Many Requests", "Retry-After: 0\r\n", b"");
        }
        if matches!(self.fault, Fault::Busy(most) if count <= most) {
            let head = "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
            return reply(&mut stream, "503 Service Unavailable", head, b"");
        }
        if let Auth::TokenForToken(wanted) = self.auth
            && request.path == "/token"
        {
            let mut form = vec![0; header("content-length").parse().unwrap_or(0)];
            input.read_exact(&mut form)?;
            let form = String::from_utf8_lossy(&form).into_owned();
            let good = ["grant_type=refresh_token", "service=a%20shop", wanted]
                .iter()
                .all(|part| form.split('&').any(|found| found == *part));
            let body = format!("{{\"access_token\":\"{TOKEN}\"}}");
            let status = if good { "200 OK" } else { "401 Unauthorized" };
            return reply(&mut stream, status, "", if good { body.as_bytes() } else { b"" });
        }
        if let Some(query) = request.path.strip_prefix("/token?") {
            return self.token(&mut stream, query, &authorization);
        }
        if !self.allows(&authorization) && !request.path.starts_with("/elsewhere/") {
            let message = br#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}"#;
            return reply(&mut stream, "401 Unauthorized", &self.challenge(), message);
        }
        let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        match parts.as_slice() {
            [_, .., "manifests", name] if request.head => self.head(&mut stream, name),
            ["v2", ""] => reply(&mut stream, "200 OK", "", b"{}"),
            [_, .., "manifests", name] => self.manifest(&mut stream, name),
            [_, .., "blobs", name] => self.blob(&mut stream, &request.path, name, &range, count),
            _ => reply(&mut stream, "404 Not Found", "", b""),
        }
    }

    fn allows(&self, authorization: &str) -> bool {
        match self.auth {
            _ if self.fault == Fault::NeverSatisfied => false,
            Auth::Nothing => true,
            Auth::Token | Auth::TokenForPassword | Auth::TokenForToken(_) => {
                authorization == format!("Bearer {TOKEN}")
            }
            Auth::Basic => authorization == format!("Basic {PASSWORD}"),
        }
    }

    fn challenge(&self) -> String {
        let realm = match &self.fault {
            Fault::Realm(realm) => realm.clone(),
            _ => format!("http://{}/token", self.address),
        };
        match self.auth {
            Auth::Basic => "WWW-Authenticate: Basic realm=\"here\"\r\n".into(),
            _ => format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"a shop\"\r\n"),
        }
    }

    fn token(&self, stream: &mut TcpStream, query: &str, password: &str) -> std::io::Result<()> {
        let has = |wanted: &str| query.split('&').any(|part| part.starts_with(wanted));
        let service = has("service=a%20shop") || has("service=a+shop");
        let wanted = service && has("scope=repository%3A");
        let known = self.auth != Auth::TokenForPassword || password == format!("Basic {PASSWORD}");
        match (wanted, known) {
            (true, true) => {
                // By both names, as Docker's own does.
                let body = format!("{{\"token\":\"{TOKEN}\",\"access_token\":\"{TOKEN}\"}}");
                reply(stream, "200 OK", "", body.as_bytes())
            }
            (true, false) => reply(stream, "401 Unauthorized", "", b""),
            (false, _) => reply(stream, "400 Bad Request", "", b""),
        }
    }

    fn head(&self, stream: &mut TcpStream, name: &str) -> std::io::Result<()> {
        if self.fault == Fault::NoHead {
            return reply(stream, "405 Method Not Allowed", "", b"");
        }
        let digest = self.digest_of(name);
        reply(stream, "200 OK", &format!("Docker-Content-Digest: {digest}\r\n"), b"")
    }

    fn manifest(&self, stream: &mut TcpStream, name: &str) -> std::io::Result<()> {
        let digest = self.digest_of(name);
        let digest = digest.as_str();
        let Some(bytes) = self.image.blobs.get(digest) else {
            let message =
                br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            return reply(stream, "404 Not Found", "", message);
        };
        if self.fault == Fault::Endless {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&vec![b' '; 65536])?;
            }
        }
        // What a header says is the digest is no proof of it.
        let text = String::from_utf8_lossy(bytes);
        let kind = if text.contains("\"manifests\"") { "index" } else { "manifest" };
        let kind = match self.fault {
            Fault::Untyped => "text/plain".into(),
            _ => format!("application/vnd.oci.image.{kind}.v1+json"),
        };
        let head = format!("Content-Type: {kind}\r\nDocker-Content-Digest: {digest}\r\n");
        // By a tag, anything may come: there is nothing to hold it against.
        let bytes = if name == digest { self.changed(bytes) } else { bytes.clone() };
        reply(stream, "200 OK", &head, &bytes)
    }

    fn blob(
        &self,
        stream: &mut TcpStream,
        path: &str,
        name: &str,
        range: &str,
        count: usize,
    ) -> std::io::Result<()> {
        let Some(bytes) = self.image.blobs.get(name) else {
            return reply(stream, "404 Not Found", "", b"");
        };
        let small = bytes.starts_with(b"{");
        let bytes = if small { bytes.clone() } else { self.changed(bytes) };
        match &self.fault {
            Fault::Redirect(to) => {
                let head = format!("Location: http://{to}/elsewhere/blobs/{name}\r\n");
                return reply(stream, "307 Temporary Redirect", &head, b"");
            }
            Fault::Moved if !path.contains("/elsewhere/") => {
                let head = format!("Location: ../elsewhere/blobs/{name}\r\n");
                return reply(stream, "302 Found", &head, b"");
            }
            Fault::Slow(time) if !small => thread::sleep(*time),
            Fault::SlowSome(slow) => {
                let time = slow.iter().find(|(slow, _)| slow == name).map(|(_, time)| *time);
                thread::sleep(time.unwrap_or_default());
            }
            _ => {}
        }
        let ranges = self.fault != Fault::CutWithoutRanges;
        let from = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
        let from: usize = from.filter(|_| ranges).and_then(|from| from.parse().ok()).unwrap_or(0);
        let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
        let length = bytes.len();
        let head = if from > 0 {
            format!("Content-Range: bytes {from}-{}/{length}\r\n", length - 1)
        } else {
            String::new()
        };
        let again = self.log().iter().take(count - 1).any(|line| line.contains(name));
        let cut = match self.fault {
            Fault::Cut { always } => always || !again,
            Fault::CutWithoutRanges => !again,
            _ => false,
        };
        let rest = &bytes[from..];
        let sent = if cut && !small { rest.len() / 2 } else { rest.len() };
        let head = format!("HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\n", rest.len());
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
        stream.write_all(&rest[..sent])
    }

    fn changed(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        if self.fault == Fault::Changed {
            let last = bytes.len() - 1;
            bytes[last] ^= if bytes[0] == b'{' { b'}' ^ b' ' } else { 1 };
        }
        bytes
    }
}

fn read(input: impl BufRead) -> std::io::Result<Request> {
    let mut lines = input.lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let head = first.starts_with("HEAD ");
    let mut headers = HashMap::new();
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    Ok(Request { head, path, headers })
}

fn reply(stream: &mut TcpStream, status: &str, head: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\n{head}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}

/// A descriptor's digest.
pub fn digest_of(descriptor: &serde_json::Value) -> String {
    descriptor["digest"].as_str().map_or_else(|| digest(b""), str::to_owned)
}

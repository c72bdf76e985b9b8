//! A small HTTP server on loopback that also misbehaves, as it is told.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What it serves, what it was asked, and what it is told about some paths.
pub struct Server {
    pub address: String,
    state: Arc<State>,
}

struct State {
    body: Vec<u8>,
    /// A path and its faults, one for each request; after them it is as `/good`.
    faults: Mutex<HashMap<String, Vec<Fault>>>,
    requests: Mutex<Vec<Request>>,
}

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status line and these headers, and no body.
    Answer(&'static str),
    /// The connection is closed after so many bytes of the body.
    Drop(usize),
    /// The same, by a server that knows no ranges and tells no version.
    DropPlain(usize),
    /// The same, and the file is another one from the next request on.
    DropThenChange(usize),
    /// The rest that is asked for comes from another place.
    WrongRange,
    /// Of another length than it says.
    Longer(usize),
}

/// What was asked.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub path: String,
    headers: HashMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

impl Server {
    /// Serves `body` under these paths: `/good`, `/moved` (redirects to it), `/loop` (to itself),
    /// `/truncated` (closes early), `/stalls` (stops midway, and says nothing more), `/slow` (a
    /// little at a time), `/chunked`, `/chunked=N` (the first chunk of N bytes), `/error`; `/tagged…` with an `ETag`, in parts, and with the
    /// faults that are told; anything else is not found. It ends with the test.
    pub fn start(body: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let address = listener.local_addr().expect("it is bound").to_string();
        let state = Arc::new(State { body, faults: Mutex::default(), requests: Mutex::default() });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A client that goes away is what some tests are about.
                thread::spawn(move || drop(answer(stream, &state)));
            }
        });
        Self { address, state }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// The URL of a path that has these faults, one a request.
    pub fn faulty(&self, path: &str, faults: &[Fault]) -> String {
        let mut all = self.state.faults.lock().expect("no test panics with it");
        all.insert(format!("/{path}"), faults.to_vec());
        self.url(path)
    }

    /// What it was asked since it was last asked this.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.requests.lock().expect("no test panics with it"))
    }
}

fn read_request(stream: &TcpStream) -> std::io::Result<Request> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let line = lines.next().transpose()?.unwrap_or_default();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    Ok(Request { path, headers })
}

fn answer(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let request = read_request(&stream)?;
    let (path, body) = (request.path.clone(), &state.body);
    state.requests.lock().expect("no test panics with it").push(request.clone());
    if path.starts_with("/tagged") {
        return tagged(&mut stream, &request, state);
    }
    let half = body.len() / 2;
    let ok =
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let to = |path: &str| {
        format!(
            "HTTP/1.1 302 Found\r\nLocation: {path}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
    };
    match path.as_str() {
        "/good" => write(&mut stream, ok.as_bytes()).and_then(|()| write(&mut stream, body)),
        "/moved" => write(&mut stream, to("good").as_bytes()),
        "/loop" => write(&mut stream, to("/loop").as_bytes()),
        "/elsewhere" => write(&mut stream, to("file:///etc/passwd").as_bytes()),
        "/truncated" => {
            write(&mut stream, ok.as_bytes()).and_then(|()| write(&mut stream, &body[..half]))
        }
        "/stalls" => {
            write(&mut stream, ok.as_bytes())?;
            write(&mut stream, &body[..half])?;
            thread::sleep(Duration::from_secs(120));
            Ok(())
        }
        "/slow" => {
            write(&mut stream, ok.as_bytes())?;
            body.chunks(512).try_for_each(|piece| {
                thread::sleep(Duration::from_millis(20));
                write(&mut stream, piece)
            })
        }
        path if path.starts_with("/chunked") => {
            write(
                &mut stream,
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            )?;
            let first = path.split_once('=').and_then(|(_, size)| size.parse().ok()).unwrap_or(0);
            let (first, rest) = body.split_at(first);
            let first = Some(first).filter(|first| !first.is_empty());
            first.into_iter().chain(rest.chunks(1000)).try_for_each(|piece| {
                write(&mut stream, format!("{:x}\r\n", piece.len()).as_bytes())?;
                write(&mut stream, piece)?;
                write(&mut stream, b"\r\n")
            })?;
            write(&mut stream, b"0\r\n\r\n")
        }
        "/error" => write(
            &mut stream,
            b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        ),
        // `/to=URL` redirects there.
        path if path.starts_with("/to=") => write(&mut stream, to(&path[4..]).as_bytes()),
        _ => write(
            &mut stream,
            b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 4\r\n\r\nnone",
        ),
    }
}

/// As a good server does it, but for the fault that is next.
fn tagged(stream: &mut TcpStream, request: &Request, state: &State) -> std::io::Result<()> {
    let mut faults = state.faults.lock().expect("no test panics with it");
    let rest = faults.entry(request.path.clone()).or_default();
    let fault = (!rest.is_empty()).then(|| rest.remove(0));
    let changed = faults.contains_key(&format!("{} changed", request.path));
    if matches!(fault, Some(Fault::DropThenChange(_))) {
        faults.insert(format!("{} changed", request.path), Vec::new());
    }
    drop(faults);
    let mut body = state.body.clone();
    if changed {
        body = body.iter().map(|byte| byte ^ 1).collect();
    }
    let plain = matches!(fault, Some(Fault::DropPlain(_)));
    let tag = if changed { "\"two\"" } else { "\"one\"" };
    if let Some(Fault::Answer(head)) = fault {
        let end = "Connection: close\r\nContent-Length: 0\r\n\r\n";
        return write(stream, format!("HTTP/1.1 {head}\r\n{end}").as_bytes());
    }
    if request.header("if-none-match") == Some(tag) {
        return write(stream, b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n");
    }
    let from = range(request, tag).filter(|_| !plain);
    let (status, start) = from.map_or(("200 OK", 0), |from| ("206 Partial Content", from));
    let said = if matches!(fault, Some(Fault::WrongRange)) { start + 1 } else { start };
    let version = match request.path.contains("untagged") {
        true => String::new(),
        false => format!("ETag: {tag}\r\n"),
    };
    let place = match from {
        Some(_) => format!("Content-Range: bytes {said}-{}/{}\r\n", body.len() - 1, body.len()),
        None => String::new(),
    };
    let (extra, limit) = match fault {
        Some(Fault::Longer(extra)) => (extra, usize::MAX),
        Some(Fault::Drop(limit) | Fault::DropPlain(limit) | Fault::DropThenChange(limit)) => {
            (0, limit)
        }
        _ => (0, usize::MAX),
    };
    let part = &body[start.min(body.len())..];
    let length = part.len() + extra;
    let head = format!("HTTP/1.1 {status}\r\n{version}{place}Connection: close\r\n");
    write(stream, format!("{head}Content-Length: {length}\r\n\r\n").as_bytes())?;
    write(stream, &part[..part.len().min(limit)])
}

/// Where the rest begins that is asked for, if it is of the version that there is.
fn range(request: &Request, tag: &str) -> Option<usize> {
    let start = request.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?;
    start.parse().ok().filter(|_| request.header("if-range").is_none_or(|wanted| wanted == tag))
}

fn write(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

//! A small HTTP server on loopback that also misbehaves, as it is told.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// What it does with a request, by its path.
#[derive(Clone)]
pub struct Server {
    pub address: String,
}

impl Server {
    /// Serves `body` under these paths: `/good`, `/moved` (redirects to it), `/loop` (to itself),
    /// `/truncated` (closes early), `/stalls` (stops midway, and says nothing more), `/slow` (a
    /// little at a time), `/chunked`, `/error`; anything else is not found. It ends with the test.
    pub fn start(body: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let address = listener.local_addr().expect("it is bound").to_string();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let body = body.clone();
                // A client that goes away is what some tests are about.
                thread::spawn(move || drop(answer(stream, &body)));
            }
        });
        Self { address }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

fn answer(mut stream: TcpStream, body: &[u8]) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
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
        "/chunked" => {
            write(
                &mut stream,
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            )?;
            body.chunks(1000).try_for_each(|piece| {
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
        _ => write(
            &mut stream,
            b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 4\r\n\r\nnone",
        ),
    }
}

fn write(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

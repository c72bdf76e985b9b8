//! TLS with a CA of its own in front of a server on loopback, and a proxy that leads to one.

use std::io::{BufRead, BufReader, Write, copy};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Speaks TLS as `localhost` and `registry.test`, and hands on what is asked to a server that closes
/// its connections. Gives its port, of the kernel's choice; its CA is `ca.pem` in the folder.
pub fn start(folder: &Path, to: &str) -> u16 {
    let make = "cd \"$1\"; exec 2>/dev/null
        openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=ours -keyout ca.key -out ca.pem -days 2
        openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out req.pem
        printf '%s\n' subjectAltName=DNS:localhost,DNS:registry.test >ext
        echo basicConstraints=CA:FALSE >>ext
        openssl x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
            -extfile ext -out cert.pem";
    support::run(support::sh(make).arg(folder)).silent();
    let cert = CertificateDer::from_pem_file(folder.join("cert.pem")).expect("made by openssl");
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).expect("made by openssl");
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert], key);
    let config = Arc::new(config.expect("they belong together"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
    let port = listener.local_addr().expect("it is bound").port();
    let to = to.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, to) = (Arc::clone(&config), to.clone());
            // A client that does not trust it goes away.
            thread::spawn(move || drop(hand_on(stream, config, &to)));
        }
    });
    port
}

fn hand_on(stream: TcpStream, config: Arc<ServerConfig>, to: &str) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).expect("the configuration is good");
    let mut client = BufReader::new(StreamOwned::new(connection, stream));
    let mut server = TcpStream::connect(to)?;
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        client.read_line(&mut line)?;
        server.write_all(line.as_bytes())?;
    }
    let mut client = client.into_inner();
    copy(&mut server, &mut client)?;
    client.conn.send_close_notify();
    client.flush()
}

/// A proxy on loopback: wherever it is asked to connect to, it leads to one place.
pub struct Proxy {
    pub address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let address = listener.local_addr().expect("it is bound").to_string();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (log, to) = (Arc::clone(&asked), to.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, to) = (Arc::clone(&log), to.clone());
                thread::spawn(move || drop(tunnel(stream, &log, &to)));
            }
        });
        Self { address, asked }
    }

    /// Where it was asked to connect to since it was last asked this.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("nobody panics with it"))
    }
}

fn tunnel(mut client: TcpStream, log: &Mutex<Vec<String>>, to: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    log.lock().expect("nobody panics with it").push(line.trim().to_owned());
    while line.trim() != "" {
        line.clear();
        lines.read_line(&mut line)?;
    }
    let mut server = TcpStream::connect(to)?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let (mut there, mut back) = (server.try_clone()?, client.try_clone()?);
    let up = thread::spawn(move || {
        // What the client said early is with its first lines.
        let _ = copy(&mut lines, &mut there);
        let _ = there.shutdown(Shutdown::Write);
    });
    let _ = copy(&mut server, &mut back);
    let _ = back.shutdown(Shutdown::Both);
    up.join().expect("it does not panic");
    Ok(())
}

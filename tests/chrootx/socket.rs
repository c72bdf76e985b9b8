//! Connects to an abstract socket, and says whether it could.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

fn main() {
    let name = std::env::args().nth(1).expect("the name of a socket");
    let address = SocketAddr::from_abstract_name(name).expect("a short name");
    match UnixStream::connect_addr(&address) {
        Ok(_) => println!("connected"),
        Err(error) => println!("{error}"),
    }
}

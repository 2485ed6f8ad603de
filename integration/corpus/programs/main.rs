//! The first IPv4 address of localhost.
use std::net::ToSocketAddrs;

fn main() {
    let mut found = "localhost:0".to_socket_addrs().expect("localhost has an address");
    println!("rust {}", found.find(|one| one.is_ipv4()).expect("one of them is IPv4"));
}

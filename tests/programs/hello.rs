//! Rust's std: libc and libgcc_s, a thread, a TCP connection over loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen on loopback");
    let address = listener.local_addr().expect("an address");
    let client = std::thread::spawn(move || {
        let mut text = String::new();
        TcpStream::connect(address)
            .and_then(|mut stream| stream.read_to_string(&mut text))
            .expect("read over loopback");
        text
    });
    let (mut stream, _) = listener.accept().expect("accept");
    stream.write_all(b"hello from rust").expect("write over loopback");
    drop(stream);
    println!("{}", client.join().expect("the thread"));
}

//! A server with a file of access, for the tests of who may see what.

use std::io::{Read, Write};
use std::net::TcpStream;

use tempfile::NamedTempFile;

use super::{Client, PATIENCE, Server, pause};

pub const MARKET: &str = "synthetic:symbols=4,rate=2000,names=numbered";
/// Of one symbol; of all that there is, and of the server's own matters.
pub const ONE: &str = "token-of-one-symbol";
pub const ALL: &str = "token-of-everything";

pub fn hash(token: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn token(name: &str, token: &str, more: &str) -> String {
    format!("[[token]]\nname = \"{name}\"\nsha256 = \"{}\"\n{more}\n", hash(token))
}

pub fn one_and_all() -> String {
    token("one", ONE, "symbols = [\"sim:S0001-*\"]")
        + &token("all", ALL, "symbols = [\"*\"]\noperator = true")
}

/// A server with a file of access.
pub struct Kept {
    pub server: Server,
    pub file: NamedTempFile,
}

impl Kept {
    pub fn new(text: &str, more: &[&str]) -> Self {
        Self::new_in(&[], text, more)
    }

    /// The same in this environment.
    pub fn new_in(variables: &[(&str, &str)], text: &str, more: &[&str]) -> Self {
        let file = NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("writes");
        let path = file.path().to_str().expect("text");
        let args = [&["--access", path, "--reactors", "2", "--feed", MARKET], more].concat();
        let kept = Kept { server: Server::start_in(variables, &args), file };
        // All four have traded, quoted and have books.
        for symbol in 0..4 {
            let path = format!("/v1/ticker/sim:S{symbol:04}-USD");
            while kept.get(Some(ALL), &path).0 != 200 {
                pause();
            }
        }
        kept
    }

    /// Replaces the file in one step, as one should.
    pub fn rewrite(&self, text: &str) {
        let new = self.file.path().with_extension("new");
        std::fs::write(&new, text).expect("writes");
        std::fs::rename(&new, self.file.path()).expect("renames");
        self.server.signal("HUP");
    }

    pub fn get(&self, token: Option<&str>, path: &str) -> (u16, String) {
        let auth = token.map_or(String::new(), |t| format!("Authorization: Bearer {t}\r\n"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{auth}\r\n");
        let (status, _, body) = self.server.request(&request);
        (status, body)
    }

    /// The sum of a metric over its labels that contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.get(Some(ALL), "/metrics").1;
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines
            .map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("it"))
            .sum()
    }

    /// The head of the answer to an upgrade with these headers.
    pub fn upgrade(&self, path: &str, headers: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(self.server.address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{headers}\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("writes");
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
            head.push(byte[0]);
        }
        (stream, String::from_utf8(head).expect("text"))
    }

    pub fn client(&self, path: &str, token: &str) -> Client {
        let (stream, head) = self.upgrade(path, &format!("Authorization: Bearer {token}\r\n"));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Client::upgraded(stream)
    }
}

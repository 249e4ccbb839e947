//! Who publishes the keys of an issuer over HTTP, well or badly.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::common::tls::Pair;

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// What is answered.
#[derive(Clone)]
pub enum Answer {
    /// This, with a status.
    Text(u16, String),
    /// Nothing, for as long as the one who asks waits.
    Nothing,
    /// A body that is longer than anybody should read.
    Endless,
    /// The connection is closed at once.
    Gone,
}

pub struct Publisher {
    scheme: &'static str,
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
}

impl Publisher {
    pub fn new(answer: Answer) -> Self {
        Self::over("http", answer, |stream| Box::new(stream))
    }

    /// The same by TLS.
    pub fn secure(answer: Answer, pair: &Pair) -> Self {
        let key = PrivateKeyDer::from_pem_file(pair.key()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![pair.der().clone()], key)
            .expect("a certificate");
        let config = Arc::new(config);
        Self::over("https", answer, move |stream| {
            let connection = ServerConnection::new(config.clone()).expect("settings");
            Box::new(StreamOwned::new(connection, stream))
        })
    }

    fn over(
        scheme: &'static str,
        answer: Answer,
        open: impl Fn(TcpStream) -> Box<dyn Stream> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicUsize::new(0)));
        let shared = (answer.clone(), asked.clone());
        // It ends with the process.
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let answer = shared.0.lock().expect("no panic").clone();
                held.extend(serve(open(stream.expect("a connection")), &answer));
                shared.1.fetch_add(1, Ordering::SeqCst);
            }
        });
        Publisher { scheme, address, answer, asked }
    }

    pub fn url(&self) -> String {
        format!("{}://localhost:{}/jwks.json?set=1", self.scheme, self.address.port())
    }

    pub fn set(&self, answer: Answer) {
        *self.answer.lock().expect("no panic") = answer;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The connection, where it is to stay open.
fn serve(mut stream: Box<dyn Stream>, answer: &Answer) -> Option<Box<dyn Stream>> {
    if matches!(answer, Answer::Gone) {
        return None;
    }
    let mut lines = BufReader::new(&mut stream).lines();
    let first = lines.next()?.ok()?;
    assert_eq!(first, "GET /jwks.json?set=1 HTTP/1.1");
    while !lines.next()?.ok()?.is_empty() {}
    drop(lines);
    match answer {
        Answer::Text(status, text) => {
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", text.len());
            let _ = stream.write_all(format!("{head}{text}").as_bytes());
            None
        }
        Answer::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"keys\":[");
            while stream.write_all(&[b' '; 65_536]).is_ok() {}
            None
        }
        Answer::Nothing => Some(stream),
        Answer::Gone => None,
    }
}

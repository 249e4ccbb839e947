//! Asks the server which symbols it has (docs/PROTOCOL.md, list_symbols).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde::Deserialize;

use crate::RunError;
use crate::client::{Phase, Session, cut, upgrade_request};
use crate::frame::{self, Head};
use crate::measure::{Arrival, Group};
use crate::message::{Scanner, StampFormat, StampKey};
use crate::target::Target;

/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(10);
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    success: bool,
    #[serde(default)]
    result: Vec<Entry>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
    message: String,
}

#[derive(Deserialize)]
struct Entry {
    symbol: String,
}

/// All symbols, in the server's order.
pub(crate) fn ask(target: &Target) -> Result<Vec<String>, RunError> {
    let lost = |error| RunError::Connect(target.address, error);
    let mut stream = TcpStream::connect_timeout(&target.address, TIMEOUT).map_err(lost)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(lost)?;
    stream.write_all(upgrade_request(target).as_bytes()).map_err(lost)?;
    let mut bytes = Vec::new();
    upgrade(&mut stream, &mut bytes, target)?;
    let mut request = Vec::new();
    frame::write(frame::TEXT, br#"{"method":"list_symbols","req_id":1}"#, MASK, &mut request);
    stream.write_all(&request).map_err(lost)?;
    loop {
        while let Some((head, end)) = whole_frame(&bytes)? {
            let payload = &bytes[head.head_len..end];
            // Anything before the answer is a heartbeat or a ping.
            if head.opcode == frame::TEXT && memchr::memmem::find(payload, b"\"method\":").is_some()
            {
                return names(payload);
            }
            bytes.drain(..end);
        }
        more(&mut stream, &mut bytes, target)?;
    }
}

fn upgrade(stream: &mut TcpStream, bytes: &mut Vec<u8>, target: &Target) -> Result<(), RunError> {
    let scanner = Scanner::new(StampFormat::native(StampKey::None), false);
    let mut session = Session::new(None, MASK);
    while session.phase() == Phase::Upgrading {
        more(stream, bytes, target)?;
        let taken =
            session.receive(bytes, &scanner, &Arrival::unmeasured(0), &mut Group::default())?;
        bytes.drain(..taken);
    }
    Ok(())
}

fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>, target: &Target) -> Result<(), RunError> {
    let mut chunk = [0; 16 << 10];
    match stream.read(&mut chunk) {
        Ok(0) => Err(RunError::Symbols("the server closed the connection".into())),
        Ok(length) => {
            bytes.extend_from_slice(&chunk[..length]);
            Ok(())
        }
        Err(error) => Err(RunError::Connect(target.address, error)),
    }
}

fn whole_frame(bytes: &[u8]) -> Result<Option<(Head, usize)>, RunError> {
    let head = Head::read(bytes).map_err(crate::client::SessionError::from)?;
    Ok(head
        .map(|head| (head, head.head_len + head.payload_len))
        .filter(|(_, end)| bytes.len() >= *end))
}

fn names(payload: &[u8]) -> Result<Vec<String>, RunError> {
    match serde_json::from_slice::<Answer>(payload) {
        Ok(answer) if answer.success && !answer.result.is_empty() => {
            Ok(answer.result.into_iter().map(|entry| entry.symbol).collect())
        }
        Ok(answer) if answer.success => {
            Err(RunError::Symbols("the server has no symbols; name some with --symbols".into()))
        }
        Ok(Answer { error: Some(Refusal { code, .. }), .. }) if code == "unauthorized" => {
            Err(RunError::Symbols("the server wants a token: --token-file FILE".into()))
        }
        Ok(Answer { error: Some(Refusal { message, .. }), .. }) => Err(RunError::Symbols(message)),
        _ => Err(RunError::Symbols(format!("the answer is not understood: {}", cut(payload)))),
    }
}

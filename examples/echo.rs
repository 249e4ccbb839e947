//! An echo server of nothing but the session's reader and the frames of `wire`, to run Autobahn against:
//! `cargo run --release --example echo`, then `scripts/autobahn ws://ADDR/v1/echo` with the address it prints.

use std::ops::ControlFlow;

use bytes::Bytes;
use fastwebsockets::upgrade;
use http_body_util::Empty;
use hyper::body::Incoming as Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tickcast::session::reader::{Incoming, ReadLimits, Reader};
use tickcast::wire::frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Autobahn's largest messages have 16 MiB.
const LIMITS: ReadLimits = ReadLimits { max_message_bytes: 16 << 20 };

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            if let Err(error) = serve(stream).await {
                eprintln!("{error:#}");
            }
        });
    }
}

async fn serve(stream: TcpStream) -> anyhow::Result<()> {
    let service = service_fn(|mut request: Request<Body>| async move {
        let (response, upgraded) = upgrade::upgrade(&mut request)?;
        tokio::spawn(async move {
            let result = match upgraded.await {
                Ok(socket) => echo(socket.into_inner()).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = result {
                eprintln!("{error:#}");
            }
        });
        anyhow::Ok::<Response<Empty<Bytes>>>(response)
    });
    Ok(http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await?)
}

async fn echo(mut stream: TokioIo<Upgraded>) -> anyhow::Result<()> {
    let mut scratch = vec![0; 64 << 10];
    let mut out = Vec::new();
    let mut reader = Reader::new();
    while !reader.is_closed() {
        let len = stream.read(&mut scratch).await?;
        if len == 0 {
            return Ok(());
        }
        let read = reader.feed(&mut scratch[..len], &LIMITS, &mut |incoming| {
            answer(incoming, &mut out);
            ControlFlow::Continue(())
        });
        if let Err(violation) = read {
            frame::close(violation.code(), &violation.to_string(), &mut out);
        }
        stream.write_all(&out).await?;
        out.clear();
    }
    stream.shutdown().await?;
    // The client closes its side once it has read ours; dropping the socket over unread bytes would reset it instead.
    while stream.read(&mut scratch).await? > 0 {}
    Ok(())
}

fn answer(incoming: Incoming<'_>, out: &mut Vec<u8>) {
    match incoming {
        Incoming::Text(text) => frame::text(text, out),
        Incoming::Binary(bytes) => frame::binary(bytes, out),
        Incoming::Ping(payload) => frame::pong(payload, out),
        Incoming::Pong(_) => {}
        Incoming::Close { code: Some(code), reason } => frame::close(code, reason, out),
        Incoming::Close { code: None, .. } => frame::close_empty(out),
    }
}

//! The network's side of a [`LocalVenue`]: TLS, REST answers, WebSockets.

use super::*;

pub(super) async fn beat(state: Arc<Mutex<State>>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut state = state.lock();
        if let Some(text) = state.protocol.heartbeat() {
            for connection in state.connections.values() {
                let _ = connection.out.try_send(Out::Text(text.clone()));
            }
        }
    }
}

pub(super) async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    state: Arc<Mutex<State>>,
    open: Arc<AtomicBool>,
) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let Ok(socket) = socket.into_std() else { continue };
        let Ok(raw) = socket.try_clone().map(Arc::new) else { continue };
        let Ok(socket) = TcpStream::from_std(socket) else { continue };
        if !open.load(Ordering::SeqCst) {
            reset(&raw);
            continue;
        }
        let (acceptor, state) = (acceptor.clone(), state.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(socket).await else { return };
            let service = service_fn(move |request| answer(request, state.clone(), raw.clone()));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

/// The connection is to end with a reset, not with a goodbye.
fn reset(socket: &std::net::TcpStream) {
    let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

type Reply = Response<Full<Bytes>>;

async fn answer(
    mut request: Request<Incoming>,
    state: Arc<Mutex<State>>,
    raw: Arc<std::net::TcpStream>,
) -> Result<Reply, Infallible> {
    if upgrade::is_upgrade_request(&request) {
        let path = request.uri().path().to_owned();
        if state.lock().closed.contains(&path) {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(response);
        }
        let (response, socket) = upgrade::upgrade(&mut request).expect("an upgrade");
        tokio::spawn(async move {
            if let Ok(socket) = socket.await {
                serve(socket, path, state, &raw).await;
            }
        });
        return Ok(response.map(|_| Full::default()));
    }
    let path = request.uri().path_and_query().expect("a path").to_string();
    let (answer, delay) = {
        let mut state = state.lock();
        let state = &mut *state;
        state.asked.push((Instant::now(), path.clone()));
        if state.refusals > 0 {
            state.refusals -= 1;
            let body = r#"{"code":-1003,"msg":"Too many requests"}"#.to_owned();
            (Answer { status: 429, body, retry_after: Some(1) }, Duration::ZERO)
        } else if let Some((world, left)) = state.stale.as_mut().filter(|(_, left)| *left > 0) {
            *left -= 1;
            (state.protocol.get(&path, world), state.snapshot_delay)
        } else {
            (state.protocol.get(&path, &state.world), state.snapshot_delay)
        }
    };
    tokio::time::sleep(delay).await;
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).expect("a status");
    if let Some(seconds) = answer.retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    Ok(response)
}

type Socket = WebSocket<TokioIo<hyper::upgrade::Upgraded>>;

async fn serve(socket: Socket, path: String, state: Arc<Mutex<State>>, raw: &std::net::TcpStream) {
    // The write side is used as it is: it has to do what no library would.
    let (reading, mut writer) = tokio::io::split(socket.into_inner());
    let reading = tokio::io::join(reading, tokio::io::sink());
    let mut reader = WebSocket::after_handshake(reading, Role::Server);
    reader.set_auto_pong(false);
    reader.set_auto_close(false);
    let mut reader = FragmentCollector::new(reader);
    let (out, mut outgoing) = mpsc::channel(OUTGOING);
    let number = {
        let mut state = state.lock();
        state.next += 1;
        state.opened += 1;
        let number = state.next;
        let connection = Connection {
            path,
            topics: BTreeSet::new(),
            out: out.clone(),
            opened: Instant::now(),
            has_spoken: false,
        };
        state.connections.insert(number, connection);
        number
    };
    // When a text last came or went.
    let busy = Mutex::new(Instant::now());
    let idle = state.lock().protocol.idle();
    let reading = async {
        while let Ok(frame) = reader.read_frame().await {
            match frame.opcode {
                OpCode::Text => {
                    *busy.lock() = Instant::now();
                    received(&state, number, &String::from_utf8_lossy(&frame.payload)).await;
                }
                OpCode::Ping => {
                    let _ = out.try_send(Out::Pong(frame.payload.to_vec()));
                }
                OpCode::Pong => state.lock().pongs.push(frame.payload.to_vec()),
                OpCode::Close => break,
                _ => {}
            }
        }
    };
    let writing = async {
        // What is at hand goes out in one write.
        let mut buffer = Vec::new();
        loop {
            let next = match outgoing.try_recv() {
                Ok(out) if buffer.len() < WRITE_BYTES => Some(out),
                more => {
                    if !buffer.is_empty() {
                        let written = writer.write_all(&buffer).await;
                        if written.is_err() || writer.flush().await.is_err() {
                            return;
                        }
                        buffer.clear();
                    }
                    match more {
                        Ok(out) => Some(out),
                        Err(_) => outgoing.recv().await,
                    }
                }
            };
            let Some(out) = next else { return };
            match &out {
                Out::Text(text) => {
                    *busy.lock() = Instant::now();
                    frame(0x1, text.as_bytes(), &mut buffer);
                }
                Out::Ping => frame(0x9, b"7", &mut buffer),
                Out::Pong(payload) => frame(0xa, payload, &mut buffer),
                Out::Close(code, reason) => {
                    let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
                    frame(0x8, &payload, &mut buffer);
                }
                Out::Stall(_) | Out::HalfClose | Out::Abort => {
                    // What came before it has gone out when the machine fails.
                    if writer.write_all(&buffer).await.is_err() || writer.flush().await.is_err() {
                        return;
                    }
                    buffer.clear();
                }
            }
            match out {
                Out::Stall(time) => tokio::time::sleep(time).await,
                Out::HalfClose => {
                    let _ = writer.shutdown().await;
                    // What it sends is still read; nothing is ever written again.
                    return std::future::pending().await;
                }
                Out::Abort => return reset(raw),
                _ => {}
            }
        }
    };
    let watching = async {
        let Some((time, code, reason)) = idle else { return std::future::pending().await };
        loop {
            let left = time.saturating_sub(busy.lock().elapsed());
            if left.is_zero() {
                let _ = out.try_send(Out::Close(code, reason));
                return std::future::pending().await;
            }
            tokio::time::sleep(left).await;
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
        () = watching => {}
    }
    state.lock().connections.remove(&number);
}

/// Appends a server's frame of this kind.
fn frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload.len() {
        short @ ..126 => out.push(short as u8),
        middle @ ..65_536 => {
            out.push(126);
            out.extend((middle as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend((long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// A client's text: the answers, and the snapshots among them, are in line before anything that
/// happens later.
async fn received(state: &Mutex<State>, number: u64, text: &str) {
    let (path, parts) = {
        let mut state = state.lock();
        let state = &mut *state;
        let Some(connection) = state.connections.get_mut(&number) else { return };
        if !std::mem::replace(&mut connection.has_spoken, true) {
            state.first_words.push(connection.opened.elapsed());
        }
        let path = connection.path.clone();
        let heard = Heard {
            at: Instant::now(),
            connection: number,
            path: path.clone(),
            text: text.to_owned(),
        };
        state.heard.push(heard);
        (path, state.protocol.parts(text))
    };
    for part in parts {
        let delay = state.lock().answer_delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let mut state = state.lock();
        let state = &mut *state;
        let Some(connection) = state.connections.get_mut(&number) else { return };
        let topics = &mut connection.topics;
        for answer in state.protocol.received_at(&path, &part, topics, &state.world) {
            let _ = connection.out.try_send(Out::Text(answer));
        }
    }
}

//! A connection, from the accept to what HTTP makes of it: whose it is, TLS, its deadlines.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::addresses::{Place, Refusal};
use super::socket::{Socket, Takeover};
use super::{Plane, answer, sse};
use crate::clock;
use crate::limits;
use crate::transport::listener::Listener;
use crate::transport::proxied::{self, HeaderError};
use crate::transport::{self, HandshakeError, Peer, Transport};

/// Accepts until dropped; `handshakes` are shared by all listeners. Must run in a `LocalSet`.
pub(crate) async fn accept(plane: Rc<Plane>, listener: Listener, handshakes: Arc<Semaphore>) {
    loop {
        if handshakes.available_permits() == 0 {
            plane.counters.accept_paced.fetch_add(1, Ordering::Relaxed);
        }
        // Beyond the cap, connections wait in the kernel's queue, which costs nothing.
        let Ok(permit) = handshakes.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, peer)) => {
                plane.counters.accepted.fetch_add(1, Ordering::Relaxed);
                // Who is refused costs no more than the accept.
                let Ok(place) = arrive(&plane, peer) else { continue };
                let handshake = Handshake::new(&plane, permit, place, peer);
                let begun = connection(plane.clone(), socket, listener.tls(), peer, handshake);
                tokio::task::spawn_local(begun);
            }
            Err(error) => accept_failed(&plane, &error).await,
        }
    }
}

/// Counts an accept that failed, and waits.
pub(super) async fn accept_failed(plane: &Plane, error: &std::io::Error) {
    // Out of descriptors, most likely: at once again would be a busy loop.
    if plane.counters.accept_errors.fetch_add(1, Ordering::Relaxed) == 0 {
        tracing::warn!(%error, "accept failed (further failures are counted)");
    }
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// The pause after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A place for a connection; what a trusted proxy brings is of no address before it is known.
fn arrive(plane: &Plane, peer: Peer) -> Result<Place, Refusal> {
    match plane.proxies.is_trusted(peer) {
        true => Ok(Place::default()),
        false => plane.addresses.arrive(peer, clock::now().ms),
    }
}

async fn connection(
    plane: Rc<Plane>,
    socket: transport::Socket,
    tls: Option<Arc<ServerConfig>>,
    peer: Peer,
    mut handshake: Handshake,
) {
    // An answer in parts would otherwise wait for the client's delayed acknowledgement, 40 ms.
    let _ = socket.set_nodelay();
    let Some(peer) = introduce(&plane, &socket, peer).await else { return };
    if handshake.peer != peer {
        let Ok(place) = arrive(&plane, peer) else { return };
        (handshake.place, handshake.peer) = (place, peer);
    }
    let Ok(transport) = Transport::over(socket, tls) else { return };
    if !shake_hands(&plane, &transport, peer).await {
        return;
    }
    let transport = Arc::new(transport);
    let (door, taken) = Takeover::new(&transport, handshake);
    let left = serve(&plane, Socket(transport), peer, door, taken).await;
    if let Some((opening, transport)) = left {
        sse::hand_over(opening, transport);
    }
}

/// Whose a connection is, by the header that a trusted proxy begins it with; `None` where it goes no further.
async fn introduce(plane: &Plane, socket: &transport::Socket, peer: Peer) -> Option<Peer> {
    if !plane.proxies.begins_with_header(peer) {
        return Some(peer);
    }
    let header = tokio::time::timeout(plane.handshake_timeout, proxied::read(socket)).await;
    let header = header.unwrap_or(Err(HeaderError::Late));
    plane.proxies.count(header.is_ok());
    match header {
        Ok(client) => Some(client.map_or(peer, Peer::Tcp)),
        Err(error) => {
            tracing::debug!(%error, %peer, "no client behind a proxy");
            None
        }
    }
}

/// The handshake of TLS, where that is spoken; whether the connection goes on.
async fn shake_hands(plane: &Plane, transport: &Transport, peer: Peer) -> bool {
    if !transport.is_tls() {
        return true;
    }
    let shaken = std::future::poll_fn(|cx| transport.poll_handshake(cx));
    let shaken = tokio::time::timeout(plane.handshake_timeout, shaken).await;
    match shaken.unwrap_or(Err(HandshakeError::Late)) {
        Ok(established) => {
            if let Some(how) = established {
                plane.counters.tls.established(how);
            }
            true
        }
        Err(error) => {
            plane.counters.tls.failed(&error);
            tracing::debug!(%error, %peer, "TLS handshake failed");
            false
        }
    }
}

/// A connection that is being served by HTTP.
pub(super) struct Handshake {
    plane: Rc<Plane>,
    _permit: OwnedSemaphorePermit,
    place: Place,
    /// Whose place that is.
    peer: Peer,
}

impl Handshake {
    fn new(plane: &Rc<Plane>, permit: OwnedSemaphorePermit, place: Place, peer: Peer) -> Self {
        plane.counters.handshakes.fetch_add(1, Ordering::Relaxed);
        Handshake { plane: plane.clone(), _permit: permit, place, peer }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.plane.counters.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// HTTP/1.1 as it is spoken at every door.
pub(super) fn spoken(plane: &Plane) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(plane.handshake_timeout)
        .max_buf_size(limits::HANDSHAKE_HEAD_BYTES)
        // `printf 'GET ...' | nc` has shut its sending side by the time of the answer.
        .half_close(true);
    builder
}

/// Serves a connection by HTTP until it ends, or until a request takes it over; then what for, and the
/// socket.
async fn serve(
    plane: &Rc<Plane>,
    socket: Socket,
    peer: Peer,
    door: Rc<Takeover>,
    taken: oneshot::Receiver<sse::Opening>,
) -> Option<(sse::Opening, Arc<Transport>)> {
    let service = service_fn({
        let (plane, door) = (plane.clone(), door.clone());
        move |request| {
            let (plane, door) = (plane.clone(), door.clone());
            async move { Ok::<_, Infallible>(answer(&plane, request, peer, &door).await) }
        }
    });
    let mut served = std::pin::pin!(
        spoken(plane).serve_connection(TokioIo::new(socket), service).with_upgrades()
    );
    let result = tokio::select! {
        result = served.as_mut() => result,
        Ok(opening) = taken => return Some((opening, door.stream()?)),
        // Who asks and does not read the answers would otherwise keep others out for ever.
        () = tokio::time::sleep(plane.handshake_timeout * limits::HTTP_TIMEOUTS) => {
            served.as_mut().graceful_shutdown();
            // Dropped where it is not over by then.
            tokio::time::timeout(plane.handshake_timeout, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, %peer, "connection failed");
    }
    None
}

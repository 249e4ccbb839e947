//! Where clients come in: what is listened at, said at the start, and accepted.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::access::{Access, remote};
use crate::config::{AdminAt, Config};
use crate::http::{self, Plane};
use crate::limits;
use crate::reload;
use crate::transport::certificates::{Certificates, Source};
use crate::transport::listener::{Listener, Rights};
use crate::watch;

/// All of them, open.
pub(super) struct Doors {
    plain: Option<Listener>,
    tls: Option<Listener>,
    unix: Option<(Listener, PathBuf)>,
    admin: Option<(Listener, AdminAt)>,
    /// What TLS is spoken with, where it is.
    pub(super) certificates: Option<Arc<Certificates>>,
    self_signed: bool,
    access: Arc<Access>,
    /// Asks for files to be read again. From the start on, or one that comes early would end the process.
    hangup: Signal,
}

impl Doors {
    pub(super) fn open(config: &Config, access: &Arc<Access>) -> anyhow::Result<Self> {
        let admin = config.admin.as_ref().map(|admin| open_to_operators(&admin.at)).transpose()?;
        let config = &config.doors;
        let certificates = match &config.certificates[..] {
            [] => None,
            sources => Some(Certificates::load(sources.to_vec()).context("--listen-tls")?),
        };
        let settings = certificates.as_ref().map(|all| all.config()).transpose()?;
        certificates.iter().for_each(|all| all.tell_of_end());
        let tcp = |flag: &str, address: SocketAddr, tls| {
            Listener::tcp(address, tls).map_err(|error| cannot(&address, flag, error))
        };
        let unix = config.unix.as_ref().map(|path| {
            let listener = Listener::unix(path, Rights::OfFolder);
            let listener =
                listener.map_err(|error| cannot(&path.display(), "--listen-unix", error));
            listener.map(|listener| (listener, path.clone()))
        });
        Ok(Doors {
            plain: config.plain.map(|at| tcp("--listen", at, None)).transpose()?,
            tls: config.tls.map(|at| tcp("--listen-tls", at, settings)).transpose()?,
            unix: unix.transpose()?,
            admin,
            certificates,
            access: access.clone(),
            hangup: signal(SignalKind::hangup())?,
            self_signed: config.certificates.contains(&Source::SelfSigned),
        })
    }

    /// Tells where to look; the first line is what scripts wait for.
    pub(super) fn announce(&self) {
        let address_of = Listener::address;
        let address = |listener: &Option<Listener>| listener.as_ref().and_then(address_of);
        let (plain, tls) = (address(&self.plain), address(&self.tls));
        let both = [("http", "ws", plain), ("https", "wss", tls)];
        for (http, _, address) in both {
            if let Some(address) = address {
                println!("listening on {http}://{address}");
            }
        }
        if let Some((_, path)) = &self.unix {
            println!("listening at {}", path.display());
        }
        if let Some((listener, at)) = &self.admin {
            match address_of(listener) {
                Some(address) => println!("operators at http://{address}"),
                None => println!("operators at {at}"),
            }
        }
        for (http, ws, address) in both {
            let Some(near) = address.map(reachable) else { continue };
            println!("  page       {http}://{near}/");
            println!("  WebSocket  {ws}://{near}/v1/ws");
        }
        if self.self_signed {
            println!("  (the certificate is made for this run: browsers ask, `curl -k` does not)");
        }
        if let Some(address) = plain {
            println!("  terminal   {}", watch_line(&program(), reachable(address)));
        }
    }

    /// Accepts until dropped. Must be called in a `LocalSet`.
    pub(super) fn accept(self, plane: &Rc<Plane>) -> Accepting {
        let handshakes = Arc::new(Semaphore::new(plane.max_handshakes));
        let listeners = [self.plain, self.tls, self.unix.map(|(listener, _)| listener)];
        let mut tasks: Vec<AbortHandle> = listeners
            .into_iter()
            .flatten()
            .map(|listener| http::accept(plane.clone(), listener, handshakes.clone()))
            .map(|task| tokio::task::spawn_local(task).abort_handle())
            .collect();
        let keys = remote::keep(self.access.clone());
        tasks.push(tokio::task::spawn_local(keys).abort_handle());
        let fresh = keep_fresh(self.hangup, self.certificates, self.access, plane.clone());
        tasks.push(tokio::task::spawn_local(fresh).abort_handle());
        let admin = self.admin.map(|(listener, _)| http::admin::accept(plane.clone(), listener));
        let admin = admin.map(|task| tokio::task::spawn_local(task).abort_handle());
        Accepting { tasks, admin }
    }
}

/// Why nothing listens there, and what helps.
fn cannot(at: &dyn std::fmt::Display, flag: &str, error: std::io::Error) -> anyhow::Error {
    let help = match error.kind() {
        ErrorKind::AddrInUse => {
            format!("is another tickcast running? `{flag}` takes another address")
        }
        ErrorKind::PermissionDenied => format!(
            "the server's user may not: a port below 1024 needs CAP_NET_BIND_SERVICE, a path the right to write in its folder, `{flag}` takes another one"
        ),
        _ => format!("`{flag}` takes another one"),
    };
    anyhow::Error::new(error).context(format!("cannot listen at {at}: {help}"))
}

/// The tasks that accept, which end with it.
pub(super) struct Accepting {
    tasks: Vec<AbortHandle>,
    /// Of operators, who may want to look at a server that drains.
    admin: Option<AbortHandle>,
}

impl Accepting {
    /// Accepts operators alone from here on.
    pub(super) fn no_more_clients(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.no_more_clients();
        self.admin.iter().for_each(AbortHandle::abort);
    }
}

/// Opens the door of operators.
fn open_to_operators(at: &AdminAt) -> anyhow::Result<(Listener, AdminAt)> {
    let listener = match at {
        AdminAt::Tcp(address) => Listener::tcp(*address, None),
        AdminAt::Unix(path) => Listener::unix(path, Rights::OfUser),
    };
    let listener = listener.map_err(|error| cannot(at, "--admin-listen", error))?;
    if let AdminAt::Tcp(address) = at
        && !address.ip().is_loopback()
    {
        tracing::warn!(%address, "the door of operators is not on the loopback, and not encrypted");
    }
    Ok((listener, at.clone()))
}

/// Reads certificates and who may see what again when their files change, and on SIGHUP; on that also the
/// token of operators.
async fn keep_fresh(
    mut hangup: Signal,
    certificates: Option<Arc<Certificates>>,
    access: Arc<Access>,
    plane: Rc<Plane>,
) {
    loop {
        let by_signal = tokio::select! {
            _ = hangup.recv() => true,
            () = tokio::time::sleep(limits::FILE_POLL) => false,
        };
        reload::certificates(certificates.as_deref(), by_signal);
        reload::access(&access, by_signal);
        if let Some(door) = plane.admin.as_ref().filter(|_| by_signal) {
            door.reload();
        }
    }
}

/// The address for somebody on this machine: one that stands for all of them is none to connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// This program, to be called from any folder.
fn program() -> String {
    std::env::current_exe()
        .map_or_else(|_| "tickcast".to_owned(), |path| path.display().to_string())
}

/// A word of a shell's command line; brackets are for matching file names there.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:".contains(c);
    match word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The line to paste into a shell to see ticks.
fn watch_line(program: &str, near: SocketAddr) -> String {
    let program = quoted(program);
    let url = format!("ws://{near}/v1/ws");
    match url == watch::DEFAULT_URL {
        true => format!("{program} watch '*'"),
        false => format!("{program} watch --url {} '*'", quoted(&url)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_paste_works_in_a_shell() {
        let line = |program: &str, address: &str| {
            watch_line(program, reachable(address.parse().expect("an address")))
        };
        assert_eq!(line("/opt/tickcast", "127.0.0.1:7070"), "/opt/tickcast watch '*'");
        assert_eq!(line("/opt/tickcast", "0.0.0.0:7070"), "/opt/tickcast watch '*'");
        assert_eq!(
            line("/my files/it's", "10.0.0.1:80"),
            r"'/my files/it'\''s' watch --url ws://10.0.0.1:80/v1/ws '*'"
        );
        assert_eq!(line("t", "[::]:80"), "t watch --url 'ws://[::1]:80/v1/ws' '*'");
    }
}

//! The URLs of WebSockets: what a connection is to begin with.

use super::Unit;
use super::query::{Fault, decoded};

/// What a client asks for by its URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Names of streams, in order and as written. Parts that cannot be one are left out: clients
    /// put a number of theirs there (`/ws/3`), or nothing.
    pub streams: Vec<String>,
    /// Messages come as `{"stream":...,"data":...}`.
    pub combined: bool,
    /// The unit of times.
    pub unit: Unit,
}

/// Reads the path and the query (what is after `?`) of an upgrade; `None` where the path is not
/// one of the dialect: `/ws`, `/ws/<stream>[/<stream>...]`, `/stream`, `/stream?streams=<stream>/...`,
/// each with `timeUnit`.
///
/// # Errors
/// A unit that is none.
pub fn opening(path: &str, query: &str) -> Option<Result<Opening, Fault>> {
    let (combined, rest) = match path.strip_prefix("/ws") {
        Some(rest) => (false, rest),
        None => (true, path.strip_prefix("/stream")?),
    };
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    let mut opening = Opening { combined, ..Opening::default() };
    add(&mut opening.streams, &decoded(rest));
    for (name, value) in query.split('&').filter_map(|part| part.split_once('=')) {
        match name {
            // `+` is a plus here (`@+08:00`), not a space.
            "streams" => add(&mut opening.streams, &decoded(value)),
            "timeUnit" => match Unit::parse(value) {
                Some(unit) => opening.unit = unit,
                None => return Some(Err(Fault::time_unit())),
            },
            _ => {}
        }
    }
    Some(Ok(opening))
}

fn add(streams: &mut Vec<String>, names: &str) {
    let is_stream = |name: &&str| name.contains('@') || name.starts_with('!');
    streams.extend(names.split('/').filter(is_stream).map(str::to_owned));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Option<Result<Opening, Fault>> {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        opening(path, query)
    }

    #[test]
    fn every_form_of_the_url_is_understood() {
        for (url, streams, combined, unit) in [
            ("/ws", "", false, Unit::Milli),
            ("/ws/", "", false, Unit::Milli),
            ("/ws/3", "", false, Unit::Milli),
            ("/ws/btcusdt@trade", "btcusdt@trade", false, Unit::Milli),
            ("/ws/btcusdt%40trade/!ticker%40arr", "btcusdt@trade !ticker@arr", false, Unit::Milli),
            ("/ws?timeUnit=MICROSECOND", "", false, Unit::Micro),
            ("/ws/!bookTicker?timeUnit=microsecond", "!bookTicker", false, Unit::Micro),
            ("/stream", "", true, Unit::Milli),
            ("/stream?", "", true, Unit::Milli),
            ("/stream?streams=", "", true, Unit::Milli),
            ("/stream?streams=a@trade/b@depth@100ms", "a@trade b@depth@100ms", true, Unit::Milli),
            ("/stream?streams=a%40trade%2Fb%40trade", "a@trade b@trade", true, Unit::Milli),
            (
                "/stream?timeUnit=MICROSECOND&streams=a@kline_1m@+08:00",
                "a@kline_1m@+08:00",
                true,
                Unit::Micro,
            ),
            ("/stream/?streams=a@trade&other=1", "a@trade", true, Unit::Milli),
        ] {
            let streams = streams.split_whitespace().map(str::to_owned).collect();
            assert_eq!(read(url), Some(Ok(Opening { streams, combined, unit })), "{url}");
        }
        assert_eq!(read("/wsx"), None);
        assert_eq!(read("/streams"), None);
        assert_eq!(read("/v1/ws"), None);
        let fault = read("/ws?timeUnit=SECOND").unwrap().unwrap_err();
        assert_eq!((fault.status, fault.code), (400, -1194));
    }
}

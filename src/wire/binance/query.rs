//! Requests over HTTP (`rest-api.md`): which endpoint, with which parameters; and how Binance words
//! what is wrong with them (`errors.md`).
//!
//! Parameters that are not known are passed over, where Binance counts them and refuses: clients send
//! some of their own.

use std::borrow::Cow;

use crate::derive::Span;

/// The endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `/api/v3/ping`
    Ping,
    /// `/api/v3/time`
    Time,
    /// `/api/v3/exchangeInfo`
    ExchangeInfo(Which),
    /// `/api/v3/depth`
    Depth {
        /// Of which book.
        symbol: String,
        /// Levels a side.
        limit: usize,
    },
    /// `/api/v3/trades`: the newest.
    Trades {
        /// Of which instrument.
        symbol: String,
        /// How many.
        limit: usize,
    },
    /// `/api/v3/aggTrades`: the newest, unless `from_id` or `range` say otherwise.
    AggTrades {
        /// Of which instrument.
        symbol: String,
        /// How many.
        limit: usize,
        /// The id of the first.
        from_id: Option<u64>,
        /// Of which time.
        range: Range,
    },
    /// `/api/v3/klines`, `/api/v3/uiKlines`: the newest, unless `range` says otherwise.
    Klines {
        /// Of which instrument.
        symbol: String,
        /// What a bar spans.
        span: Span,
        /// How many.
        limit: usize,
        /// Of which time; a bar counts by its start.
        range: Range,
    },
    /// `/api/v3/ticker/24hr`
    Ticker {
        /// Of which instruments.
        which: Which,
        /// In short (`type=MINI`).
        mini: bool,
    },
    /// `/api/v3/ticker/price`
    Price(Which),
    /// `/api/v3/ticker/bookTicker`
    BookTicker(Which),
}

/// Of which symbols. One is answered with an object, several with an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// `symbol=BTCUSDT`
    One(String),
    /// `symbols=["BTCUSDT","ETHUSDT"]`
    Several(Vec<String>),
    /// Neither was sent.
    All,
}

/// A stretch of time, both ends in it, nanoseconds since the Unix epoch. From `start` on it is the
/// oldest that are wanted, else the newest (`rest-api.md`, "General API Information").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// `startTime`
    pub start_ns: Option<u64>,
    /// `endTime`; the last nanosecond of the unit that it was sent in.
    pub end_ns: Option<u64>,
}

impl Range {
    /// Whether a time is in it, nanoseconds.
    pub fn holds(&self, at_ns: u64) -> bool {
        self.start_ns.is_none_or(|start| at_ns >= start)
            && self.end_ns.is_none_or(|end| at_ns <= end)
    }
}

/// An error over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The status of the answer.
    pub status: u16,
    /// Binance's number of it.
    pub code: i32,
    /// What is wrong.
    pub message: Cow<'static, str>,
}

impl Fault {
    fn new(code: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Fault { status: 400, code, message: message.into() }
    }

    /// No token, or none that is known: Binance's words for it.
    pub fn unauthorized() -> Self {
        let fault = Self::new(-2015, "Invalid API-key, IP, or permissions for action.");
        Fault { status: 401, ..fault }
    }

    /// Something that the one who asks may not see.
    pub fn forbidden(why: &dyn std::fmt::Display) -> Self {
        Fault { status: 403, ..Self::new(-2015, why.to_string()) }
    }

    /// No instrument of that name.
    pub fn symbol() -> Self {
        Self::new(-1121, "Invalid symbol.")
    }

    /// A `timeUnit`, or `X-MBX-TIME-UNIT`, that is none.
    pub fn time_unit() -> Self {
        Self::new(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
    }

    /// What is asked for is not known at the moment: a book that is being rebuilt. An empty one
    /// would be taken for a book.
    pub fn not_now() -> Self {
        let message = "Internal error; unable to process your request. Please try again.";
        Fault { status: 503, ..Self::new(-1001, message) }
    }

    /// A path that is no endpoint here.
    pub fn no_endpoint() -> Self {
        Fault { status: 404, ..Self::new(-1020, "This operation is not supported.") }
    }

    /// More requests than one may make.
    pub fn too_many_requests() -> Self {
        Fault { status: 429, ..Self::new(-1003, "Too many requests.") }
    }

    fn mandatory(name: &str) -> Self {
        let message =
            format!("Mandatory parameter '{name}' was not sent, was empty/null, or malformed.");
        Self::new(-1102, message)
    }

    fn illegal(name: &str, range: &str) -> Self {
        let message =
            format!("Illegal characters found in parameter '{name}'; legal range is '{range}'.");
        Self::new(-1100, message)
    }

    fn not_valid(name: &str) -> Self {
        Self::new(-1130, format!("Data sent for parameter '{name}' is not valid."))
    }

    /// Appends the body: `{"code":-1121,"msg":"Invalid symbol."}`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let message = serde_json::Value::from(self.message.as_ref());
        out.extend_from_slice(format!(r#"{{"code":{},"msg":{message}}}"#, self.code).as_bytes());
    }
}

/// A text with its percent-encoded bytes decoded; as it is where they are no UTF-8.
pub fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        // `from_str_radix` would take a sign.
        let digits = part.get(..2).filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => {
                bytes.push(b'%');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Reads the path and the query (what is after `?`) of a GET; `None` where the path is not below
/// `/api/v3/`.
///
/// # Errors
/// [`Fault`]. Whether a symbol exists is not looked at.
pub fn parse(path: &str, query: &str) -> Option<Result<Call, Fault>> {
    let endpoint = path.strip_prefix("/api/v3/")?;
    let params = Params(query);
    Some(match endpoint {
        "ping" => Ok(Call::Ping),
        "time" => Ok(Call::Time),
        "exchangeInfo" => params.which().map(Call::ExchangeInfo),
        "depth" => params.depth(),
        "trades" => params.trades(),
        "aggTrades" => params.agg_trades(),
        "klines" | "uiKlines" => params.klines(),
        "ticker/24hr" => params.ticker(),
        "ticker/price" => params.which().map(Call::Price),
        "ticker/bookTicker" => params.which().map(Call::BookTicker),
        _ => Err(Fault::no_endpoint()),
    })
}

/// Most of what `/api/v3/depth` gives, levels a side.
pub const DEPTH_MAX: usize = 5_000;

/// Most rows of the other lists.
pub const ROWS_MAX: usize = 1_000;

struct Params<'q>(&'q str);

impl<'q> Params<'q> {
    fn get(&self, wanted: &str) -> Option<Cow<'q, str>> {
        let mut pairs = self.0.split('&').map(|part| part.split_once('=').unwrap_or((part, "")));
        pairs.find_map(|(name, value)| (name == wanted).then(|| decoded(value)))
    }

    fn depth(&self) -> Result<Call, Fault> {
        Ok(Call::Depth { symbol: self.symbol()?, limit: self.limit(100, DEPTH_MAX)? })
    }

    fn trades(&self) -> Result<Call, Fault> {
        Ok(Call::Trades { symbol: self.symbol()?, limit: self.limit(500, ROWS_MAX)? })
    }

    fn agg_trades(&self) -> Result<Call, Fault> {
        Ok(Call::AggTrades {
            symbol: self.symbol()?,
            limit: self.limit(500, ROWS_MAX)?,
            from_id: self.number("fromId")?,
            range: self.range()?,
        })
    }

    fn klines(&self) -> Result<Call, Fault> {
        let symbol = self.symbol()?;
        let interval = self.get("interval").filter(|it| !it.is_empty());
        let interval = interval.ok_or_else(|| Fault::mandatory("interval"))?;
        let span = Span::interval(&interval).ok_or(Fault::new(-1120, "Invalid interval."))?;
        Ok(Call::Klines { symbol, span, limit: self.limit(500, ROWS_MAX)?, range: self.range()? })
    }

    fn ticker(&self) -> Result<Call, Fault> {
        let mini = match self.get("type").as_deref() {
            None | Some("FULL") => false,
            Some("MINI") => true,
            Some(_) => return Err(Fault::new(-1139, "Invalid ticker type.")),
        };
        Ok(Call::Ticker { which: self.which()?, mini })
    }

    fn symbol(&self) -> Result<String, Fault> {
        match self.get("symbol") {
            Some(symbol) if !symbol.is_empty() => Ok(symbol.into_owned()),
            _ => Err(Fault::mandatory("symbol")),
        }
    }

    fn which(&self) -> Result<Which, Fault> {
        match (self.get("symbol"), self.get("symbols")) {
            (None, None) => Ok(Which::All),
            (Some(_), None) => self.symbol().map(Which::One),
            (None, Some(list)) => {
                let list = serde_json::from_str(&list);
                list.map(Which::Several)
                    .map_err(|_| Fault::illegal("symbols", r#"["SYMBOL","SYMBOL"]"#))
            }
            (Some(_), Some(_)) => {
                Err(Fault::new(-1128, "Combination of optional parameters invalid."))
            }
        }
    }

    fn number(&self, name: &'static str) -> Result<Option<u64>, Fault> {
        let Some(text) = self.get(name) else { return Ok(None) };
        if text.is_empty() {
            return Err(Fault::new(-1105, format!("Parameter '{name}' was empty.")));
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Fault::illegal(name, "^[0-9]{1,20}$"));
        }
        text.parse().map(Some).map_err(|_| Fault::not_valid(name))
    }

    /// More than the most is the most, as at Binance.
    fn limit(&self, unsaid: usize, most: usize) -> Result<usize, Fault> {
        match self.number("limit")? {
            None => Ok(unsaid),
            Some(0) => Err(Fault::not_valid("limit")),
            Some(limit) => Ok(usize::try_from(limit).map_or(most, |limit| limit.min(most))),
        }
    }

    fn range(&self) -> Result<Range, Fault> {
        let start_ns = self.number("startTime")?.map(|time| ns(time).0);
        let end_ns = self.number("endTime")?.map(|time| ns(time).1);
        Ok(Range { start_ns, end_ns })
    }
}

/// The first and last nanosecond of a time in milliseconds or microseconds. As milliseconds, the least
/// that is taken for microseconds is in the year 5138; as microseconds, in 1973.
fn ns(time: u64) -> (u64, u64) {
    let unit = if time < 100_000_000_000_000 { 1_000_000 } else { 1_000 };
    let first = time.saturating_mul(unit);
    (first, first.saturating_add(unit - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Call, Fault> {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        parse(path, query).unwrap_or_else(|| panic!("{url} is no endpoint"))
    }

    #[test]
    fn endpoints_and_their_defaults() {
        let (symbol, none) = (|| "BTCUSDT".to_owned(), Range::default());
        let several = || Which::Several(vec!["BTCUSDT".to_owned(), "KRAKEN_BTCUSD".to_owned()]);
        for (url, call) in [
            ("/api/v3/ping", Call::Ping),
            ("/api/v3/time?x=1", Call::Time),
            ("/api/v3/exchangeInfo", Call::ExchangeInfo(Which::All)),
            ("/api/v3/exchangeInfo?symbol=BTCUSDT", Call::ExchangeInfo(Which::One(symbol()))),
            ("/api/v3/depth?symbol=BTCUSDT", Call::Depth { symbol: symbol(), limit: 100 }),
            (
                "/api/v3/depth?limit=9999&symbol=BTCUSDT",
                Call::Depth { symbol: symbol(), limit: 5_000 },
            ),
            (
                "/api/v3/trades?symbol=BTCUSDT&limit=1000",
                Call::Trades { symbol: symbol(), limit: 1_000 },
            ),
            (
                "/api/v3/aggTrades?symbol=BTCUSDT&fromId=7",
                Call::AggTrades { symbol: symbol(), limit: 500, from_id: Some(7), range: none },
            ),
            (
                "/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime=1499040000000&endTime=1499040000000001&limit=2",
                Call::Klines {
                    symbol: symbol(),
                    span: Span::Minute,
                    limit: 2,
                    range: Range {
                        start_ns: Some(1_499_040_000_000_000_000),
                        end_ns: Some(1_499_040_000_000_001_999),
                    },
                },
            ),
            ("/api/v3/ticker/24hr?type=MINI", Call::Ticker { which: Which::All, mini: true }),
            (
                "/api/v3/ticker/24hr?symbols=%5B%22BTCUSDT%22,%22KRAKEN_BTCUSD%22%5D",
                Call::Ticker { which: several(), mini: false },
            ),
            (r#"/api/v3/ticker/price?symbols=["BTCUSDT","KRAKEN_BTCUSD"]"#, Call::Price(several())),
            ("/api/v3/ticker/bookTicker?symbol=BTCUSDT", Call::BookTicker(Which::One(symbol()))),
        ] {
            assert_eq!(read(url), Ok(call), "{url}");
        }
        assert_eq!(parse("/api/v3/order", ""), Some(Err(Fault::no_endpoint())));
        assert_eq!(parse("/fapi/v1/ping", ""), None);
    }

    #[test]
    fn errors_have_binance_s_codes_and_words() {
        for (url, code, said) in [
            (
                "/api/v3/depth",
                -1102,
                "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.",
            ),
            (
                "/api/v3/trades?symbol=",
                -1102,
                "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.",
            ),
            (
                "/api/v3/klines?symbol=X",
                -1102,
                "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.",
            ),
            ("/api/v3/klines?symbol=X&interval=1x", -1120, "Invalid interval."),
            (
                "/api/v3/depth?symbol=X&limit=ten",
                -1100,
                "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.",
            ),
            ("/api/v3/depth?symbol=X&limit=", -1105, "Parameter 'limit' was empty."),
            (
                "/api/v3/depth?symbol=X&limit=0",
                -1130,
                "Data sent for parameter 'limit' is not valid.",
            ),
            (
                "/api/v3/aggTrades?symbol=X&fromId=99999999999999999999",
                -1130,
                "Data sent for parameter 'fromId' is not valid.",
            ),
            (
                "/api/v3/ticker/24hr?symbol=X&symbols=[]",
                -1128,
                "Combination of optional parameters invalid.",
            ),
            ("/api/v3/ticker/24hr?type=HUGE", -1139, "Invalid ticker type."),
        ] {
            let fault = read(url).expect_err(url);
            assert_eq!(
                (fault.status, fault.code, fault.message.as_ref()),
                (400, code, said),
                "{url}"
            );
        }
        assert_eq!(read("/api/v3/ticker/price?symbols=X").unwrap_err().code, -1100);
        let mut out = Vec::new();
        Fault::symbol().write_to(&mut out);
        assert_eq!(out, br#"{"code":-1121,"msg":"Invalid symbol."}"#);
        assert_eq!(Fault::not_now().status, 503);
    }

    #[test]
    fn percent_signs_are_decoded_or_left() {
        assert_eq!(decoded("a%40b%2fc"), "a@b/c");
        assert_eq!(decoded("%E5%B8%81"), "币");
        for odd in ["%", "%4", "%zz", "100%", "%FF", "%é", "%+1"] {
            assert_eq!(decoded(odd), odd);
        }
    }
}

//! A client that keeps every text that it gets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Client, Received, Server, pause};

/// A replay that has sent nothing for so long sends nothing any more.
const QUIET: Duration = Duration::from_secs(5);

/// What came of each channel and symbol, in order.
pub type Taped = BTreeMap<(String, String), Vec<String>>;

/// The client, on a thread of its own.
pub struct Tape {
    count: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<String>>,
}

impl Tape {
    /// Subscribes to everything there is and will be. Returns when it is subscribed.
    pub fn start(server: &Server) -> Self {
        let mut client = Client::native(server);
        let mut texts = Vec::new();
        for channel in ["status", "book", "quote", "trade"] {
            let params = json!({"channel": channel, "symbol": "*"});
            client.send(&json!({"method": "subscribe", "params": params}));
            loop {
                let text = next(&mut client).expect("an answer");
                if text.starts_with("{\"method\"") {
                    assert!(text.contains("\"success\":true"), "{text}");
                    break;
                }
                texts.push(text);
            }
        }
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let thread = std::thread::spawn(move || {
            while let Some(text) = next(&mut client) {
                if !text.contains("\"heartbeat\"") {
                    texts.push(text);
                    counted.store(texts.len(), Ordering::SeqCst);
                }
            }
            texts
        });
        Tape { count, thread }
    }

    /// Waits until so many messages have come, or, where there are fewer, nothing comes any more.
    pub fn wait(&self, expected: usize) {
        let (mut count, mut since) = (0, Instant::now());
        while count < expected && since.elapsed() < QUIET {
            let now = self.count.load(Ordering::SeqCst);
            if now != count {
                (count, since) = (now, Instant::now());
            }
            pause();
        }
    }

    /// What came until the server ended the connection, in order.
    pub fn texts(self) -> Vec<String> {
        self.thread.join().expect("the tape does not panic")
    }

    /// The same by channel and symbol.
    pub fn finish(self) -> Taped {
        sorted(self.texts())
    }
}

/// Messages by channel and symbol.
pub fn sorted(texts: Vec<String>) -> Taped {
    let mut taped = Taped::new();
    for text in texts {
        let message: Value = serde_json::from_str(&text).expect("JSON");
        let (channel, symbol) = (&message["channel"], &message["symbol"]);
        if let (Some(channel), Some(symbol)) = (channel.as_str(), symbol.as_str()) {
            taped.entry((channel.to_owned(), symbol.to_owned())).or_default().push(text);
        } else {
            assert_eq!(message["type"], "drain", "{text}");
        }
    }
    taped
}

/// How many messages there are.
pub fn len(taped: &Taped) -> usize {
    taped.values().map(Vec::len).sum()
}

/// The next text; `None` at the end.
fn next(client: &mut Client) -> Option<String> {
    loop {
        match client.frame_in() {
            Received::Text(text) => return Some(text),
            Received::Ping(payload) => client.frame(0x8a, &payload),
            Received::Close(..) | Received::End => return None,
            other => panic!("expected a message, got {other:?}"),
        }
    }
}

/// Without what was told of each symbol's state on subscription, which is of that moment: everything
/// up to the last word of its being stale at first.
pub fn without_beginning(mut taped: Taped) -> Taped {
    for (_, texts) in taped.iter_mut().filter(|((channel, _), _)| channel == "status") {
        let is_stale = |text: &&String| text.contains("\"stale\"");
        let first = texts.iter().position(|text| is_stale(&text)).expect("it is stale at first");
        assert!(first <= 1, "{texts:?}");
        let stale = texts[first..].iter().take_while(is_stale).count();
        texts.drain(..first + stale);
    }
    taped
}

/// The two are the same, message by message.
pub fn assert_same(a: &Taped, b: &Taped) {
    let mut differences = Vec::new();
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (key, texts) in a {
        let others = &b[key];
        let common = texts.iter().zip(others).take_while(|(a, b)| a == b).count();
        if common < texts.len().max(others.len()) {
            let (one, other) = (texts.get(common), others.get(common));
            let counts = (texts.len(), others.len());
            differences.push(format!("{key:?}, {counts:?}, at {common}:\n{one:?}\n{other:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

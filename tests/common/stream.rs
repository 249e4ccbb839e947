//! What subscribers check of a stream, without the cost of parsing every message whole.

use std::collections::HashMap;
use std::io::{Read, Write};

use serde_json::json;

use super::{Client, Received};

/// A channel and a symbol.
pub type Key = (String, String);

/// A data message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub key: Key,
    pub snapshot: bool,
    pub seq: u64,
    /// `None` in a snapshot.
    pub prev: Option<u64>,
    /// The whole message.
    pub text: String,
}

impl Update {
    /// `None` for what is not a trade, a quote or a book.
    pub fn parse(text: &str) -> Option<Self> {
        let channel = string(text, "channel")?;
        if !["trade", "quote", "book"].contains(&channel) {
            return None;
        }
        Some(Update {
            key: (channel.to_owned(), string(text, "symbol")?.to_owned()),
            snapshot: string(text, "type")? == "snapshot",
            seq: number(text, "seq")?,
            prev: number(text, "prev"),
            text: text.to_owned(),
        })
    }
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let name = format!("\"{name}\":");
    text.find(&name).map(|at| &text[at + name.len()..])
}

fn string<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    value(text, name)?.strip_prefix('"')?.split('"').next()
}

fn number(text: &str, name: &str) -> Option<u64> {
    value(text, name)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The next text, whatever it is; answers pings on the way.
pub fn next_text<S: Read + Write>(client: &mut Client<S>) -> String {
    loop {
        match client.frame_in() {
            Received::Text(text) => return text,
            Received::Ping(payload) => client.frame(0x8a, &payload),
            other => panic!("expected a message, got {other:?}"),
        }
    }
}

/// The next data message.
pub fn next_update<S: Read + Write>(client: &mut Client<S>) -> Update {
    loop {
        if let Some(update) = Update::parse(&next_text(client)) {
            return update;
        }
    }
}

/// A subscriber that checks every link, and remembers what came.
#[derive(Debug, Default)]
pub struct Links {
    /// Where each stream stands.
    pub last: HashMap<Key, u64>,
    pub updates: Vec<Update>,
}

impl Links {
    /// Subscribes to more; what comes before the answer is taken in.
    pub fn subscribe<S: Read + Write>(
        &mut self,
        client: &mut Client<S>,
        channel: &str,
        symbols: &[&str],
    ) {
        let params = json!({"channel": channel, "symbol": symbols});
        client.send(&json!({"method": "subscribe", "params": params}));
        loop {
            let text = next_text(client);
            match Update::parse(&text) {
                Some(update) => self.take(update),
                None if text.starts_with("{\"method\":\"subscribe\"") => {
                    return self.subscribed(&text, channel);
                }
                None => {}
            }
        }
    }

    fn subscribed(&mut self, answer: &str, channel: &str) {
        let answer: serde_json::Value = serde_json::from_str(answer).expect("JSON");
        assert_eq!(answer["success"], true, "{answer}");
        assert!(answer.get("errors").is_none(), "{answer}");
        for one in answer["result"].as_array().expect("an array") {
            // Trades have no snapshot: the answer says what the first one follows.
            if let (true, Some(seq)) = (channel == "trade", one["seq"].as_u64()) {
                let symbol = one["symbol"].as_str().expect("a symbol").to_owned();
                self.last.insert((channel.to_owned(), symbol), seq);
            }
        }
    }

    /// Takes the next message of the client in.
    pub fn read<S: Read + Write>(&mut self, client: &mut Client<S>) -> &Update {
        self.take(next_update(client));
        &self.updates[self.updates.len() - 1]
    }

    fn take(&mut self, update: Update) {
        let last = self.last.insert(update.key.clone(), update.seq);
        if let Some(prev) = update.prev {
            // Where there is no snapshot, nothing was known: the update is the first. But a
            // wildcard's trades begin anywhere.
            let first = if update.key.0 == "trade" { prev } else { 0 };
            assert_eq!(last.unwrap_or(first), prev, "a broken link: {}", update.text);
            assert!(update.seq > prev, "{}", update.text);
        } else {
            assert!(update.snapshot && last.is_none_or(|last| last <= update.seq));
        }
        self.updates.push(update);
    }
}

/// A reproducible choice.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// A number below `end` (SplitMix64).
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    /// So many different symbols `sim:S0000-USD` and on, of `all`.
    pub fn symbols(&mut self, count: usize, all: usize) -> Vec<String> {
        let mut chosen = Vec::new();
        while chosen.len() < count {
            let symbol = symbol(self.below(all));
            if !chosen.contains(&symbol) {
                chosen.push(symbol);
            }
        }
        chosen
    }
}

/// A numbered symbol of the synthetic feed.
pub fn symbol(number: usize) -> String {
    format!("sim:S{number:04}-USD")
}

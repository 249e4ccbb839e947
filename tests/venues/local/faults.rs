//! What can go wrong with a [`LocalVenue`], when a test tells it to.

use super::*;

impl LocalVenue {
    /// Has something said to all connections, whatever they are subscribed to.
    pub fn say(&self, text: &str) {
        self.all(|| Out::Text(text.to_owned()));
    }

    /// Has something said to those who are subscribed to this.
    pub fn tell(&self, topic: &str, text: &str) {
        self.state.lock().send(topic, text);
    }

    /// Announces the end of all connections, as the venue does.
    pub fn announce_shutdown(&self) {
        let text = self.state.lock().protocol.shutdown().expect("this venue announces it");
        self.say(&text);
    }

    pub fn ping_all(&self) {
        self.all(|| Out::Ping);
    }

    pub fn close_all(&self, code: u16, reason: &'static str) {
        self.all(|| Out::Close(code, reason));
    }

    pub fn stall_all(&self, time: Duration) {
        self.all(|| Out::Stall(time));
    }

    pub fn half_close_all(&self) {
        self.all(|| Out::HalfClose);
    }

    pub fn abort_all(&self) {
        self.all(|| Out::Abort);
    }

    /// Resets the oldest connection only.
    pub fn abort_first(&self) {
        self.abort(self.open_connections()[0]);
    }

    /// Holds up what the oldest connection sends; it comes in order afterwards.
    pub fn stall_first(&self, time: Duration) {
        let state = self.state.lock();
        if let Some((_, first)) = state.connections.iter().min_by_key(|(number, _)| **number) {
            let _ = first.out.try_send(Out::Stall(time));
        }
    }

    /// Resets one connection, if it is open.
    pub fn abort(&self, number: u64) {
        if let Some(connection) = self.state.lock().connections.get(&number) {
            let _ = connection.out.try_send(Out::Abort);
        }
    }

    /// The open connections, oldest first, each with a number of its own.
    pub fn open_connections(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.state.lock().connections.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    /// Resets the oldest connection to this path only.
    pub fn abort_first_of(&self, path: &str) {
        let state = self.state.lock();
        let of_path = state.connections.iter().filter(|(_, connection)| connection.path == path);
        if let Some((_, first)) = of_path.min_by_key(|(number, _)| **number) {
            let _ = first.out.try_send(Out::Abort);
        }
    }

    /// Resets the connections to this path.
    pub fn abort_route(&self, path: &str) {
        for connection in self.state.lock().connections.values().filter(|c| c.path == path) {
            let _ = connection.out.try_send(Out::Abort);
        }
    }

    /// Upgrades at this path are refused from here on.
    pub fn close_route(&self, path: &str) {
        self.state.lock().closed.insert(path.to_owned());
    }

    pub fn open_route(&self, path: &str) {
        self.state.lock().closed.remove(path);
    }

    /// Resets the newest connection only.
    pub fn abort_newest(&self) {
        let state = self.state.lock();
        if let Some((_, newest)) = state.connections.iter().max_by_key(|(number, _)| **number) {
            let _ = newest.out.try_send(Out::Abort);
        }
    }

    fn all(&self, out: impl Fn() -> Out) {
        for connection in self.state.lock().connections.values() {
            let _ = connection.out.try_send(out());
        }
    }

    /// The machine is gone: connections are reset, new ones too, until it is back.
    pub fn die(&self) {
        self.open.store(false, Ordering::SeqCst);
        self.abort_all();
    }

    pub fn come_back(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    /// Answers about books come so late.
    pub fn delay_snapshots(&self, time: Duration) {
        self.state.lock().snapshot_delay = time;
    }

    /// Clients' requests are dealt with part by part, so far apart.
    pub fn delay_answers(&self, time: Duration) {
        self.state.lock().answer_delay = time;
    }

    /// The next REST requests are refused with 429 and a `Retry-After` of a second.
    pub fn refuse(&self, count: u32) {
        self.state.lock().refusals = count;
    }

    /// The next `count` snapshots over REST are of now.
    pub fn freeze_snapshots(&self, count: u32) {
        let mut state = self.state.lock();
        let mut world = World { depth: state.world.depth, ..World::default() };
        for (native, truth) in &state.world.truths {
            let frozen = crate::world::Truth::new(truth.book.clone(), truth.last, world.depth);
            world.truths.insert(native.clone(), frozen);
        }
        state.stale = Some((world, count));
    }
}

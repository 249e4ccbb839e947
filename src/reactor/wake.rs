//! Waking a reactor, at no cost while it is awake.
//!
//! The sleeper announces that it sleeps, then looks once more for work; the waker makes work,
//! then looks whether somebody sleeps. With a sequentially consistent fence between the two on
//! either side, at least one of them sees the other: no wake-up is lost.

use std::sync::atomic::{AtomicBool, Ordering, fence};

use tokio::sync::Notify;

/// One reactor's bell.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    asleep: AtomicBool,
    bell: Notify,
}

impl Wake {
    /// To be called after ticks were published. Almost always one load.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.bell.notify_one();
        }
    }

    /// Wakes the sleeper, and also who only waits to be [knocked](Self::knocked) up.
    pub(crate) fn knock(&self) {
        self.bell.notify_one();
    }

    /// Waits for a knock.
    pub(crate) async fn knocked(&self) {
        self.bell.notified().await;
    }

    /// Sleeps until woken, unless `work` says after the announcement that there is some. A wake-up
    /// may be spurious. Dropping the future before it is done is harmless.
    pub(crate) async fn sleep(&self, work: impl FnOnce() -> bool) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if work() {
            self.asleep.store(false, Ordering::Relaxed);
            return;
        }
        self.bell.notified().await;
        self.asleep.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn no_wake_up_is_lost() {
        const ROUNDS: u64 = 20_000;
        let wake = Arc::new(Wake::default());
        let made = Arc::new(AtomicU64::new(0));
        let seen = Arc::new(AtomicU64::new(0));
        let maker = std::thread::spawn({
            let (wake, made, seen) = (wake.clone(), made.clone(), seen.clone());
            move || {
                for round in 1..=ROUNDS {
                    made.store(round, Ordering::Relaxed);
                    wake.wake();
                    // A lost wake-up would leave both waiting for ever.
                    while seen.load(Ordering::Acquire) < round {
                        std::thread::yield_now();
                    }
                }
            }
        });
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let mut last = 0;
            while last < ROUNDS {
                wake.sleep(|| made.load(Ordering::Relaxed) > last).await;
                last = made.load(Ordering::Relaxed);
                seen.store(last, Ordering::Release);
            }
        });
        maker.join().unwrap();
    }
}

//! A timer exact to microseconds: tokio's own counts in milliseconds, which is most of a window.

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A timer of the monotonic clock. Must be made within a tokio runtime.
#[derive(Debug)]
pub(crate) struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    /// A timer that is not set.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "an OwnedFd keeps its descriptor, which is what the unsafe successor asks for"
        )]
        let timer = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Timer(timer))
    }

    /// Waits until this time, nanoseconds of the monotonic clock. Dropping the future is harmless.
    pub(crate) async fn until(&self, at_ns: u64) -> io::Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec {
            tv_sec: (at_ns / 1_000_000_000) as i64,
            tv_nsec: (at_ns % 1_000_000_000) as i64,
        };
        let time = Itimerspec { it_interval: zero, it_value };
        // Setting it anew also takes back an expiry that nobody read.
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &time)?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut count = [0; 8];
            match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut count)?)) {
                Ok(result) => return result.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn it_waits_until_then_and_can_be_set_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let timer = Timer::new().unwrap();
            for wait_ns in [300_000, 1, 2_000_000] {
                let at = clock::now().mono_ns + wait_ns;
                timer.until(at).await.unwrap();
                assert!(clock::now().mono_ns >= at);
            }
            // A future that was dropped leaves nothing behind.
            let far = timer.until(clock::now().mono_ns + 60_000_000_000);
            drop(far);
            timer.until(clock::now().mono_ns + 1000).await.unwrap();
        });
    }
}

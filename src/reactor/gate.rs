//! Where sessions with bytes to read wait while newcomers have had their time.
//!
//! First come, first served, one at a time: whoever has read lets the next one in while there is
//! time left, and the turn lets in the first of its slice. Ten thousand who wait cost nothing,
//! where asking again and again would cost more than what they wait for.

use std::cell::Cell;

use tokio::sync::Notify;

/// See the module. Belongs to one thread.
#[derive(Debug, Default)]
pub(super) struct Gate {
    turnstile: Notify,
    waiting: Cell<usize>,
    /// Somebody was let in and has not read yet.
    passing: Cell<bool>,
}

/// Counts somebody as waiting, also when its session ends meanwhile.
struct Waits<'a>(&'a Cell<usize>);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Gate {
    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// Waits to be let in. Dropping the future gives the place to the next.
    pub(super) async fn wait(&self) {
        self.waiting.set(self.waiting.get() + 1);
        let _waits = Waits(&self.waiting);
        self.turnstile.notified().await;
        self.passing.set(false);
    }

    /// Lets the first one in, unless there is none or one is on its way already.
    pub(super) fn let_in(&self) {
        if self.waiting.get() > 0 && !self.passing.replace(true) {
            self.turnstile.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn one_at_a_time_in_order_and_a_lost_one_gives_its_place() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let gate = Rc::new(Gate::default());
            let passed = Rc::new(RefCell::new(Vec::new()));
            let tasks: Vec<_> = (0..4)
                .map(|id| {
                    let (gate, passed) = (gate.clone(), passed.clone());
                    tokio::task::spawn_local(async move {
                        gate.wait().await;
                        passed.borrow_mut().push(id);
                    })
                })
                .collect();
            let settle = || async {
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                }
            };
            settle().await;
            assert_eq!((gate.waiting(), passed.borrow().len()), (4, 0));
            gate.let_in();
            gate.let_in();
            settle().await;
            assert_eq!((gate.waiting(), passed.borrow().clone()), (3, vec![0]));
            // The first of the others is let in and ends before it comes to its turn.
            gate.let_in();
            tasks[1].abort();
            settle().await;
            assert_eq!((gate.waiting(), passed.borrow().clone()), (1, vec![0, 2]));
            gate.let_in();
            settle().await;
            assert_eq!((gate.waiting(), passed.borrow().clone()), (0, vec![0, 2, 3]));
            gate.let_in();
            assert!(!gate.passing.get(), "nobody is there to be let in");
        });
    }
}

//! Who holds a log beside its handles: threads of the keeper's, for as long as they are at work for it.
//!
//! Whoever drops the last handle waits for them, so that behind it nothing of the log is open any more: no lease, no file, no connection.

use std::{
    cell::Cell,
    ops::Deref,
    sync::{Arc, Condvar, Mutex, PoisonError, Weak},
};

use crate::{log::Inner, queue::lock};

thread_local! {
    /// This thread works for a log that it holds. It waits for nobody that does, and so not for itself.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

/// Those that hold a log. They outlive it by the last of them.
#[derive(Default)]
pub(crate) struct Holders {
    state: Mutex<State>,
    alone: Condvar,
}

#[derive(Default)]
struct State {
    count: usize,
    /// The last handle went: nobody takes hold any more.
    gone: bool,
}

impl Holders {
    /// Waits until nobody holds the log, and lets nobody take hold again. It waits for nothing that closing the log does not wait for too.
    pub(crate) fn let_go(&self) {
        let mut state = lock(&self.state);
        while state.count > 0 && !AT_WORK.get() {
            state = self.alone.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.gone = true;
    }

    /// `None` where the last handle went.
    fn enter(self: &Arc<Self>) -> Option<Entered> {
        let mut state = lock(&self.state);
        if state.gone {
            return None;
        }
        state.count += 1;
        Some(Entered(Arc::clone(self)))
    }
}

/// Counted among the holders until this is dropped.
struct Entered(Arc<Holders>);

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.count -= 1;
        if state.count == 0 {
            self.0.alone.notify_all();
        }
    }
}

/// A log that is held until this is dropped.
pub(crate) struct Hold {
    log: Arc<Inner>,
    /// Dropped behind `log`, as fields are in their order: who is told that the log is let go of finds it so.
    _entered: Option<Entered>,
}

impl Hold {
    /// Holds it for what a caller waits for, who has the log as well: where its last handle went, there is nobody left to wait.
    pub(crate) fn of(log: Arc<Inner>) -> Self {
        let entered = log.holders.enter();
        Self { log, _entered: entered }
    }
}

impl Deref for Hold {
    type Target = Arc<Inner>;

    fn deref(&self) -> &Arc<Inner> {
        &self.log
    }
}

/// A log that may be taken hold of, as long as it has handles.
#[derive(Clone)]
pub(crate) struct Watched {
    log: Weak<Inner>,
    holders: Arc<Holders>,
}

impl Watched {
    pub(crate) fn of(log: &Arc<Inner>) -> Self {
        Self { log: Arc::downgrade(log), holders: Arc::clone(&log.holders) }
    }

    /// Takes hold. `None` where the last handle went.
    pub(crate) fn hold(&self) -> Option<Hold> {
        let entered = self.holders.enter()?;
        Some(Hold { log: self.log.upgrade()?, _entered: Some(entered) })
    }

    pub(crate) fn as_ptr(&self) -> *const Inner {
        self.log.as_ptr()
    }
}

/// Runs what works for a log that this thread holds.
pub(crate) fn at_work<T>(work: impl FnOnce() -> T) -> T {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            AT_WORK.set(self.0);
        }
    }
    let _before = Before(AT_WORK.replace(true));
    work()
}

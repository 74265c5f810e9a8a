//! An interrupt, which ends an import in order: the rows in hand are recorded, the log is closed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{runtime::Builder, signal};

use crate::error::SqlError;

/// How soon an interrupt is noticed in a wait.
const SLICE: Duration = Duration::from_millis(50);

/// Whether the import is to end.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Set by the first interrupt (Ctrl-C) or request to terminate that the process gets; a second one ends the process.
    ///
    /// # Errors
    /// [`SqlError::Runtime`].
    pub fn on_interrupt() -> Result<Self, SqlError> {
        let stop = Self::default();
        let runtime = Builder::new_current_thread().enable_all().build().map_err(SqlError::Runtime)?;
        let set = stop.clone();
        let waits = move || {
            runtime.block_on(async {
                if interrupted().await.is_ok() {
                    set.set();
                    // As the system does to a process that an interrupt ends.
                    drop(interrupted().await);
                    std::process::exit(130);
                }
            });
        };
        thread::Builder::new().name("interrupt".to_owned()).spawn(waits).map_err(SqlError::Runtime)?;
        Ok(stop)
    }

    /// Asks the import to end.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits, but no longer than until it is asked to end.
    pub(crate) fn wait(&self, time: Duration) {
        let begun = Instant::now();
        while !self.is_set() {
            let left = time.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(SLICE));
        }
    }
}

#[cfg(unix)]
async fn interrupted() -> std::io::Result<()> {
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
    tokio::select! {
        pressed = signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn interrupted() -> std::io::Result<()> {
    signal::ctrl_c().await
}

//! Places for what waits for a disk and belongs to no log that is open: the registry, the server's own log.
//!
//! All keys of one tenant ([`crate::lines`]) have half of the places at most, and one at a time for making logs, which takes as long as there are logs. To end a key, and to lock
//! a log, there are places that nothing else takes, half of them for one tenant as well: whoever fills all others keeps nobody from it. Within a share it is first come, first served.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::shares::Shares;

/// Places for ending and locking alone.
const ENDING_PLACES: usize = 8;
/// Logs that one tenant may be making at a time.
const MAKING_PLACES: usize = 1;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A log is made.
    Making,
    /// A key is ended, a log locked or unlocked.
    Ending,
    /// Anything else.
    Other,
}

/// All places.
pub(crate) struct Aside {
    all: Places,
    ending: Places,
    making: Shares,
}

/// Places, and how many of them are whose.
struct Places {
    all: Arc<Semaphore>,
    shares: Shares,
}

/// A place, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Place {
    _held: Vec<OwnedSemaphorePermit>,
}

impl Places {
    fn new(count: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(count)), shares: Shares::of_places((count / 2).max(1)) }
    }
}

impl Aside {
    pub(crate) fn new(places: usize) -> Self {
        Self { all: Places::new(places), ending: Places::new(ENDING_PLACES), making: Shares::of_places(MAKING_PLACES) }
    }

    /// Waits for a place.
    pub(crate) async fn place(&self, tenant: &str, what: What) -> Place {
        let places = if what == What::Ending { &self.ending } else { &self.all };
        let making = (what == What::Making).then(|| self.making.of(tenant));
        // What is one's own first: who waits for that takes nothing from the others.
        let order = making.into_iter().chain([places.shares.of(tenant), Arc::clone(&places.all)]);
        let mut held = Vec::new();
        for semaphore in order {
            // None of them is ever closed.
            held.extend(semaphore.acquire_owned().await.ok());
        }
        Place { _held: held }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future as _,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    /// A place, where there is one now.
    fn now(aside: &Aside, tenant: &str, what: What) -> Option<Place> {
        match pin!(aside.place(tenant, what)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => Some(place),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_tenant_has_half_of_the_places_and_makes_one_log_at_a_time() {
        let aside = Aside::new(16);
        let making = now(&aside, "a", What::Making).unwrap();
        assert!(now(&aside, "a", What::Making).is_none(), "one at a time");
        assert!(now(&aside, "b", What::Making).is_some(), "another has its own");
        let mut held: Vec<_> = (1..8).map(|_| now(&aside, "a", What::Other).unwrap()).collect();
        assert!(now(&aside, "a", What::Other).is_none(), "that is half of them");
        held.extend((0..8).map(|_| now(&aside, "b", What::Other).unwrap()));
        for tenant in ["b", "c"] {
            assert!(now(&aside, tenant, What::Other).is_none(), "there are no more");
        }
        // Where all of them are taken keys are ended, and there too one tenant does not have everything.
        let ending: Vec<_> = (0..ENDING_PLACES / 2).map(|_| now(&aside, "a", What::Ending).unwrap()).collect();
        assert!(now(&aside, "a", What::Ending).is_none() && now(&aside, "b", What::Ending).is_some());
        drop((ending, making));
        assert!(now(&aside, "a", What::Ending).is_some() && now(&aside, "a", What::Making).is_some());
    }

    #[test]
    fn where_there_is_one_place_it_is_for_whoever_comes() {
        let aside = Aside::new(1);
        let held = now(&aside, "a", What::Making).unwrap();
        assert!(now(&aside, "b", What::Other).is_none());
        drop(held);
        assert!(now(&aside, "b", What::Other).is_some());
    }
}

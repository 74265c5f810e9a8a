//! Refusals on record, in a measure that no attack can make large.
//!
//! In a window of a minute the first refusal of each kind and subscriber is an event at once, up to [`AT_ONCE`] of them. Everything else is counted, and told when the window ends: one event for each kind,
//! *and 4,211 more from 37 addresses*, with those that were refused most. So a window has at most [`AT_ONCE`] events and one for each kind, whatever happens; and nothing is written while nothing is refused.
//!
//! At most [`COUNTED`] kinds and subscribers are told apart in a window. Refusals of further ones are counted together, and the number of addresses is then said to be a lower bound.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Method, Uri, request::Parts};
use indelible_core::event::{Actor, Context, Event, Kind, Outcome, Severity, Target};
use serde_json::json;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};

use crate::{audit::text, journal::Journal, network::subscriber, request_id::RequestId};

/// Events of a window that are told at once.
pub const AT_ONCE: usize = 32;
/// Kinds and subscribers that are told apart in a window: about 64 bytes each.
pub const COUNTED: usize = 8192;
/// How long a window is.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that the end of a window names.
const NAMED: usize = 10;

/// What was refused, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refused {
    /// Somebody asked too often.
    Rate,
    /// The address is not let in.
    Address,
    /// The body is too large.
    Size,
    /// The body came too slowly.
    Slow,
    /// Whoever asked is not who they say they are: for the host to note.
    Identity,
}

impl Refused {
    const ALL: [Self; 5] = [Self::Rate, Self::Address, Self::Size, Self::Slow, Self::Identity];

    /// Its word, as it stands behind `http.refuse.` in an action.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Address => "address",
            Self::Size => "size",
            Self::Slow => "slow",
            Self::Identity => "identity",
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Rate => "asked too often",
            Self::Address => "the address is not let in",
            Self::Size => "the body is too large",
            Self::Slow => "the body came too slowly",
            Self::Identity => "not who they say they are",
        }
    }

    fn event(self, actor: Actor) -> Event {
        Event::new(format!("http.refuse.{}", self.as_str()), actor)
            .kind(Kind::Security)
            .outcome(Outcome::Denied)
            .severity(Severity::Notice)
    }
}

/// Puts refusals on record. It is cheap to clone, and given to each layer that refuses: they share the bounds.
#[derive(Clone)]
pub struct Refusals {
    journal: Journal,
    window: Arc<Mutex<Option<Window>>>,
}

struct Window {
    ends: Instant,
    told: usize,
    counts: HashMap<(Refused, Option<IpAddr>), Count>,
    /// Of those that found no place.
    others: HashMap<Refused, u64>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    /// Refusals that were not told at once.
    more: u64,
}

impl Refusals {
    /// Refusals that are recorded beside the requests.
    #[must_use]
    pub fn new(journal: &Journal) -> Self {
        Self { journal: journal.clone(), window: Arc::default() }
    }

    /// Notes that a request was refused. The layers do; a host may for its own refusals.
    pub fn note(&self, refused: Refused, address: Option<IpAddr>, parts: &Parts) {
        self.note_brief(refused, address, &Brief::of(parts));
    }

    pub(crate) fn note_brief(&self, refused: Refused, address: Option<IpAddr>, brief: &Brief) {
        let now = Instant::now();
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(over) = window.take_if(|window| window.ends <= now) {
            self.tell(over);
        }
        let window = window.get_or_insert_with(|| self.begin(now));
        if window.count(refused, address.map(subscriber)) {
            self.journal.beside(first(refused, address, brief));
        }
    }

    /// Tells at once what was counted so far, when a program stops; [`Journal::flush`] comes after it.
    pub fn close(&self) {
        if let Some(window) = self.window.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.tell(window);
        }
    }

    /// A new window, with a task that ends it where no refusal comes behind it.
    fn begin(&self, now: Instant) -> Window {
        let ends = now + WINDOW;
        if let Ok(runtime) = Handle::try_current() {
            let (journal, window) = (self.journal.clone(), Arc::downgrade(&self.window));
            drop(runtime.spawn(async move {
                sleep_until(ends).await;
                let Some(window) = window.upgrade() else { return };
                let refusals = Self { journal, window };
                let mut window = refusals.window.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(over) = window.take_if(|window| window.ends <= Instant::now()) {
                    refusals.tell(over);
                }
            }));
        }
        Window { ends, told: 0, counts: HashMap::new(), others: HashMap::new() }
    }

    /// One event for each kind of which there was more than was told.
    fn tell(&self, mut window: Window) {
        for refused in Refused::ALL {
            if let Some(event) = window.summary(refused) {
                self.journal.beside(event);
            }
        }
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Refusals").finish_non_exhaustive()
    }
}

impl Window {
    /// Counts a refusal; whether it is to be told at once.
    fn count(&mut self, refused: Refused, address: Option<IpAddr>) -> bool {
        let (room, key) = (self.counts.len() < COUNTED, (refused, address));
        if let Some(count) = self.counts.get_mut(&key) {
            count.more += 1;
            return false;
        }
        if !room {
            *self.others.entry(refused).or_default() += 1;
            return false;
        }
        let at_once = self.told < AT_ONCE;
        self.told += usize::from(at_once);
        self.counts.insert(key, Count { more: u64::from(!at_once) });
        at_once
    }

    fn summary(&mut self, refused: Refused) -> Option<Event> {
        let rows = self.counts.iter().filter(|((kind, _), count)| *kind == refused && count.more > 0);
        let mut rows: Vec<(Option<IpAddr>, u64)> = rows.map(|((_, address), count)| (*address, count.more)).collect();
        let others = self.others.remove(&refused).unwrap_or_default();
        let more = rows.iter().map(|(_, more)| more).sum::<u64>() + others;
        if more == 0 {
            return None;
        }
        rows.sort_unstable_by_key(|(address, more)| (std::cmp::Reverse(*more), *address));
        let addresses = rows.iter().filter(|(address, _)| address.is_some()).count();
        let named: Vec<_> = rows
            .iter()
            .filter_map(|(address, more)| Some(json!({ "address": (*address)?.to_string(), "more": more })))
            .take(NAMED)
            .collect();
        let at_least = if others > 0 { "at least " } else { "" };
        let from =
            if addresses == 1 { "1 address".to_owned() } else { format!("{} addresses", grouped(addresses as u64)) };
        let reason = format!("{}: and {} more from {at_least}{from}", refused.reason(), grouped(more));
        let details = json!({
            "addresses": addresses, "addresses_are_all": others == 0, "more": more, "most": named, "seconds": WINDOW.as_secs(),
        });
        Some(refused.event(Actor::service("indelible-middleware")).reason(reason).details(details))
    }
}

/// What of a request is still known when its head has been given away.
#[derive(Clone)]
pub(crate) struct Brief {
    method: Method,
    uri: Uri,
    pub(crate) request_id: Option<String>,
}

impl Brief {
    pub(crate) fn of(parts: &Parts) -> Self {
        let request_id = RequestId::of(&parts.extensions).map(str::to_owned);
        Self { method: parts.method.clone(), uri: parts.uri.clone(), request_id }
    }
}

/// The first refusal of a kind and address.
fn first(refused: Refused, address: Option<IpAddr>, brief: &Brief) -> Event {
    let text_of = |address: IpAddr| address.to_canonical().to_string();
    let who = address.map_or_else(|| "unknown".to_owned(), text_of);
    let mut context = Context::new();
    context.source_ip = address.map(text_of);
    context.request_id.clone_from(&brief.request_id);
    let method = text::cut(brief.method.as_str(), 32);
    refused
        .event(Actor::new("address", who))
        .reason(refused.reason())
        .context(context)
        .target(Target::new("path", text::path(&brief.uri)))
        .details(json!({ "http": { "method": method } }))
}

/// A number as people write it: `4,211`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        Window { ends: Instant::now(), told: 0, counts: HashMap::new(), others: HashMap::new() }
    }

    #[test]
    fn numbers_are_written_as_people_do() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (4211, "4,211"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn what_was_told_is_not_counted_and_the_rest_is() {
        let (mut window, address) = (window(), |last: u8| Some(IpAddr::from([192, 0, 2, last])));
        assert!(window.count(Refused::Rate, address(1)));
        assert!(!window.count(Refused::Rate, address(1)) && window.count(Refused::Rate, address(2)));
        assert!(window.count(Refused::Size, address(1)) && window.count(Refused::Rate, None));
        for _ in 0..4210 {
            window.count(Refused::Rate, address(2));
        }
        let event = window.summary(Refused::Rate).unwrap();
        assert_eq!(event.reason.unwrap(), "asked too often: and 4,211 more from 2 addresses");
        let details = event.details.unwrap();
        assert_eq!(details["most"][0], json!({ "address": "192.0.2.2", "more": 4210 }));
        assert!(window.summary(Refused::Size).is_none(), "all of it was told");
    }

    #[test]
    fn a_window_is_bounded_whoever_comes() {
        let mut window = window();
        let told =
            (0..20_000_u32).filter(|number| window.count(Refused::Rate, Some(IpAddr::V4((*number).into())))).count();
        assert_eq!((told, window.counts.len()), (AT_ONCE, COUNTED));
        let event = window.summary(Refused::Rate).unwrap();
        assert_eq!(event.reason.unwrap(), "asked too often: and 19,968 more from at least 8,160 addresses");
        assert_eq!(event.details.unwrap()["most"].as_array().unwrap().len(), NAMED);
    }
}

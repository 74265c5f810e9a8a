//! Rates: how often somebody may ask, by address, by key, by who they are.
//!
//! Each rule has a bucket for each who is counted by it ([`crate::bucket`]). A request is granted where every rule that it falls under has one left, and then takes one of each; a
//! refused request takes none. Addresses are counted by subscriber (of IPv6 the /64).
//!
//! **The table is bounded** ([`DEFAULT_COUNTED`], [`RateLayer::counted`]). Buckets that are full again are forgotten first, which changes nothing. Where all of them are in use, who comes new shares one bucket with all
//! others who come new under the same rule: nobody who is counted already gains or loses by it, an attack from very many addresses does not open the limit, and newcomers are slowed and not shut out.
//!
//! Who is counted is kept as a keyed hash, so the table holds no key and no name. Nothing is on disk, and nothing is shared with other processes.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, request::Parts};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Answered,
    bucket::{Allowance, Bucket, Pace},
    clients::{self, Clients, Unknown},
    future,
    network::subscriber,
    problem::{AnswerBody, Answering, Problem, passed},
    refusals::{Refusals, Refused},
};

/// How many are counted by default, over all rules: about 64 bytes each.
pub const DEFAULT_COUNTED: usize = 65_536;
/// Between two looks for buckets that are full again, so that a table which is in use is not searched with every request.
const SWEEP_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// A pace with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    name: &'static str,
    pace: Pace,
}

impl Tier {
    /// 100 requests a minute, 16 of them at once.
    pub const STANDARD: Self = Self::new("standard", Pace::per_minute(100));
    /// 1,000 requests a minute, 166 of them at once.
    pub const HIGH: Self = Self::new("high", Pace::per_minute(1000));

    /// A tier of one's own. The name goes out in headers.
    #[must_use]
    pub const fn new(name: &'static str, pace: Pace) -> Self {
        Self { name, pace }
    }
}

type Counted = Arc<dyn Fn(&Parts) -> Option<(String, Tier)> + Send + Sync>;

#[derive(Clone)]
enum Who {
    Address(Tier),
    Named(Counted),
}

#[derive(Clone)]
struct Rule {
    name: &'static str,
    who: Who,
}

/// Holds requests against rates.
///
/// Who asks too often is answered 429 with `Retry-After`. Every answer has `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers) with an item for each rule that the request fell under; `t` is
/// the time until there is one more than `r`.
#[derive(Clone)]
pub struct RateLayer {
    clients: Clients,
    rules: Vec<Rule>,
    table: Arc<Table>,
    refusals: Option<Refusals>,
}

impl RateLayer {
    /// A layer without rules yet.
    #[must_use]
    pub fn new(clients: Clients) -> Self {
        Self { clients, rules: Vec::new(), table: Arc::new(Table::new(DEFAULT_COUNTED)), refusals: None }
    }

    /// Counts by address. A request whose address is not known is refused.
    #[must_use]
    pub fn per_address(self, tier: Tier) -> Self {
        self.rule(Rule { name: "address", who: Who::Address(tier) })
    }

    /// Counts by key: `key` says which one a request shows. Who shows none does not fall under this rule, so have one by address as well.
    #[must_use]
    pub fn per_key(self, tier: Tier, key: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        let who = Who::Named(Arc::new(move |parts| key(parts).map(|key| (key, tier))));
        self.rule(Rule { name: "key", who })
    }

    /// Counts by who somebody is, each by a tier of their own. A layer that finds out who it is has to stand before this one.
    #[must_use]
    pub fn per_principal(self, principal: impl Fn(&Parts) -> Option<(String, Tier)> + Send + Sync + 'static) -> Self {
        self.rule(Rule { name: "principal", who: Who::Named(Arc::new(principal)) })
    }

    fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// How many are counted at a time, over all rules; at least one.
    #[must_use]
    pub fn counted(self, most: usize) -> Self {
        Self { table: Arc::new(Table::new(most)), ..self }
    }

    /// Puts refusals on record.
    #[must_use]
    pub fn refusals(self, refusals: Refusals) -> Self {
        Self { refusals: Some(refusals), ..self }
    }

    /// The buckets that a request is held against.
    fn falls_under(&self, parts: &Parts) -> Result<Vec<Held>, Unknown> {
        let mut held = Vec::new();
        for (number, rule) in self.rules.iter().enumerate() {
            let (name, tier) = match &rule.who {
                Who::Address(tier) => (Some(subscriber(self.clients.of(parts)?).to_string()), *tier),
                Who::Named(who) => match who(parts) {
                    Some((name, tier)) => (Some(name), tier),
                    None => continue,
                },
            };
            held.push(Held { rule: rule.name, tier, place: self.table.place(number, name.as_deref()), number });
        }
        Ok(held)
    }
}

impl fmt::Debug for RateLayer {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: Vec<_> = self.rules.iter().map(|rule| rule.name).collect();
        to.debug_struct("RateLayer").field("rules", &rules).finish_non_exhaustive()
    }
}

/// One rule that a request falls under.
struct Held {
    rule: &'static str,
    tier: Tier,
    place: Place,
    number: usize,
}

/// Who is counted, by which rule: two hashes under different keys, so that nobody finds two names with one bucket.
type Place = (usize, u64, u64);

struct Table {
    keys: (RandomState, RandomState),
    most: usize,
    buckets: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    of: HashMap<Place, Bucket>,
    swept: Option<Instant>,
}

impl Table {
    fn new(most: usize) -> Self {
        let keys = (RandomState::new(), RandomState::new());
        Self { keys, most: most.max(1), buckets: Mutex::default() }
    }

    /// Where somebody is counted; `None` is those who find no room.
    fn place(&self, rule: usize, name: Option<&str>) -> Place {
        (rule, self.keys.0.hash_one(name), self.keys.1.hash_one(name))
    }

    /// Takes one of each bucket, or of none where one of them is empty.
    fn take(&self, held: &[Held], now: Instant) -> Vec<Allowance> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let room = buckets.room(held, self.most, now);
        let places: Vec<Place> = held
            .iter()
            .map(|one| match room || buckets.of.contains_key(&one.place) {
                true => one.place,
                false => self.place(one.number, None),
            })
            .collect();
        let at = |buckets: &Buckets, place: &Place| buckets.of.get(place).copied().unwrap_or(Bucket::new(now));
        let granted = held.iter().zip(&places).all(|(one, place)| at(&buckets, place).has_one(one.tier.pace, now));
        let rows = held.iter().zip(places);
        rows.map(|(one, place)| {
            let mut bucket = at(&buckets, &place);
            let allowance = if granted { bucket.take(one.tier.pace, now) } else { bucket.look(one.tier.pace, now) };
            if granted {
                buckets.of.insert(place, bucket);
            }
            allowance
        })
        .collect()
    }
}

impl Buckets {
    /// Whether all who are new have room, perhaps after those that are full again were forgotten.
    fn room(&mut self, held: &[Held], most: usize, now: Instant) -> bool {
        let new = held.iter().filter(|one| !self.of.contains_key(&one.place)).count();
        if self.of.len() + new <= most {
            return true;
        }
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_EVERY) {
            self.swept = Some(now);
            self.of.retain(|_, bucket| !bucket.is_full(now));
        }
        let new = held.iter().filter(|one| !self.of.contains_key(&one.place)).count();
        self.of.len() + new <= most
    }
}

/// Both headers. They are added to what others have set: both are lists.
fn announce(headers: &mut HeaderMap, held: &[Held], allowances: &[Allowance]) {
    let (mut policies, mut limits) = (Vec::new(), Vec::new());
    for (Held { rule, tier, .. }, allowance) in held.iter().zip(allowances) {
        let plain = tier.name.chars().filter(|sign| sign.is_ascii_graphic() && !matches!(sign, '"' | '\\'));
        let name = format!("\"{}-by-{rule}\"", plain.collect::<String>());
        policies.push(format!("{name};q={};w=60", allowance.limit));
        let after = if allowance.more_in == 0 { String::new() } else { format!(";t={}", allowance.more_in) };
        limits.push(format!("{name};r={}{after}", allowance.remaining));
    }
    for (name, items) in [(POLICY, policies), (LIMIT, limits)] {
        if let Ok(value) = HeaderValue::from_str(&items.join(", "))
            && !items.is_empty()
        {
            headers.append(name, value);
        }
    }
}

impl<S> Layer<S> for RateLayer {
    type Service = Rates<S>;

    fn layer(&self, inner: S) -> Rates<S> {
        Rates { inner, layer: self.clone() }
    }
}

/// The service of a [`RateLayer`]. All services of one layer count together.
#[derive(Clone, Debug)]
pub struct Rates<S> {
    inner: S,
    layer: RateLayer,
}

impl<S, Q, B> Service<Request<Q>> for Rates<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Answering,
{
    type Response = Response<AnswerBody<B>>;
    type Error = S::Error;
    type Future = Answered<Self::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let held = match self.layer.falls_under(&parts) {
            Ok(held) => held,
            Err(error) => return future::ready(Ok(clients::unknown(&error, &parts).response())),
        };
        let allowances = self.layer.table.take(&held, tokio::time::Instant::now().into_std());
        if allowances.iter().all(|allowance| allowance.granted) {
            let answer = self.inner.call(Request::from_parts(parts, body));
            return Box::pin(async move {
                let mut response = answer.await.map(passed)?;
                announce(response.headers_mut(), &held, &allowances);
                Ok(response)
            });
        }
        if let Some(refusals) = &self.layer.refusals {
            refusals.note(Refused::Rate, self.layer.clients.of(&parts).ok(), &parts);
        }
        let wait = allowances.iter().map(|allowance| allowance.reset).max().unwrap_or(1).max(1);
        let text = format!("too many requests: try again in {wait} s");
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate", text).after(wait).answering(&parts);
        let mut response = problem.response();
        announce(response.headers_mut(), &held, &allowances);
        future::ready(Ok(response))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn held(table: &Table, rows: &[(usize, &str, Tier)]) -> Vec<Held> {
        let held = |(number, name, tier): &(usize, &str, Tier)| Held {
            rule: "key",
            tier: *tier,
            place: table.place(*number, Some(name)),
            number: *number,
        };
        rows.iter().map(held).collect()
    }

    fn is_granted(table: &Table, rows: &[(usize, &str, Tier)], now: Instant) -> bool {
        table.take(&held(table, rows), now).iter().all(|allowance| allowance.granted)
    }

    const TWO: Tier = Tier::new("two", Pace::per_minute(60).burst(2));
    const ONE: Tier = Tier::new("one", Pace::per_minute(60).burst(1));

    #[test]
    fn a_refused_request_takes_nothing_from_any_bucket() {
        let (table, now) = (Table::new(100), Instant::now());
        assert!(is_granted(&table, &[(0, "a", TWO), (1, "x", ONE)], now));
        assert!(!is_granted(&table, &[(0, "a", TWO), (1, "x", ONE)], now), "x has none left");
        assert!(is_granted(&table, &[(0, "a", TWO), (1, "y", ONE)], now), "a has still one");
        assert!(!is_granted(&table, &[(0, "a", TWO)], now));
        assert!(is_granted(&table, &[(1, "a", TWO)], now), "another rule counts apart");
    }

    #[test]
    fn a_full_table_forgets_only_full_buckets_and_newcomers_share_one() {
        let (table, start) = (Table::new(3), Instant::now());
        for name in ["a", "b", "c"] {
            assert!(is_granted(&table, &[(0, name, ONE)], start));
        }
        let soon = start + Duration::from_millis(1);
        assert!(is_granted(&table, &[(0, "d", ONE)], soon), "the first who finds no room has the shared bucket");
        assert!(!is_granted(&table, &[(0, "e", ONE)], soon), "the second finds it empty");
        assert!(!is_granted(&table, &[(0, "a", ONE)], soon), "who is counted is not forgotten for it");
        let later = start + Duration::from_millis(1500);
        assert!(is_granted(&table, &[(0, "e", ONE)], later), "all are full again, and forgotten");
        assert!(is_granted(&table, &[(0, "a", ONE)], later));
        for number in 0..1000 {
            is_granted(&table, &[(0, &number.to_string(), ONE)], later);
        }
        assert!(table.buckets.lock().unwrap().of.len() <= 4, "the table, and the shared bucket of the rule");
    }

    #[test]
    fn headers_have_an_item_for_each_rule() {
        let table = Table::new(10);
        let rows = held(&table, &[(0, "a", TWO), (1, "b", Tier::new("o\"d\\d\n", Pace::per_minute(6)))]);
        let mut headers = HeaderMap::new();
        announce(&mut headers, &rows, &table.take(&rows, Instant::now()));
        assert_eq!(headers["ratelimit-policy"], "\"two-by-key\";q=60;w=60, \"odd-by-key\";q=6;w=60");
        assert_eq!(headers["ratelimit"], "\"two-by-key\";r=1;t=1, \"odd-by-key\";r=9;t=10");
        let mut none = HeaderMap::new();
        announce(&mut none, &[], &[]);
        assert!(none.is_empty());
    }
}

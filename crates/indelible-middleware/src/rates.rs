//! Rates: how often somebody may ask, by address, by key, by who they are.
//!
//! Each rule has a bucket for each who is counted by it ([`crate::bucket`]). A request is granted where every rule that it falls under has one left, and then takes one of each; a
//! refused request takes none. Addresses are counted by subscriber (of IPv6 the /64).
//!
//! The table of buckets is bounded ([`DEFAULT_COUNTED`], [`RateLayer::counted`]); what becomes of those who find no room in it is said in [`crate::buckets`].

use std::{fmt, ops::ControlFlow, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, request::Parts};
use tower_layer::Layer;

use crate::{
    bucket::{Allowance, Pace},
    buckets::{Buckets, Place},
    clients::{self, Clients, Unknown},
    gate::{Gate, Gated},
    network::subscriber,
    problem::{AnswerBody, Problem},
    refusals::{Refusals, Refused},
};

/// How many are counted by default, over all rules: about 64 bytes each.
pub const DEFAULT_COUNTED: usize = 65_536;

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
    table: Arc<Buckets>,
    refusals: Option<Refusals>,
}

impl RateLayer {
    /// A layer without rules yet.
    #[must_use]
    pub fn new(clients: Clients) -> Self {
        Self { clients, rules: Vec::new(), table: Arc::new(Buckets::new(DEFAULT_COUNTED)), refusals: None }
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
        Self { table: Arc::new(Buckets::new(most)), ..self }
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
                Who::Address(tier) => (subscriber(self.clients.of(parts)?).to_string(), *tier),
                Who::Named(who) => match who(parts) {
                    Some(named) => named,
                    None => continue,
                },
            };
            held.push(Held { rule: rule.name, tier, place: self.table.place(number, &name) });
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
#[derive(Debug)]
pub struct Held {
    rule: &'static str,
    tier: Tier,
    place: Place,
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
        Gated::new(inner, self.clone())
    }
}

/// The service of a [`RateLayer`]. All services of one layer count together.
pub type Rates<S> = Gated<S, RateLayer>;

impl Gate for RateLayer {
    type Passed = (Vec<Held>, Vec<Allowance>);

    fn admit<B>(&self, parts: &mut Parts) -> ControlFlow<Response<AnswerBody<B>>, Self::Passed> {
        let held = match self.falls_under(parts) {
            Ok(held) => held,
            Err(error) => return ControlFlow::Break(clients::unknown(&error, parts).response()),
        };
        let rows: Vec<_> = held.iter().map(|one| (one.place, one.tier.pace)).collect();
        let allowances = self.table.take(&rows, tokio::time::Instant::now().into_std());
        if allowances.iter().all(|allowance| allowance.granted) {
            return ControlFlow::Continue((held, allowances));
        }
        if let Some(refusals) = &self.refusals {
            refusals.note(Refused::Rate, self.clients.of(parts).ok(), parts);
        }
        let wait = allowances.iter().map(|allowance| allowance.reset).max().unwrap_or(1).max(1);
        let text = format!("too many requests: try again in {wait} s");
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate", text).after(wait).answering(parts);
        let mut response = problem.response();
        announce(response.headers_mut(), &held, &allowances);
        ControlFlow::Break(response)
    }

    fn tell((held, allowances): &Self::Passed, headers: &mut HeaderMap) {
        announce(headers, held, allowances);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn headers_have_an_item_for_each_rule() {
        let table = Buckets::new(10);
        let two = Tier::new("two", Pace::per_minute(60).burst(2));
        let odd = Tier::new("o\"d\\d\n", Pace::per_minute(6));
        let held = |number, name, tier| Held { rule: "key", tier, place: table.place(number, name) };
        let rows = [held(0, "a", two), held(1, "b", odd)];
        let taken = table.take(&rows.each_ref().map(|one| (one.place, one.tier.pace)), Instant::now());
        let mut headers = HeaderMap::new();
        announce(&mut headers, &rows, &taken);
        assert_eq!(headers["ratelimit-policy"], "\"two-by-key\";q=60;w=60, \"odd-by-key\";q=6;w=60");
        assert_eq!(headers["ratelimit"], "\"two-by-key\";r=1;t=1, \"odd-by-key\";r=9;t=10");
        let mut none = HeaderMap::new();
        announce(&mut none, &[], &[]);
        assert!(none.is_empty());
    }
}

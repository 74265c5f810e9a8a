//! A week at Fernhill Clinic & Books, as events: made up, and the same for the same seed.
//!
//! Fernhill is a small practice with a bookshop on the ground floor. Twelve people work there, six services run there, and
//! two AI agents help: one drafts intake notes for the doctors, one reorders books. The week runs from Monday 2026-03-02
//! to Sunday 2026-03-08 (UTC), busy by day and quiet by night.
//!
//! On the Thursday night there is an **incident**. From 22:41 on, addresses of one network try passwords that leaked
//! elsewhere against every account. One fits: `tomas.lindqvist`, who had used it twice, signs in without a second factor
//! from a country where nobody of Fernhill is. What follows is a run of exports, one patient record after the other, and at
//! the end, at 00:09, an attempt to delete the audit trail itself, which is denied. The event after the last one of the
//! incident is again an ordinary one: nobody noticed.
//!
//! Nothing here reads a clock or draws randomness, and no person, address or record is real: addresses are from the ranges
//! that are reserved for documentation.

use serde_json::{Value, json};

use indelible_core::time::Micros;

use crate::event::{Actor, Agent, Change, Context, Details, Event, Target, digest_id};

/// 2026-03-02T00:00:00Z, a Monday.
const MONDAY_MICROS: u64 = 1_772_409_600_000_000;
const HOUR_MICROS: u64 = 3_600_000_000;

/// Thursday 22:41 to Friday 00:09, counted from Monday.
const INCIDENT_START: u64 = (3 * 24 + 22) * HOUR_MICROS + 41 * HOUR_MICROS / 60;
const INCIDENT_MICROS: u64 = 88 * HOUR_MICROS / 60;

/// One in so many events is of the incident.
const INCIDENT_SHARE: u64 = 40;

const NETWORK: &str = "192.0.2";
const ATTACKERS: &str = "203.0.113";

/// Events of the week in their order: `count` of them, whatever the count spread over the whole week.
///
/// Each item is the JSON text of one event, about 500 bytes, with its own id. The same `seed` and `count` give the same bytes.
pub fn samples(seed: u64, count: u64) -> impl Iterator<Item = Vec<u8>> {
    let bad = if count < 20 { count / 4 } else { (count / INCIDENT_SHARE).max(5) };
    let week = Week { random: Random(seed), days: Days::default(), made: 0, count: count - bad };
    let incident = Incident { random: Random(seed ^ 0x5eed_0bad), made: 0, count: bad };
    Merged { week: week.peekable(), incident: incident.peekable() }
}

/// Two ordered streams as one.
struct Merged<A: Iterator, B: Iterator> {
    week: std::iter::Peekable<A>,
    incident: std::iter::Peekable<B>,
}

type Sample = (u64, Vec<u8>);

impl<A: Iterator<Item = Sample>, B: Iterator<Item = Sample>> Iterator for Merged<A, B> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let incident_first = match (self.week.peek(), self.incident.peek()) {
            (Some((ordinary, _)), Some((bad, _))) => bad < ordinary,
            (ordinary, _) => ordinary.is_none(),
        };
        let next = if incident_first { self.incident.next() } else { self.week.next() };
        next.map(|(_, text)| text)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): a counter, stirred.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`, which is small: the bias does not matter here.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    fn pick<T: Copy + Default>(&mut self, of: &[T]) -> T {
        let index = self.below(u64::try_from(of.len()).unwrap_or(1));
        usize::try_from(index).ok().and_then(|index| of.get(index)).copied().unwrap_or_default()
    }

    /// An id in the shape of a UUIDv7 at that time.
    fn id(&mut self, at: u64) -> String {
        let (millis, a, b) = ((MONDAY_MICROS + at) / 1000, self.next(), self.next());
        format!(
            "{:08x}-{:04x}-7{:03x}-{:04x}-{:012x}",
            millis >> 16,
            millis & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 48 & 0x3fff),
            b & 0xffff_ffff_ffff
        )
    }
}

/// How busy an hour of the week is.
fn weight(hour: u64) -> u64 {
    match (hour / 24, hour % 24) {
        (0..=4, 8..=11 | 13..=16) => 24,
        (0..=4, 7 | 12 | 17) => 14,
        (0..=4, 18 | 19) => 6,
        (5, 9..=13) => 8,
        _ => 2,
    }
}

/// Turns shares of the week's work into times, in rising order.
#[derive(Default)]
struct Days {
    hour: u64,
    /// The work of the hours before.
    before: u64,
}

impl Days {
    const HOURS: u64 = 7 * 24;

    fn total() -> u64 {
        (0..Self::HOURS).map(weight).sum::<u64>() * HOUR_MICROS
    }

    /// The time at which `work` of the total is done.
    fn at(&mut self, work: u64) -> u64 {
        while self.hour + 1 < Self::HOURS && work >= self.before + weight(self.hour) * HOUR_MICROS {
            self.before += weight(self.hour) * HOUR_MICROS;
            self.hour += 1;
        }
        self.hour * HOUR_MICROS + (work.saturating_sub(self.before) / weight(self.hour)).min(HOUR_MICROS - 1)
    }
}

#[derive(Clone, Copy, Default)]
struct Person {
    login: &'static str,
    name: &'static str,
    team: &'static str,
}

const fn person(login: &'static str, name: &'static str, team: &'static str) -> Person {
    Person { login, name, team }
}

const PEOPLE: [Person; 12] = [
    person("amara.okafor", "Amara Okafor", "doctors"),
    person("henrik.solberg", "Henrik Solberg", "doctors"),
    person("mei.tanaka", "Mei Tanaka", "doctors"),
    person("ruth.abelman", "Ruth Abelman", "nurses"),
    person("joao.ferreira", "João Ferreira", "nurses"),
    person("priya.raman", "Priya Raman", "reception"),
    person("tomas.lindqvist", "Tomas Lindqvist", "reception"),
    person("ellen.whitcombe", "Ellen Whitcombe", "bookshop"),
    person("samir.haddad", "Samir Haddad", "bookshop"),
    person("greta.vogel", "Greta Vogel", "accounts"),
    person("noor.vandijk", "Noor van Dijk", "it"),
    person("callum.reid", "Callum Reid", "it"),
];

const SERVICES: [&str; 6] = ["booking-api", "lab-gateway", "billing", "shop-site", "backup", "identity"];
const BROWSERS: [&str; 3] = ["Firefox/135.0 (Linux)", "Safari/18.3 (macOS)", "Chrome/133.0 (Windows)"];

struct Week {
    random: Random,
    days: Days,
    made: u64,
    count: u64,
}

impl Iterator for Week {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        if self.made == self.count {
            return None;
        }
        let total = u128::from(Days::total());
        let share = (u128::from(self.made) << 16) + u128::from(self.random.below(1 << 16));
        let work = total * share / (u128::from(self.count) << 16);
        self.made += 1;
        let at = self.days.at(u64::try_from(work).unwrap_or(u64::MAX));
        let is_open = weight(at / HOUR_MICROS) > 2;
        let mut event = match (is_open, self.random.below(100)) {
            (true, 0..=33) => self.read(),
            (true, 34..=49) => self.change(),
            (true, 50..=61) => self.sign_in(),
            (true, 62..=66) => self.administer(),
            (true, 67..=79) | (false, 0..=59) => self.call(),
            (true, 80..=93) | (false, 60..=69) => self.agent_step(),
            (_, _) => self.routine(),
        };
        Some((at, finish(&mut event, &mut self.random, at)))
    }
}

/// Sets id and time, and writes.
fn finish(event: &mut Event<'_>, random: &mut Random, at: u64) -> Vec<u8> {
    event.id = random.id(at).into();
    event.occurred_at = Micros(i64::try_from(MONDAY_MICROS + at).unwrap_or(i64::MAX)).to_string().into();
    event.tenant = "fernhill".into();
    serde_json::to_vec(event).unwrap_or_default()
}

impl Week {
    /// An event of someone at a desk.
    fn by_someone(&mut self, person: Person) -> Event<'static> {
        let r = &mut self.random;
        let context = Context {
            source_ip: format!("{NETWORK}.{}", r.between(10, 60)).into(),
            user_agent: r.pick(&BROWSERS).into(),
            request_id: format!("req-{:012x}", r.next() >> 16).into(),
            location: "GB".into(),
            ..Context::default()
        };
        let session = format!("s-{:08x}", r.next() >> 32);
        Event {
            severity: "info".into(),
            outcome: "success".into(),
            actor: Actor { session: session.into(), ..user(person) },
            context,
            ..Event::default()
        }
    }

    fn record(&mut self) -> (Target<'static>, String) {
        let number = self.random.between(1001, 1240);
        (target("patient_record", format!("rec-{number}"), ""), format!("patient-{number}"))
    }

    fn read(&mut self) -> Event<'static> {
        let person = self.random.pick(&PEOPLE);
        let mut event = self.by_someone(person);
        event.kind = "data_access".into();
        if matches!(person.team, "doctors" | "nurses" | "reception") {
            let (record, subject) = self.record();
            event.action = self.random.pick(&["record.read", "record.read", "record.print"]).into();
            event.targets.push(record);
            event.subjects.push(subject.into());
            event.clearance = Some(3);
            if person.team == "reception" && self.random.below(12) == 0 {
                event.outcome = "denied".into();
                event.severity = "notice".into();
                event.reason = "reception may read appointments, not clinical notes".into();
            }
        } else {
            let number = self.random.between(1, 90);
            event.action = "document.read".into();
            event.targets.push(target("document", format!("doc-{number:04}"), self.random.pick(&DOCUMENTS)));
        }
        event
    }

    fn change(&mut self) -> Event<'static> {
        let person = self.random.pick(&PEOPLE);
        let mut event = self.by_someone(person);
        event.kind = "data_change".into();
        match person.team {
            "doctors" | "nurses" => {
                let (record, subject) = self.record();
                event.action = "record.update".into();
                event.targets.push(record);
                event.subjects.push(subject.into());
                event.clearance = Some(3);
                event.retention = "clinical".into();
                let (before, after) = (self.random.between(60, 95), self.random.between(60, 95));
                event.change = change(json!({"pulse": before}), json!({"pulse": after}));
            }
            "reception" => {
                event.action = "appointment.move".into();
                event.targets.push(target("appointment", format!("apt-{}", self.random.between(7000, 7999)), ""));
                let (day, before, after) =
                    (self.random.between(3, 20), self.random.between(8, 12), self.random.between(13, 17));
                let at = |hour: u64| json!({"at": format!("2026-03-{day:02}T{hour:02}:00:00Z")});
                event.change = change(at(before), at(after));
            }
            _ => {
                event.action = "stock.update".into();
                let book = self.random.pick(&BOOKS);
                event.targets.push(target("book", format!("isbn-97800000{:05}", self.random.between(1, 400)), book));
                let (before, sold) = (self.random.between(4, 30), self.random.between(1, 3));
                event.change = change(json!({"copies": before}), json!({"copies": before - sold}));
            }
        }
        event
    }

    fn sign_in(&mut self) -> Event<'static> {
        let person = self.random.pick(&PEOPLE);
        let mut event = self.by_someone(person);
        event.kind = "auth".into();
        event.targets.push(target("account", person.login.to_owned(), ""));
        match self.random.below(10) {
            0 => {
                event.action = "user.login".into();
                event.outcome = "failure".into();
                event.severity = "notice".into();
                event.reason = "wrong password".into();
                event.actor.session = "".into();
            }
            1..=3 => event.action = "user.logout".into(),
            _ => {
                event.action = "user.login".into();
                let factor = self.random.pick(&["passkey", "passkey", "totp"]);
                event.details = Some(Details::Made(json!({"method": "password", "second_factor": factor})));
            }
        }
        event
    }

    fn administer(&mut self) -> Event<'static> {
        let admin = PEOPLE.into_iter().rev().nth(usize::from(self.random.below(2) == 1)).unwrap_or_default();
        let mut event = self.by_someone(admin);
        let about = self.random.pick(&PEOPLE);
        event.kind = "admin".into();
        event.severity = "notice".into();
        event.tags.push("change-approved".into());
        event.targets.push(target("account", about.login.to_owned(), about.name));
        let ticket = format!("FH-{}", self.random.between(300, 420));
        event.details = Some(Details::Made(json!({"ticket": ticket})));
        match self.random.below(3) {
            0 => {
                event.action = "role.grant".into();
                event.change = change(json!({"roles": [about.team]}), json!({"roles": [about.team, "duty-lead"]}));
            }
            1 => {
                event.action = "role.revoke".into();
                event.change = change(json!({"roles": [about.team, "duty-lead"]}), json!({"roles": [about.team]}));
            }
            _ => event.action = "user.reset_password".into(),
        }
        event
    }

    fn service(&mut self, service: &'static str) -> Event<'static> {
        let r = &mut self.random;
        let context = Context {
            source_ip: format!("{NETWORK}.{}", r.between(200, 210)).into(),
            request_id: format!("req-{:012x}", r.next() >> 16).into(),
            trace_id: format!("{:016x}{:016x}", r.next(), r.next()).into(),
            node: format!("fernhill-{}", r.between(1, 2)).into(),
            component: service.into(),
            ..Context::default()
        };
        Event {
            severity: "info".into(),
            outcome: "success".into(),
            actor: Actor { kind: "service".into(), id: service.into(), ..Actor::default() },
            context,
            ..Event::default()
        }
    }

    fn call(&mut self) -> Event<'static> {
        let name = self.random.pick(&SERVICES);
        let mut event = self.service(name);
        let (action, path) = self.random.pick(&[
            ("appointments.list", "/v2/appointments"),
            ("results.create", "/v1/lab/results"),
            ("invoices.create", "/v1/invoices"),
            ("orders.create", "/shop/orders"),
        ]);
        event.kind = "api".into();
        event.action = action.into();
        event.targets.push(target("endpoint", path.to_owned(), ""));
        let status = self.random.pick(&[200, 200, 200, 201, 204, 503]);
        if status == 503 {
            event.outcome = "failure".into();
            event.severity = "warning".into();
            event.reason = "upstream did not answer in time".into();
        }
        event.details = Some(Details::Made(json!({"status": status, "took_ms": self.random.between(3, 480)})));
        event
    }

    fn routine(&mut self) -> Event<'static> {
        let (service, action, kind) = self.random.pick(&[
            ("backup", "backup.complete", "system"),
            ("backup", "backup.verify", "system"),
            ("identity", "certificate.renew", "system"),
            ("billing", "claim.decide", "decision"),
            ("identity", "malware.scan", "security"),
        ]);
        let mut event = self.service(service);
        event.kind = kind.into();
        event.action = action.into();
        event.targets.push(target("job", format!("job-{:06x}", self.random.next() >> 40), ""));
        event.details = Some(Details::Made(json!({"items": self.random.between(1, 900)})));
        event
    }

    fn agent_step(&mut self) -> Event<'static> {
        let drafts = self.random.below(2) == 0;
        let (id, name, tool, action) = if drafts {
            ("intake-notes", "Intake notes agent", "records.draft_note", "agent.draft_note")
        } else {
            ("shelf-keeper", "Shelf keeper agent", "suppliers.order", "agent.order_books")
        };
        let person = self.random.pick(PEOPLE.get(if drafts { 0..3 } else { 7..9 }).unwrap_or_default());
        let mut event = self.service(if drafts { "lab-gateway" } else { "shop-site" });
        event.kind = "agent".into();
        event.action = action.into();
        let principal = target("user", person.login.to_owned(), person.name);
        event.actor = Actor {
            kind: "agent".into(),
            id: id.into(),
            name: name.into(),
            session: format!("run-{:08x}", self.random.next() >> 32).into(),
            on_behalf_of: vec![principal],
            ..Actor::default()
        };
        if drafts {
            let (record, subject) = self.record();
            event.targets.push(record);
            event.subjects.push(subject.into());
            event.clearance = Some(3);
        } else {
            event.targets.push(target("order", format!("ord-{}", self.random.between(5000, 5999)), ""));
        }
        let approved = self.random.below(8) > 0;
        if !approved {
            event.outcome = "denied".into();
            event.severity = "notice".into();
            event.reason = format!("{} did not approve the step", person.name).into();
        }
        event.agent = Some(Agent {
            model: "fernhill-assist-3".into(),
            tool: tool.into(),
            policy: if drafts { "clinical-drafts/4" } else { "orders-under-200/2" }.into(),
            approval: format!("{} by {}", if approved { "granted" } else { "refused" }, person.login).into(),
            arguments_digest: digest_id(&self.random.next().to_be_bytes()).into(),
        });
        event
    }
}

const DOCUMENTS: [&str; 5] = ["Opening hours", "Supplier terms", "Quarterly accounts", "Fire plan", "Staff rota"];
const BOOKS: [&str; 5] =
    ["Growing Old Apples", "The Night Ward", "A Field Guide to Mosses", "Letters to a Young Nurse", "Tides"];

struct Incident {
    random: Random,
    made: u64,
    count: u64,
}

impl Iterator for Incident {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        if self.made == self.count {
            return None;
        }
        let (step, last) = (self.made, self.count - 1);
        self.made += 1;
        let offset = u128::from(INCIDENT_MICROS) * u128::from(step) / u128::from(last.max(1));
        let at = INCIDENT_START + u64::try_from(offset).unwrap_or(0);
        // Half are guesses; then one fits.
        let fits = self.count / 2;
        let mut event = match step {
            _ if step == last => self.cover_up(),
            _ if step < fits => self.guess(),
            _ if step == fits => self.break_in(),
            _ => self.export(),
        };
        Some((at, finish(&mut event, &mut self.random, at)))
    }
}

impl Incident {
    fn afar(&mut self, person: Person) -> Event<'static> {
        let r = &mut self.random;
        let context = Context {
            source_ip: format!("{ATTACKERS}.{}", r.between(2, 250)).into(),
            user_agent: "python-requests/2.32.3".into(),
            request_id: format!("req-{:012x}", r.next() >> 16).into(),
            location: "AQ".into(),
            ..Context::default()
        };
        Event { actor: user(person), context, ..Event::default() }
    }

    fn guess(&mut self) -> Event<'static> {
        let person = self.random.pick(&PEOPLE);
        let mut event = self.afar(person);
        event.kind = "auth".into();
        event.action = "user.login".into();
        event.severity = "notice".into();
        event.outcome = "failure".into();
        event.reason = "wrong password".into();
        event.targets.push(target("account", person.login.to_owned(), ""));
        event.details = Some(Details::Made(json!({"method": "password", "attempt": self.made})));
        event
    }

    /// The account whose password fits, with the session that the rest of the night uses.
    fn stolen(&mut self) -> Event<'static> {
        let person = PEOPLE.into_iter().find(|p| p.login == "tomas.lindqvist").unwrap_or_default();
        let mut event = self.afar(person);
        event.context.source_ip = format!("{ATTACKERS}.77").into();
        event.actor.session = "s-0badcafe".into();
        event
    }

    fn break_in(&mut self) -> Event<'static> {
        let mut event = self.stolen();
        event.kind = "auth".into();
        event.action = "user.login".into();
        event.severity = "warning".into();
        event.outcome = "success".into();
        event.targets.push(target("account", "tomas.lindqvist".to_owned(), ""));
        event.tags.push("unusual-location".into());
        event.details = Some(Details::Made(json!({"method": "password", "second_factor": Value::Null})));
        event
    }

    fn export(&mut self) -> Event<'static> {
        let mut event = self.stolen();
        let number = 1000 + self.made % 241;
        event.kind = "data_access".into();
        event.action = "record.export".into();
        event.severity = "warning".into();
        event.outcome = "success".into();
        event.targets.push(target("patient_record", format!("rec-{number}"), ""));
        event.subjects.push(format!("patient-{number}").into());
        event.clearance = Some(3);
        event.details = Some(Details::Made(json!({"format": "csv", "bytes": self.random.between(9_000, 90_000)})));
        event
    }

    fn cover_up(&mut self) -> Event<'static> {
        let mut event = self.stolen();
        event.kind = "security".into();
        event.action = "audit_trail.delete".into();
        event.severity = "critical".into();
        event.outcome = "denied".into();
        event.reason = "no account may delete the audit trail".into();
        event.targets.push(target("audit_trail", "fernhill".to_owned(), "Audit trail"));
        event
    }
}

fn user(person: Person) -> Actor<'static> {
    let attributes = [("team".to_owned(), person.team.into())].into_iter().collect();
    Actor { kind: "user".into(), id: person.login.into(), name: person.name.into(), attributes, ..Actor::default() }
}

fn target(kind: &'static str, id: String, name: &'static str) -> Target<'static> {
    Target { kind: kind.into(), id: id.into(), name: name.into() }
}

#[expect(clippy::unnecessary_wraps, reason = "every use is the value of an optional member")]
fn change(before: Value, after: Value) -> Option<Change> {
    Some(Change { before, after })
}

//! What can be asked, and how it ends when it does not go well.

use std::time::{Duration, Instant};

use indelible::{Actor, Event, LeafIndex, Outcome};
use indelible_client::{ClientError, Prepared, Retry, Settings, Token, Trust, blocking, wire::NewApiKey};
use indelible_core::checkpoint::Origin;

use crate::{
    front::{Act, Front},
    world::{LOG, QUICK, World, config, many, origin, prepared},
};

fn secure() -> World {
    let mut config = config();
    config.plain_http = false;
    World::new(config)
}

#[test]
fn from_nothing_to_a_checked_proof_over_tls() {
    let world = secure();
    let client = world.client();
    client.ready().unwrap();
    assert_eq!(client.create_log(&origin()).unwrap().origin, LOG);
    let new = NewApiKey {
        name: "w".to_owned(),
        role: "writer".to_owned(),
        logs: vec![LOG.to_owned()],
        ..NewApiKey::default()
    };
    let (key, token) = client.create_api_key(&new).unwrap();
    assert_eq!((key.role.as_str(), key.state.as_str()), ("writer", "active"));
    let writer = Settings { token: Some(Token::new(&token).unwrap()), ..world.settings() };
    let log = blocking::Client::new(&writer).unwrap().log(origin());
    let receipt = log.append(&Event::login(Actor::user("ada"), Outcome::Success)).unwrap();
    assert_eq!((receipt.index.0, receipt.duplicate, &*receipt.origin), (1, false, LOG));
    // The writer may not read.
    let refused = log.entry(LeafIndex(1)).unwrap_err();
    assert_eq!(refused.problem().unwrap().kind, "forbidden");
    assert!(!refused.is_passing() && refused.to_string().contains("ask for a key"), "{refused}");

    let log = world.log();
    let entry = log.entry(LeafIndex(1)).unwrap();
    assert_eq!((entry.leaf, entry.mac), (receipt.leaf, receipt.mac));
    assert_eq!(log.find(&receipt.id).unwrap(), entry);
    assert_eq!(log.proof(LeafIndex(1)).unwrap().check(&world.key()).unwrap().leaf, receipt.leaf);
    assert_eq!(log.public_keys().unwrap()["origin"], LOG);
    let verified = log.verify(20).unwrap();
    assert!(verified.is_done(), "{verified:?}");
    assert_eq!(verified.report.unwrap()["status"], "intact");
    assert_eq!(log.verification(&verified.id).unwrap().state, "done");

    let (again, second) = client.rotate_api_key(&key.id, 60).unwrap();
    assert_ne!(*second, *token);
    assert_eq!(client.revoke_api_key(&again.id).unwrap().state, "revoked");
    let ids: Vec<String> = client.api_keys(None, 100).unwrap().api_keys.into_iter().map(|key| key.id).collect();
    assert!(ids.contains(&key.id) && ids.contains(&again.id));
    let stranger = Settings { token: Some(Token::new(&second).unwrap()), ..world.settings() };
    let refused = blocking::Client::new(&stranger).unwrap().logs(None, 1).unwrap_err();
    assert_eq!(refused.problem().unwrap().kind, "unauthorised");
}

#[test]
fn only_the_server_that_is_trusted_gets_the_token() {
    let world = secure();
    let (path, fingerprint) = world.certificate.clone().unwrap();
    let with = |trust| blocking::Client::new(&Settings { trust, ..world.settings() }).unwrap().logs(None, 1);
    with(Trust::Authorities(path)).unwrap();
    with(Trust::pinned(&fingerprint).unwrap()).unwrap();
    let other = secure();
    let rows = [
        Trust::Authorities(other.certificate.as_ref().unwrap().0.clone()),
        Trust::pinned(&other.certificate.as_ref().unwrap().1).unwrap(),
    ];
    for trust in rows {
        let error = with(trust).unwrap_err();
        assert!(matches!(error, ClientError::Untrusted { .. }) && !error.is_passing(), "{error:?}");
    }
    let nothing = Trust::Authorities(world.at("none.pem"));
    let error = blocking::Client::new(&Settings { trust: nothing, ..world.settings() }).err().unwrap();
    assert!(matches!(&error, ClientError::Settings { place, .. } if place.contains("none.pem")), "{error}");
}

#[test]
fn lines_are_put_back_to_their_events() {
    let world = World::with_log();
    let log = world.log();
    log.append_prepared(&prepared("taken")).unwrap();
    let other = br#"{"action":"door.close","actor":{"id":"ada","type":"user"},"id":"taken"}"#;
    let mut events = many("e", 5);
    events.insert(2, Prepared::of_json(other).unwrap());
    events.insert(4, prepared("taken"));
    let outcomes = log.append_all(&events);
    let shown: Vec<String> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(receipt) => format!("{}{}", receipt.id, if receipt.duplicate { " again" } else { "" }),
            Err(error) => error.problem().unwrap().kind.clone(),
        })
        .collect();
    assert_eq!(shown, ["e-0", "e-1", "id-conflict", "e-2", "taken again", "e-3", "e-4"]);
    assert!(outcomes[2].as_ref().unwrap_err().is_of_event());
    // All refused: the answer has the status of the first, and each line its reason still.
    let outcomes = log.append_all(&events[2..3]);
    assert_eq!(outcomes[0].as_ref().unwrap_err().problem().unwrap().kind, "id-conflict");
    assert!(log.append_all(&[]).is_empty());
}

#[test]
fn what_is_too_much_for_the_server_is_halved() {
    let mut config = config();
    config.limits.events = 7;
    let world = World::new(config);
    world.client().create_log(&origin()).unwrap();
    let events = many("e", 50);
    let outcomes = world.log().append_all(&events);
    let ids: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap().id).collect();
    let expected: Vec<_> = events.iter().map(|event| event.id().to_owned()).collect();
    assert_eq!(ids, expected);
    assert_eq!(world.ids(), expected);
}

#[test]
fn an_answer_that_is_lost_is_asked_for_again_and_the_event_is_there_once() {
    let world = World::with_log();
    let front = Front::new(world.address, &[Act::Swallow, Act::Swallow], Act::Pass);
    let receipt = world.log_at(front.address).append_prepared(&prepared("one")).unwrap();
    assert!(receipt.duplicate, "the first try had recorded it");
    let front = Front::new(world.address, &[Act::Swallow], Act::Pass);
    for outcome in world.log_at(front.address).append_all(&many("m", 3)) {
        assert!(outcome.unwrap().duplicate);
    }
    assert_eq!(world.ids(), ["one", "m-0", "m-1", "m-2"]);
}

fn refusal(kind: &str, status: u16, more: &str) -> Act {
    let body = format!(r#"{{"type":"/problems/{kind}","title":"T","status":{status},"detail":"D","request_id":"r"}}"#);
    let length = body.len();
    Act::answer(format!(
        "HTTP/1.1 {status} T\r\ncontent-type: application/problem+json\r\n{more}content-length: {length}\r\n\r\n{body}"
    ))
}

#[test]
fn only_what_is_safe_is_sent_again() {
    let world = World::with_log();
    let tries = |first: &[Act], ask: &dyn Fn(&blocking::Log) -> bool| {
        let front = Front::new(world.address, first, Act::Pass);
        let went_well = ask(&world.log_at(front.address));
        let seen = front.seen.lock().unwrap().len();
        (seen, went_well)
    };
    let event = prepared("e");
    let append: &dyn Fn(&blocking::Log) -> bool = &|log| log.append_prepared(&event).is_ok();
    for (kind, status) in
        [("busy", 503), ("stopping", 503), ("unavailable", 503), ("unclear", 504), ("too-many-requests", 429)]
    {
        assert_eq!(tries(&[refusal(kind, status, "")], append), (2, true), "{kind}");
    }
    for (kind, status) in
        [("internal", 500), ("forbidden", 403), ("event-refused", 422), ("bad-request", 400), ("frozen", 423)]
    {
        assert_eq!(tries(&[refusal(kind, status, "")], append), (1, false), "{kind}");
    }
    // What makes something twice is sent again only where nothing was made.
    let made = std::cell::Cell::new(0);
    let create: &dyn Fn(&blocking::Log) -> bool = &|log| {
        made.set(made.get() + 1);
        let origin = Origin::try_from(format!("t.example/new-{}", made.get())).unwrap();
        let settings = world.settings_at(log_address(log));
        blocking::Client::new(&settings).unwrap().create_log(&origin).is_ok()
    };
    assert_eq!(tries(&[refusal("busy", 503, "")], create), (2, true));
    assert_eq!(tries(&[refusal("unavailable", 503, "")], create), (1, false));
    assert_eq!(tries(&[Act::Swallow], create), (1, false));
}

fn log_address(log: &blocking::Log) -> std::net::SocketAddr {
    log.inner().client().server().strip_prefix("http://").unwrap().parse().unwrap()
}

#[test]
fn the_server_is_left_alone_as_long_as_it_asks_for() {
    let world = World::with_log();
    let front = Front::new(world.address, &[refusal("busy", 503, "retry-after: 1\r\n")], Act::Pass);
    let patient = Retry { give_up_after: Duration::from_secs(10), ..QUICK };
    let begun = Instant::now();
    world.log_at(front.address).with_retry(patient).append_prepared(&prepared("one")).unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    // Longer than there is time for: it is not tried again, and said at once.
    let front = Front::new(world.address, &[refusal("busy", 503, "retry-after: 3600\r\n")], Act::Pass);
    let begun = Instant::now();
    let error = world.log_at(front.address).with_retry(patient).append_prepared(&prepared("two")).unwrap_err();
    assert!(error.is_passing() && begun.elapsed() < Duration::from_secs(10));
    assert_eq!(error.problem().unwrap().retry_after, Some(Duration::from_secs(3600)));
}

#[test]
fn a_server_that_is_away_is_told_in_time_and_nothing_behind_is_sent() {
    let mut world = World::with_log();
    let settings = Settings {
        limits: indelible_client::Limits { batch_events: 2, ..world.settings().limits },
        ..world.settings()
    };
    let log = blocking::Client::new(&settings).unwrap().log(origin());
    log.append_prepared(&prepared("before")).unwrap();
    world.stop();
    let begun = Instant::now();
    let outcomes = log.append_all(&many("e", 6));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(matches!(outcomes[0], Err(ClientError::Unreachable { .. } | ClientError::NoAnswer { .. })), "{outcomes:?}");
    assert!(matches!(outcomes[5], Err(ClientError::Held(_))), "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap_err().is_passing()));
    world.start();
    for outcome in log.append_all(&many("e", 6)) {
        outcome.unwrap();
    }
    assert_eq!(world.ids().len(), 7);
}

#[test]
fn what_is_no_answer_is_told_as_that() {
    let world = World::with_log();
    let rows = [
        "HTTP/1.1 201 T\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 201 T\r\ncontent-type: application/json\r\ncontent-length: 3\r\n\r\nhey",
        "HTTP/1.1 200 T\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n",
    ];
    for answer in rows {
        let front = Front::new(world.address, &[], Act::answer(answer));
        let log = world.log_at(front.address);
        let one = log.append_prepared(&prepared("e")).unwrap_err();
        let many = log.append_all(&[prepared("e")]).remove(0).unwrap_err();
        let page = log.entries(0, 1).unwrap_err();
        for error in [one, many, page] {
            assert!(matches!(error, ClientError::Answer { .. }) && !error.is_without_effect(), "{error:?}");
        }
    }
    // The receipt of another event is none.
    let front = Front::new(
        world.address,
        &[],
        Act::Change("/events", |answer| {
            let at = answer.windows(6).position(|window| window == b"\"id\":\"").unwrap() + 6;
            answer[at] = b'x';
        }),
    );
    let error = world.log_at(front.address).append_prepared(&prepared("e")).unwrap_err();
    assert!(error.to_string().contains("another event"), "{error}");
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let world = World::with_log();
    let front = Front::new(
        world.address,
        &[],
        Act::answer(format!(
            "HTTP/1.1 200 T\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{}",
            "x".repeat(100_000)
        )),
    );
    let mut settings = world.settings_at(front.address);
    settings.limits.answer_bytes = 1000;
    let error = blocking::Client::new(&settings).unwrap().logs(None, 1).unwrap_err();
    assert!(error.to_string().contains("more than 1000 bytes"), "{error}");
}

#[test]
fn the_async_client_serves_many_at_once_and_blocking_calls_work_in_a_runtime_too() {
    let world = World::with_log();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let blocking = world.log();
    runtime.block_on(async {
        let log = indelible_client::Client::new(&world.settings()).unwrap().log(origin());
        let tasks: Vec<_> = (0..20)
            .map(|at| {
                let log = log.clone();
                tokio::spawn(async move { log.append_prepared(&prepared(&format!("a-{at}"))).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        tokio::task::spawn_blocking(move || blocking.checkpoint()).await.unwrap().unwrap();
        world.log().checkpoint().unwrap();
    });
    assert_eq!(world.ids().len(), 20);
}

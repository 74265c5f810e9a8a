//! An attack leaves a few events, and these say how large it was.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::IpAddr,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use indelible_middleware::{
    AddressLayer, Clients, Journal, Network, Pace, Peer, RateLayer, Refusals, Refused, Tier, refusals::AT_ONCE,
};
use serde_json::Value;
use tower_layer::Layer as _;
use tower_service::Service;

use crate::world::World;

/// An application without a server around it.
#[derive(Clone)]
struct Hello;

impl<Q> Service<Request<Q>> for Hello {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Q>) -> Self::Future {
        ready(Ok(Response::new(Full::default())))
    }
}

fn request(address: u32) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    request.extensions_mut().insert(Peer(IpAddr::V4(address.into())));
    request
}

/// How many refusals the events tell of.
fn told(events: &[Value]) -> u64 {
    events.iter().map(|event| event["details"]["more"].as_u64().unwrap_or(1)).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attack_of_100_000_refusals_makes_a_few_events() {
    const ATTACK: u64 = 100_000;
    let world = World::new();
    let journal = Journal::new(world.log.clone());
    let refusals = Refusals::new(&journal);
    let deny = vec!["10.0.0.0/8".parse().unwrap()];
    let network = Network { deny, ..Network::default() };
    let addresses = AddressLayer::new(Clients::new(network).unwrap()).refusals(refusals.clone());
    let one = Tier::new("one", Pace::per_minute(1).burst(1));
    let rates = RateLayer::new(Clients::default()).per_address(one).counted(4096).refusals(refusals.clone());
    let mut service = addresses.layer(rates.layer(Hello));
    let begun = std::time::Instant::now();
    let (mut refused, mut asked) = (0, 0_u32);
    while refused < ATTACK {
        // Half of them from 2,500 addresses that are denied, half from 10,000 that ask too often.
        let address = if asked % 2 == 0 { 0x0a00_0000 + asked % 5000 } else { 0xc000_0000 + asked % 20_000 };
        let response = service.call(request(address)).await.unwrap();
        refused += u64::from(response.status() != 200);
        asked += 1;
    }
    refusals.close();
    assert_eq!(journal.flush().await, 0);
    let windows = usize::try_from(begun.elapsed().as_secs() / 60).unwrap() + 1;
    let events = world.events();
    assert!(events.len() <= windows * (AT_ONCE + 5), "{} events of {windows} windows", events.len());
    assert!(windows > 1 || events.len() == AT_ONCE + 2, "{} events", events.len());
    assert_eq!((told(&events), journal.lost()), (ATTACK, 0), "every one of them is counted");
    let words = events.iter().map(|event| event["action"].as_str().unwrap());
    assert!(
        words.clone().any(|word| word == "http.refuse.rate") && words.clone().any(|word| word == "http.refuse.address")
    );
    world.expect_intact();
}

/// Lets time pass, though nobody waits for it.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn the_first_is_told_at_once_and_the_others_when_the_minute_ends() {
    let world = World::new();
    let journal = Journal::new(world.log.clone());
    let refusals = Refusals::new(&journal);
    let parts = Request::builder().uri("/door?key=x").body(()).unwrap().into_parts().0;
    for (address, times) in [("192.0.2.1", 3), ("2001:db8::1", 1), ("2001:db8::2", 2)] {
        for _ in 0..times {
            refusals.note(Refused::Identity, Some(address.parse().unwrap()), &parts);
        }
    }
    journal.flush().await;
    let first = world.events();
    assert_eq!((first.len(), told(&first)), (2, 2));
    assert_eq!(first[0]["targets"][0]["id"], "/door");
    assert_eq!((&first[0]["context"]["source_ip"], &first[0]["outcome"]), (&"192.0.2.1".into(), &"denied".into()));
    pass(61).await;
    journal.flush().await;
    let events = world.events();
    assert_eq!((events.len(), told(&events)), (3, 6));
    assert_eq!(events[2]["reason"], "not who they say they are: and 4 more from 2 addresses");
    pass(600).await;
    journal.flush().await;
    assert_eq!(world.events().len(), 3, "nothing is said while nothing is refused");
    refusals.note(Refused::Identity, None, &parts);
    journal.flush().await;
    assert_eq!(world.events().len(), 4, "a new window begins with the next");
    world.expect_intact();
}

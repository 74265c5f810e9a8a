//! The layers in every order.

use axum::{Router, body::Bytes, routing::post};
use indelible_middleware::{AddressLayer, AuditLayer, Journal, LimitLayer, RateLayer, Refusals, SecurityHeaders, Tier};

use serde_json::Value;

use crate::{
    lab::{Lab, proxied},
    world::World,
};

/// All orders of so many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let put = |order: &Vec<usize>, at: usize| {
        let mut order = order.clone();
        order.insert(at, count - 1);
        order
    };
    orders(count - 1).iter().flat_map(|order| (0..count).map(|at| put(order, at)).collect::<Vec<_>>()).collect()
}

/// The events of requests, without those of refusals.
fn requests(world: &World) -> Vec<Value> {
    world.events().into_iter().filter(|event| event["action"] == "http.post").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_every_order_the_layers_do_what_they_do() {
    let world = World::new();
    let journal = Journal::new(world.log.clone());
    let refusals = Refusals::new(&journal);
    let orders = orders(5);
    assert_eq!(orders.len(), 120);
    for order in &orders {
        let mut app = Router::new().route("/", post(|body: Bytes| async move { body.len().to_string() }));
        for layer in order {
            app = match layer {
                0 => app.layer(AddressLayer::new(proxied()).refusals(refusals.clone())),
                1 => app.layer(RateLayer::new(proxied()).per_address(Tier::STANDARD).refusals(refusals.clone())),
                2 => app.layer(LimitLayer::new().body_bytes(5).refusals(refusals.clone(), proxied())),
                3 => app.layer(SecurityHeaders::for_programs()),
                _ => app.layer(AuditLayer::before(&journal).clients(proxied())),
            };
        }
        let lab = Lab::new(app).await;
        let headers = [("x-forwarded-for", "192.0.2.1")];
        let before = requests(&world).len();
        let good = lab.ask("POST", "/", &headers, "12345").await;
        assert_eq!((good.status, good.body.as_str()), (200, "5"), "{order:?}");
        for name in ["ratelimit", "x-frame-options", "x-request-id"] {
            assert!(good.header(name).is_some(), "{order:?} {name}");
        }
        let events = requests(&world);
        assert_eq!(events.len(), before + 1, "{order:?}");
        assert_eq!(events[before]["context"]["source_ip"], "192.0.2.1", "{order:?}");
        lab.ask("POST", "/", &headers, "123456").await.problem(413, "body-too-large");
        lab.ask("POST", "/", &[("x-forwarded-for", "nobody")], "").await.problem(400, "address-unknown");
        // What the layers told beside is in the log before the next are counted.
        journal.flush().await;
    }
    world.expect_intact();
}

//! The example does what it says.

#[path = "../../examples/clinic.rs"]
#[expect(dead_code, reason = "its `main` is for people")]
mod clinic;

use crate::{lab::Lab, world::World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_records_and_refuses() {
    let world = World::new();
    let (app, journal, refusals) = clinic::app(world.log.clone()).unwrap();
    let lab = Lab::new(app).await;
    let user = [("x-user", "mara"), ("content-type", "application/json")];
    let reply = lab.get("/patients/7", &user).await;
    assert_eq!((reply.status, &reply.json()["id"]), (200, &7.into()));
    assert!(reply.header("ratelimit").unwrap().contains("high-by-principal"), "{reply:?}");
    let note = lab.ask("POST", "/patients/7/notes", &user, r#"{"text":"better","password":"x"}"#).await;
    assert_eq!(note.json()["note"], "better");
    let events = world.events();
    assert_eq!((events.len(), &events[0]["action"]), (2, &"GET /patients/{id}".into()));
    let body = &events[1]["details"]["http"]["request"]["json"];
    assert_eq!((&body["text"], &body["password"]), (&"better".into(), &"[redacted]".into()));
    let mut refused = 0;
    while refused == 0 {
        refused = usize::from(lab.get("/patients/7", &user).await.status == 429);
    }
    refusals.close();
    assert_eq!(journal.flush().await, 0);
    assert!(world.events().iter().any(|event| event["action"] == "http.refuse.rate"));
    world.expect_intact();
}

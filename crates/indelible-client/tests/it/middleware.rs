//! The recorder that `docs/middleware.md` shows: a program whose requests are on record in a log on a server.

use indelible::{Actor, Event};
use indelible_client::{Client, LogClient};
use indelible_middleware::{Gap, RecordError, Recorder, Recording};

use crate::world::{World, origin};

struct Remote(LogClient);

impl Recorder for Remote {
    fn record(&self, event: Event) -> Recording {
        let log = self.0.clone();
        Box::pin(async move { log.append(&event).await.map(drop).map_err(RecordError::new) })
    }
}

#[test]
fn requests_and_gaps_are_on_record_in_a_log_on_a_server() {
    let world = World::with_log();
    let log = Client::new(&world.settings()).unwrap().log(origin());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let recorded = runtime.block_on(async {
        let remote = Remote(log.clone());
        remote.record(Event::new("http.get", Actor::user("ada"))).await.unwrap();
        let (since, reason) = ("2026-01-01T00:00:00.000000Z".to_owned(), "full".to_owned());
        remote.gap(Gap { count: 3, since, reason }).await.unwrap();
        log.entries(1, 10).await.unwrap().entries
    });
    let text = |at: usize| String::from_utf8(recorded[at].bytes.clone()).unwrap();
    assert_eq!(recorded.len(), 2);
    assert!(text(0).contains(r#""action":"http.get","actor":{"id":"ada""#), "{}", text(0));
    assert!(text(1).contains(r#""action":"audit.gap""#) && text(1).contains(r#""count":3"#), "{}", text(1));
}

//! What one transaction over many logs is worth: printed, not promised.

use std::{
    thread,
    time::{Duration, Instant},
};

use indelible::{Keeper, Log, Options, together};
use indelible_test_postgres::Options as Server;

use super::{Base, event, origin};

const LOGS: usize = 100;
const CALLERS: usize = 16;

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn rate(rounds: u64, took: Duration) -> f64 {
    (rounds * LOGS as u64) as f64 / took.as_secs_f64()
}

/// Events a second of `append`, which records one event in every log.
fn measured(rounds: u64, next: &mut u64, mut append: impl FnMut(Vec<u8>)) -> f64 {
    let begun = Instant::now();
    for _ in 0..rounds {
        *next += 1;
        append(event(*next));
    }
    rate(rounds, begun.elapsed())
}

#[test]
fn a_hundred_logs_in_one_transaction() {
    let Some(base) = Base::start(Server::new().with_fsync()) else { return };
    // Checkpoints would run beside some of it and not beside the rest.
    let options = Options { keeper: Some(Keeper::manual()), ..Options::default() };
    let logs = base.create(&base.open("writer", "audit"), LOGS, &options);
    let rounds = if std::env::var_os("INDELIBLE_SPEED").is_some() { 100 } else { 5 };
    let mut next = 0;
    let all_together = |event: Vec<u8>| {
        let events = [event];
        let parts: Vec<(&Log, &[Vec<u8>])> = logs.iter().map(|log| (log, &events[..])).collect();
        assert_eq!(together::append(&parts).unwrap().len(), LOGS);
    };
    let one_by_one = |event: Vec<u8>| logs.iter().for_each(|log| drop(log.append_json(&event).unwrap()));
    let by_many = |event: Vec<u8>| {
        thread::scope(|scope| {
            for logs in logs.chunks(LOGS.div_ceil(CALLERS)) {
                let event = &event;
                scope.spawn(move || logs.iter().for_each(|log| drop(log.append_json(event).unwrap())));
            }
        });
    };
    // Each connection and each log once before.
    measured(1, &mut next, all_together);
    measured(1, &mut next, by_many);
    let together = measured(rounds, &mut next, all_together);
    let alone = measured(rounds, &mut next, one_by_one);
    let many = measured(rounds, &mut next, by_many);
    println!(
        "{LOGS} logs, one event each: {together:.0} events/s in one transaction, {alone:.0}/s one after the other ({:.1} times), {many:.0}/s by {CALLERS} callers ({:.1} times)",
        together / alone,
        together / many
    );
    logs.iter().for_each(|log| log.close().unwrap());
    for number in [0, LOGS - 1] {
        assert_eq!(base.numbers(number).len() as u64, next, "log {}", origin(number));
        base.expect_intact(number, &[]);
    }
}

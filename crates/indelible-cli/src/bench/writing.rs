//! Appends: durable in batches, alone and among many; bounded; with ids that callers chose.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use indelible::{AppendError, Bounded, Log};
use indelible_core::tree::LeafIndex;
use indelible_store_file::tree_files::batch_of;

use super::{
    BATCH, Bench, ceiling, create,
    events::{Pool, with_ids},
    open,
    report::{How, Report, Target, median, quantile},
};

/// Rounds of which the median is told.
const ROUNDS: usize = 3;
/// Long enough for checkpoints to fall into every round.
pub(crate) const LONG: Duration = Duration::from_millis(2500);
const SHORT: Duration = Duration::from_millis(600);
/// Callers with one event each.
pub(crate) const MANY: usize = 64;
/// Bounded acknowledgements at a stretch: half of what may wait.
const STRETCH: usize = 8192;
/// How many acknowledgements may be open when they are settled elsewhere.
const OPEN: usize = 32_768;
/// Events of one round of chosen ids.
const CHOSEN: usize = 65_536;

/// Appends so many entries in batches.
pub(crate) fn fill(log: &Log, pool: &Pool, entries: u64, callers: usize) -> anyhow::Result<()> {
    let wanted = usize::try_from(entries.saturating_sub(log.size()?))?;
    let next = AtomicUsize::new(0);
    let fill = |caller: usize| -> Result<(), AppendError> {
        loop {
            let from = next.fetch_add(BATCH, Ordering::Relaxed);
            let Some(left) = wanted.checked_sub(from).filter(|left| *left > 0) else { return Ok(()) };
            let batch = pool.batch(from / BATCH + caller);
            append(log, batch.get(..left.min(batch.len())).unwrap_or_default())?;
        }
    };
    together(callers, fill)?;
    Ok(())
}

fn append(log: &Log, batch: &[Vec<u8>]) -> Result<(), AppendError> {
    log.append_all(batch).into_iter().try_for_each(|result| result.map(drop))
}

fn together<E>(callers: usize, work: impl Fn(usize) -> Result<(), E> + Sync) -> anyhow::Result<()>
where
    E: Send + Into<anyhow::Error>,
{
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..callers).map(|caller| scope.spawn(move || work(caller))).collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a caller's thread ended early"))?.map_err(Into::into)?;
        }
        Ok(())
    })
}

/// Callers that append batches for a while. Returns events a second.
fn batches(log: &Log, pool: &Pool, callers: usize, time: Duration) -> anyhow::Result<f64> {
    let done = AtomicUsize::new(0);
    let begun = Instant::now();
    together(callers, |caller| {
        let mut n = caller;
        while begun.elapsed() < time {
            append(log, pool.batch(n))?;
            done.fetch_add(BATCH, Ordering::Relaxed);
            n += 1;
        }
        Ok::<(), AppendError>(())
    })?;
    Ok(done.into_inner() as f64 / begun.elapsed().as_secs_f64())
}

/// Mean number of entries that became durable together, of those from `first` on.
fn batch_size(log: &Log, first: u64) -> anyhow::Result<f64> {
    let size = log.size()?;
    let (mut at, mut batches) = (size, 0);
    while at > first {
        let line = log.store().read(LeafIndex(at - 1), 0)?.bytes;
        at = batch_of(&line).context("a line without a batch")?;
        batches += 1;
    }
    Ok((size - at) as f64 / f64::from(batches.max(1)))
}

pub(crate) fn durable_batched(bench: &Bench<'_>, log: &Log, report: &mut Report) -> anyhow::Result<()> {
    let path = bench.dir.join("ceiling");
    let mut ceilings = Vec::new();
    let mut rates = [(2, Vec::new()), (4, Vec::new())];
    let mut lags = Vec::new();
    let first = log.size()?;
    for round in 0..ROUNDS {
        for (callers, rates) in &mut rates {
            bench.say(format!("durable batches, {callers} callers, round {} of {ROUNDS}", round + 1));
            rates.push(batches(log, &bench.pool, *callers, LONG)?);
            let behind = Instant::now();
            log.checkpoint()?;
            lags.push(behind.elapsed().as_secs_f64() * 1e3);
            ceilings.push(ceiling::batched(&path, &bench.lines, LONG)?);
        }
    }
    let ceiling = median(&ceilings);
    let synced = batch_size(log, first)?;
    for ((callers, rates), name) in rates.iter().zip(["append_durable_batched", "append_durable_batched_4"]) {
        let against = "one thread: hash, HMAC, tree, write, sync every 4,096 lines";
        let how = How { durability: "durable", batch: BATCH, callers: *callers, against, target: Target::AtLeast(0.5) };
        report.add(name, "events/s", (median(rates), ceiling), how);
    }
    report.note(format!(
        "{synced:.0} entries became durable together (mean); the checkpoint after a round took {:.0} ms",
        median(&lags)
    ));
    Ok(())
}

pub(crate) fn durable_single(bench: &Bench<'_>, log: &Log, report: &mut Report) -> anyhow::Result<()> {
    bench.say("one durable event at a time");
    let mut file = ceiling::single_file(&bench.dir.join("ceiling"))?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let mut texts = bench.pool.circle(0);
    for _ in 0..4 * ROUNDS {
        let begun = Instant::now();
        while begun.elapsed() < SHORT {
            let Some(text) = texts.next() else { break };
            let one = Instant::now();
            log.append_json(text)?;
            ours.push(one.elapsed().as_secs_f64() * 1e6);
        }
        bare.extend(ceiling::single(&mut file, &bench.lines, SHORT)?);
    }
    let how = How {
        durability: "durable",
        batch: 1,
        callers: 1,
        against: "one thread: append the line, fdatasync; p50",
        target: Target::AtMost(1.5),
    };
    report.add("append_durable_1", "µs (p50)", (median(&ours), median(&bare)), how);
    let how = How { against: "the same; p99", target: Target::None, ..how };
    report.add("append_durable_1_p99", "µs (p99)", (quantile(&ours, 0.99), quantile(&bare, 0.99)), how);
    Ok(())
}

pub(crate) fn durable_many(bench: &Bench<'_>, log: &Log, report: &mut Report) -> anyhow::Result<()> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let first = log.size()?;
    for round in 0..ROUNDS {
        bench.say(format!("{MANY} callers with one durable event each, round {} of {ROUNDS}", round + 1));
        ours.push(singles(log, &bench.pool, LONG)?);
        bare.push(ceiling::group_commit(&bench.dir.join("ceiling"), &bench.lines, MANY, LONG)?);
    }
    log.checkpoint()?;
    let synced = batch_size(log, first)?;
    let how = How {
        durability: "durable",
        batch: 1,
        callers: MANY,
        against: "64 threads: bare group commit of the lines",
        target: Target::AtLeast(0.6),
    };
    report.add("append_durable_64", "events/s", (median(&ours), median(&bare)), how);
    report.note(format!("{synced:.0} entries became durable together (mean)"));
    Ok(())
}

pub(crate) fn singles(log: &Log, pool: &Pool, time: Duration) -> anyhow::Result<f64> {
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begun = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..MANY)
            .map(|caller| {
                let (stop, done) = (&stop, &done);
                scope.spawn(move || {
                    let mut own = 0;
                    for text in pool.circle(caller * 97) {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        log.append_json(text)?;
                        own += 1;
                    }
                    done.fetch_add(own, Ordering::Relaxed);
                    Ok::<(), AppendError>(())
                })
            })
            .collect();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a caller's thread ended early"))??;
        }
        anyhow::Ok(())
    })?;
    Ok(done.into_inner() as f64 / begun.elapsed().as_secs_f64())
}

pub(crate) fn bounded(bench: &Bench<'_>, log: &Log, report: &mut Report) -> anyhow::Result<()> {
    bench.say("bounded acknowledgements");
    let (mut acknowledged, mut settled, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    // The first bounded event of a log marks it.
    log.append_bounded(bench.pool.batch(0).first().context("a text")?)?.settle()?;
    for round in 0..4 * ROUNDS {
        let begun = Instant::now();
        let texts = bench.pool.circle(round * STRETCH).take(STRETCH);
        let open = texts.map(|text| log.append_bounded(text)).collect::<Result<Vec<Bounded>, _>>()?;
        acknowledged.push(STRETCH as f64 / begun.elapsed().as_secs_f64());
        for bounded in open {
            bounded.settle()?;
        }
        settled.push(STRETCH as f64 / begun.elapsed().as_secs_f64());
        bare.push(ceiling::unsynced(&bench.dir.join("ceiling"), &bench.lines, STRETCH)?);
    }
    let how = How {
        durability: "bounded",
        batch: 1,
        callers: 1,
        against: "one thread: write the line, no sync",
        target: Target::None,
    };
    report.add("append_bounded", "events/s", (median(&acknowledged), median(&bare)), how);
    report.note(format!("acknowledged, {STRETCH} at a stretch"));
    report.add("append_bounded_settled", "events/s", (median(&settled), median(&bare)), how);
    report.note("the same until the last is settled".to_owned());
    bench.say("bounded acknowledgements, settled by a second thread");
    let rates = (0..ROUNDS).map(|_| stream(log, &bench.pool, LONG)).collect::<anyhow::Result<Vec<_>>>()?;
    report.add("append_bounded_stream", "events/s", (median(&rates), median(&bare)), How { callers: 2, ..how });
    report.note(format!("one thread appends, one settles, at most {OPEN} are open"));
    Ok(())
}

fn stream(log: &Log, pool: &Pool, time: Duration) -> anyhow::Result<f64> {
    let (to, from) = mpsc::sync_channel::<Bounded>(OPEN);
    let begun = Instant::now();
    thread::scope(|scope| {
        let settler = scope.spawn(move || {
            let mut count = 0_u32;
            for bounded in from {
                bounded.settle()?;
                count += 1;
            }
            Ok::<u32, AppendError>(count)
        });
        let mut texts = pool.circle(0);
        while begun.elapsed() < time {
            let Some(text) = texts.next() else { break };
            if to.send(log.append_bounded(text)?).is_err() {
                break;
            }
        }
        drop(to);
        let count = settler.join().map_err(|_| anyhow::anyhow!("the settling thread ended early"))??;
        Ok(f64::from(count) / begun.elapsed().as_secs_f64())
    })
}

/// Makes the large log: all of it, to the end of the last compression and the clean close.
pub(crate) fn sustained(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    bench.say(format!("a log of {} entries", bench.events));
    let log = create(&bench.large(), "bench/large", &bench.keys)?;
    let begun = Instant::now();
    fill(&log, &bench.pool, bench.events, 2)?;
    let appended = begun.elapsed().as_secs_f64();
    log.keep_checkpoint()?;
    log.tend()?;
    log.close()?;
    let seconds = begun.elapsed().as_secs_f64();
    drop(log);
    let path = bench.dir.join("ceiling");
    let ceiling = ceiling::batched(&path, &bench.lines, LONG)?;
    let how = How {
        durability: "durable",
        batch: BATCH,
        callers: 2,
        against: "one thread: hash, HMAC, tree, write, sync every 4,096 lines",
        target: Target::None,
    };
    report.add("append_sustained", "events/s", (bench.events as f64 / seconds, ceiling), how);
    report.note(format!(
        "{} entries to the clean close: {appended:.1} s until all were durable, {:.1} s more for compression and checkpoints",
        bench.events,
        seconds - appended
    ));
    Ok(())
}

pub(crate) fn chosen_ids(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let log = open(&bench.large(), &bench.keys)?;
    let before = log.size()?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        bench.say(format!("events with chosen ids, round {} of {ROUNDS}", round + 1));
        let texts = with_ids(round as u64, CHOSEN);
        let next = AtomicUsize::new(0);
        let begun = Instant::now();
        together(2, |_| {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some(batch) = texts.chunks(BATCH).nth(n) else { return Ok::<(), AppendError>(()) };
                append(&log, batch)?;
            }
        })?;
        ours.push(CHOSEN as f64 / begun.elapsed().as_secs_f64());
        bare.push(ceiling::batched(&bench.dir.join("ceiling"), &bench.lines, SHORT)?);
    }
    log.close()?;
    let how = How {
        durability: "durable",
        batch: BATCH,
        callers: 2,
        against: "one thread: hash, HMAC, tree, write, sync every 4,096 lines",
        target: Target::None,
    };
    report.add("append_chosen_ids", "events/s", (median(&ours), median(&bare)), how);
    report.note(format!("random ids, each looked up among those of {before} entries"));
    Ok(())
}

//! Counters, written as Prometheus reads them.
//!
//! Names of logs and keys are in none of them: what counts the server does not tell who uses it. (What is said of single logs is in `health`, for those who may see them.)

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Upper bounds of the times that are counted, in seconds.
const BOUNDS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0];

/// What is counted of one route.
#[derive(Default)]
struct Times {
    within: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

/// The counters of a server.
#[derive(Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    times: Mutex<BTreeMap<&'static str, Times>>,
    /// Events that were acknowledged as durable.
    pub(crate) events: AtomicU64,
    /// Events that were acknowledged before they were durable, and of which it is not known that they are.
    pub(crate) broken_promises: AtomicU64,
    /// Events that were refused for what they are.
    pub(crate) refused: AtomicU64,
    /// Authentications that failed.
    pub(crate) failures: AtomicU64,
    /// Requests that were refused because their key had asked too often.
    pub(crate) limited: AtomicU64,
    /// Connections that were accepted.
    pub(crate) accepted: AtomicU64,
    /// Connections that were closed at once, their address having too many.
    pub(crate) turned_away: AtomicU64,
    /// Connections now.
    pub(crate) connections: AtomicU64,
    /// Connections that were asked to leave, to make room.
    pub(crate) asked_to_leave: AtomicU64,
    /// TLS handshakes that failed.
    pub(crate) handshakes: AtomicU64,
    /// Certificates of clients that were not taken.
    pub(crate) certificates_of_clients: AtomicU64,
    /// Connections and requests from addresses that are not let in.
    pub(crate) addresses: AtomicU64,
    /// HTTP/2 connections that were ended because they took back too many requests.
    pub(crate) abused: AtomicU64,
    /// Certificates of the server that were taken up while it ran.
    pub(crate) certificates_taken: AtomicU64,
    /// Certificates of the server that could not be used.
    pub(crate) certificates_refused: AtomicU64,
}

impl Metrics {
    /// Counts an answer.
    pub(crate) fn answered(&self, route: &'static str, status: u16, took: Duration) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry((route, status)).or_default() += 1;
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times.entry(route).or_default();
        let seconds = took.as_secs_f64();
        for (within, bound) in times.within.iter_mut().zip(BOUNDS) {
            *within += u64::from(seconds <= bound);
        }
        times.count += 1;
        times.sum += seconds;
    }

    /// All of them as text. `gauges` are figures of this moment that are known elsewhere.
    #[must_use]
    pub(crate) fn text(&self, gauges: &[(&str, &str, u64)]) -> String {
        let mut out = String::new();
        let counters = [
            ("indelible_events_recorded_total", "Events acknowledged as durable", &self.events),
            ("indelible_events_bounded_failed_total", "Bounded acknowledgements not made good", &self.broken_promises),
            ("indelible_events_refused_total", "Events refused for what they are", &self.refused),
            ("indelible_authentication_failures_total", "Authentications that failed", &self.failures),
            ("indelible_rate_limited_total", "Requests beyond the rate of their key", &self.limited),
            ("indelible_connections_accepted_total", "Connections accepted", &self.accepted),
            ("indelible_connections_turned_away_total", "Connections closed at once", &self.turned_away),
            ("indelible_connections_asked_to_leave_total", "Connections ended to make room", &self.asked_to_leave),
            ("indelible_tls_handshakes_failed_total", "TLS handshakes that failed", &self.handshakes),
            (
                "indelible_client_certificates_refused_total",
                "Certificates of clients that were not taken",
                &self.certificates_of_clients,
            ),
            (
                "indelible_addresses_refused_total",
                "Connections and requests from addresses not let in",
                &self.addresses,
            ),
            ("indelible_connections_abused_total", "Connections ended for taking back too many requests", &self.abused),
            ("indelible_certificate_reloads_total", "Certificates taken up while running", &self.certificates_taken),
            ("indelible_certificate_reload_failures_total", "New certificates of no use", &self.certificates_refused),
        ];
        for (name, help, counter) in counters {
            write_one(&mut out, name, help, "counter", counter.load(Ordering::Relaxed));
        }
        write_one(
            &mut out,
            "indelible_connections",
            "Connections now",
            "gauge",
            self.connections.load(Ordering::Relaxed),
        );
        for (name, help, value) in gauges {
            write_one(&mut out, name, help, "gauge", *value);
        }
        self.write_requests(&mut out);
        self.write_times(&mut out);
        out
    }

    fn write_requests(&self, out: &mut String) {
        let name = "indelible_http_requests_total";
        head(out, name, "Requests by route and status", "counter");
        for ((route, status), count) in &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(out, "{name}{{route=\"{route}\",status=\"{status}\"}} {count}");
        }
    }

    fn write_times(&self, out: &mut String) {
        let name = "indelible_http_request_seconds";
        head(out, name, "Time from a request's head to its answer", "histogram");
        for (route, times) in &*self.times.lock().unwrap_or_else(PoisonError::into_inner) {
            for (within, bound) in times.within.iter().zip(BOUNDS) {
                let _ = writeln!(out, "{name}_bucket{{route=\"{route}\",le=\"{bound}\"}} {within}");
            }
            let _ = writeln!(out, "{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {}", times.count);
            let _ = writeln!(out, "{name}_sum{{route=\"{route}\"}} {}", times.sum);
            let _ = writeln!(out, "{name}_count{{route=\"{route}\"}} {}", times.count);
        }
    }
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn write_one(out: &mut String, name: &str, help: &str, kind: &str, value: u64) {
    head(out, name, help, kind);
    let _ = writeln!(out, "{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_written() {
        let metrics = Metrics::default();
        metrics.answered("append", 201, Duration::from_millis(3));
        metrics.answered("append", 201, Duration::from_secs(60));
        metrics.answered("append", 422, Duration::from_millis(3));
        metrics.events.fetch_add(2, Ordering::Relaxed);
        let text = metrics.text(&[("indelible_open_logs", "Logs that are open", 3)]);
        for line in [
            "indelible_events_recorded_total 2",
            "indelible_open_logs 3",
            r#"indelible_http_requests_total{route="append",status="201"} 2"#,
            r#"indelible_http_request_seconds_bucket{route="append",le="0.001"} 0"#,
            r#"indelible_http_request_seconds_bucket{route="append",le="0.005"} 2"#,
            r#"indelible_http_request_seconds_bucket{route="append",le="+Inf"} 3"#,
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
    }
}

//! File descriptors: connections never take those that logs need. A log that finds none fails, and so would the server's own.

use crate::config::Limits;

/// Of a log that is open: segments, tree, ids, head.
const OF_A_LOG: usize = 32;
/// Of the process: standard streams, the runtime, the listener, the ring, a certificate.
const OF_THE_PROCESS: usize = 64;
/// Fewer connections than that serve nobody.
const FEWEST_CONNECTIONS: usize = 16;
/// Fewer logs than that are opened and closed all the time.
const FEWEST_LOGS: usize = 4;

/// Raises the limit of the process as far as is needed and may be, and lowers what is configured to what there is then; says so. `None` where all fits.
#[cfg(unix)]
pub(crate) fn provide(limits: &mut Limits) -> Option<String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = wanted(limits) as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = maximum.map_or(wanted, |maximum| wanted.min(maximum));
    if current.is_some_and(|current| current < raised) {
        // What is refused here is counted below.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
    }
    let there = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    fit(limits, usize::try_from(there).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
pub(crate) fn provide(_limits: &mut Limits) -> Option<String> {
    None
}

fn wanted(limits: &Limits) -> usize {
    OF_THE_PROCESS + limits.connections + limits.open_logs.saturating_mul(OF_A_LOG)
}

/// Lowers connections and open logs to so many descriptors: half of them are for logs, where they want so many.
fn fit(limits: &mut Limits, there: usize) -> Option<String> {
    if there >= wanted(limits) {
        return None;
    }
    let free = there.saturating_sub(OF_THE_PROCESS);
    let logs = (free / 2 / OF_A_LOG).clamp(FEWEST_LOGS, limits.open_logs.max(FEWEST_LOGS));
    let connections =
        free.saturating_sub(logs * OF_A_LOG).clamp(FEWEST_CONNECTIONS, limits.connections.max(FEWEST_CONNECTIONS));
    (limits.open_logs, limits.connections) = (logs, connections);
    limits.connections_per_address = limits.connections_per_address.min(connections);
    Some(format!(
        "this process may have {there} files open (`ulimit -n`, `LimitNOFILE=`): {connections} connections and {logs} open logs at a time, instead of what is configured"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_logs_their_descriptors() {
        let rows = [(1024, 480, 15), (256, 64, 4), (1, 16, 4), (1_000_000, 1024, 128)];
        for (there, connections, open_logs) in rows {
            let mut limits = Limits::default();
            let told = fit(&mut limits, there);
            assert_eq!((limits.connections, limits.open_logs), (connections, open_logs), "{there}");
            assert_eq!(told.is_none(), there == 1_000_000);
            assert!(limits.connections_per_address <= limits.connections);
        }
    }
}

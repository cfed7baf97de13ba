//! What the system says of this process, for its metrics. What cannot be read is left out.

use std::fs;

use rustix::process::{Resource, getrlimit};

use crate::metrics::{Meter, Metric};

/// Brings the figures of the process up to date.
pub(super) fn observe(meter: &Meter) {
    meter.set(Metric::Build, &[env!("CARGO_PKG_VERSION")], 1.0);
    if let Some(maximum) = getrlimit(Resource::Nofile).current {
        meter.set(Metric::OpenFilesMax, &[], real(maximum));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The look itself holds one.
        meter.set(Metric::OpenFiles, &[], real(open.count().saturating_sub(1) as u64));
    }
    if let Some(kib) = fs::read_to_string("/proc/self/status")
        .ok()
        .as_deref()
        .and_then(resident_kib)
    {
        meter.set(Metric::Memory, &[], real(kib * 1024));
    }
    let times = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(times);
    if let Some(Times { used, started }) = times {
        meter.set(Metric::Cpu, &[], real(used) / TICKS_PER_SECOND);
        let boot = fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_second);
        if let Some(boot) = boot {
            meter.set(Metric::Started, &[], real(boot) + real(started) / TICKS_PER_SECOND);
        }
    }
}

/// In ticks.
struct Times {
    used: u64,
    /// Since the system started.
    started: u64,
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The name in the second field may hold anything, parentheses too: the rest begins after the last of them.
fn times(stat: &str) -> Option<Times> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Times {
        used: number(11)? + number(12)?,
        started: number(19)?,
    })
}

fn boot_second(stat: &str) -> Option<u64> {
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

/// Exact as far as anybody looks.
#[expect(clippy::cast_precision_loss, reason = "2^53 bytes or ticks are never reached")]
pub(super) fn real(number: u64) -> f64 {
    number as f64
}

/// `USER_HZ`, the unit in which Linux shows times to programs, on every architecture this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::render;

    #[test]
    fn what_the_system_says_is_read() {
        let times = times("42 (a ) name) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 3 0 7700 1 2").unwrap();
        assert_eq!((times.used, times.started), (200, 7700));
        assert_eq!(resident_kib("Name:\tx\nVmRSS:\t   1234 kB\n"), Some(1234));
        assert_eq!(boot_second("cpu 1\nbtime 1700000000\n"), Some(1_700_000_000));
        assert_eq!(resident_kib("no such line"), None);
    }

    #[test]
    fn this_process_has_figures() {
        let meter = Meter::default();
        observe(&meter);
        let page = render(&[meter]);
        for name in [
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_cpu_seconds_total",
            "process_start_time_seconds",
        ] {
            assert!(
                page.lines().any(|line| line.starts_with(&format!("{name} "))),
                "{name}\n{page}"
            );
        }
    }
}

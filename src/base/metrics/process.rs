//! What the process uses of the system, under the names that Prometheus's own client libraries give to it.
//!
//! The figures are read when they are rendered. A figure that the system does not offer is left out: without `/proc`,
//! only the processor time and the limit on open files are there.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The place of the start time among the fields behind the program's name in `/proc/self/stat` (proc(5)): field 22.
const START_FIELD: usize = 22 - 3;
const BYTES_PER_KB: u64 = 1_024;

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    /// When the process began, in seconds since 1970. Calculated once, so that it is always the same.
    started: Option<f64>,
}

impl Default for Process {
    fn default() -> Self {
        Self { started: started() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let micros = usage.user_time() + usage.system_time();
            let seconds = ConstCounter::new(micros.num_microseconds() as f64 / 1e6);
            let (name, help) = (
                "process_cpu_seconds",
                "Processor time that the process has used, in seconds",
            );
            let metric = encoder.encode_descriptor(name, help, None, seconds.metric_type())?;
            seconds.encode(metric)?;
        }
        let mut gauge = |name, help, value: Option<f64>| match value {
            Some(value) => {
                let gauge = ConstGauge::new(value);
                let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
                gauge.encode(metric)
            }
            None => Ok(()),
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes = |key| Some((figure(&status, key)? * BYTES_PER_KB) as f64);
        gauge(
            "process_resident_memory_bytes",
            "Resident memory, in bytes",
            bytes("VmRSS:"),
        )?;
        gauge(
            "process_virtual_memory_bytes",
            "Virtual memory, in bytes",
            bytes("VmSize:"),
        )?;
        gauge(
            "process_threads",
            "Threads",
            figure(&status, "Threads:").map(|threads| threads as f64),
        )?;
        gauge("process_open_fds", "Open file descriptors", open_files())?;
        let limit = getrlimit(Resource::RLIMIT_NOFILE).ok();
        gauge(
            "process_max_fds",
            "Limit on open file descriptors",
            limit.map(|(soft, _)| soft as f64),
        )?;
        gauge(
            "process_start_time_seconds",
            "When the process began, in seconds since 1970",
            self.started,
        )
    }
}

/// The number behind a key of `/proc/self/status`.
fn figure(status: &str, key: &str) -> Option<u64> {
    let mut lines = status.lines();
    let rest = lines.find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// How many descriptors are open, without the one that reads the directory.
fn open_files() -> Option<f64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(open.saturating_sub(1) as f64)
}

/// When the process began, in seconds since 1970: now, less the time since the system started, plus the time from
/// there to the start of the process. `/proc/stat` has the time when the system started, but the unit file hides it.
fn started() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name stands in parentheses, and may contain parentheses itself.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(START_FIELD)?.parse().ok()?;
    let after = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    let up = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    let up = up.num_microseconds() as f64 / 1e6;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(now.as_secs_f64() - (up - after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_status() {
        let status = "Name:\ttiny\nVmSize:\t   4096 kB\nVmRSS:\t 12 kB\nThreads:\t3\n";
        assert_eq!(figure(status, "VmRSS:"), Some(12));
        assert_eq!(figure(status, "VmSize:"), Some(4_096));
        assert_eq!(figure(status, "Threads:"), Some(3));
        assert_eq!(figure(status, "VmSwap:"), None);
        assert_eq!(figure("", "VmRSS:"), None);
    }

    #[test]
    fn the_process_began_before_now_and_not_long_ago() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - started().unwrap();
        // Ticks are hundredths of a second.
        assert!((-0.1..86_400.0).contains(&age), "{age}");
    }
}

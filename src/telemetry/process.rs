//! The figures of the process itself, with the names that all clients of Prometheus give them. Only Linux has them.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads the figures when the metrics are read.
#[derive(Debug)]
pub(super) struct ProcessCollector;

/// One figure.
struct Figure {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    value: f64,
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for Figure { name, help, kind, value } in figures() {
            let metric = encoder.encode_descriptor(name, help, None, kind)?;
            match kind {
                MetricType::Counter => ConstCounter::new(value).encode(metric)?,
                _ => ConstGauge::new(value).encode(metric)?,
            }
        }
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
fn figures() -> Vec<Figure> {
    Vec::new()
}

/// Returns the figures of `/proc`; none in a sandbox without it.
#[cfg(target_os = "linux")]
fn figures() -> Vec<Figure> {
    read().unwrap_or_default()
}

#[cfg(target_os = "linux")]
#[expect(clippy::cast_precision_loss, reason = "Prometheus has floating-point values")]
fn read() -> Result<Vec<Figure>, procfs::ProcError> {
    use procfs::process::{LimitValue, Process};

    let own = Process::myself()?;
    let stat = own.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    let figure = |name, help, kind, value| Figure { name, help, kind, value };
    let gauge = |name, help, value| figure(name, help, MetricType::Gauge, value);
    let mut figures = vec![
        figure(
            "process_cpu_seconds",
            "CPU time, of the service and of the system for it",
            MetricType::Counter,
            (stat.utime + stat.stime) as f64 / ticks,
        ),
        gauge("process_virtual_memory_bytes", "Virtual memory", stat.vsize as f64),
        gauge(
            "process_resident_memory_bytes",
            "Resident memory",
            (stat.rss * procfs::page_size()) as f64,
        ),
        gauge("process_threads", "Threads", stat.num_threads as f64),
        gauge("process_open_fds", "Open files and sockets", own.fd_count()? as f64),
    ];
    // A sandbox can hide all files of /proc that do not belong to a process.
    if let Ok(boot) = procfs::boot_time_secs() {
        let started = boot as f64 + stat.starttime as f64 / ticks;
        let help = "Start of the process, since 1970";
        figures.push(gauge("process_start_time_seconds", help, started));
    }
    if let LimitValue::Value(most) = own.limits()?.max_open_files.soft_limit {
        figures.push(gauge("process_max_fds", "Maximum of open files and sockets", most as f64));
    }
    Ok(figures)
}

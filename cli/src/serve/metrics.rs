//! Figures in the text format of Prometheus.
//!
//! In: the node's figures. Out: text.

use super::stats::Stats;
use balustrade::executor::Stage;
use std::fmt::Write;
use std::time::Duration;

/// The figures as text.
pub fn text(stats: &Stats, uptime: Duration) -> String {
    let mut out = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, rows: &[(String, f64)]| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "# HELP balustrade_{name} {help}\n# TYPE balustrade_{name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(out, "balustrade_{name}{labels} {value}");
        }
    };
    let mut one = |name: &str, kind: &str, help: &str, value: f64| {
        metric(name, kind, help, &[(String::new(), value)]);
    };
    one("head_number", "gauge", "Number of the head block", stats.head.0 as f64);
    one("head_timestamp_seconds", "gauge", "Timestamp of the head block", stats.head.2 as f64);
    one("uptime_seconds", "gauge", "Time since the start", uptime.as_secs_f64());
    one("blocks_executed_total", "counter", "Blocks that were executed", stats.executed as f64);
    one("gas_executed_total", "counter", "Gas of executed blocks", stats.gas as f64);
    one("execution_seconds_total", "counter", "Time of executed blocks", stats.ns as f64 / 1e9);
    one("blocks_known", "gauge", "Valid blocks in memory", stats.blocks_known as f64);
    one("blocks_known_bytes", "gauge", "Memory of valid blocks", stats.bytes_known as f64);
    one("invalid_blocks_known", "gauge", "Invalid blocks that are remembered", stats.invalid_known as f64);
    one("unauthorized_requests_total", "counter", "Requests without a valid token", stats.unauthorized as f64);
    one("resident_bytes", "gauge", "Memory of the process", resident_bytes().unwrap_or_default() as f64);
    let payloads = ["valid", "invalid", "syncing"].iter().zip(stats.payloads);
    let payloads: Vec<_> = payloads.map(|(name, count)| (format!("{{status=\"{name}\"}}"), count as f64)).collect();
    metric("payloads_total", "counter", "Payloads by status", &payloads);
    let mut calls = Vec::new();
    for (port, [all, errors]) in ["engine", "public"].iter().zip(stats.calls) {
        calls.push((format!("{{port=\"{port}\",result=\"ok\"}}"), (all - errors) as f64));
        calls.push((format!("{{port=\"{port}\",result=\"error\"}}"), errors as f64));
    }
    metric("calls_total", "counter", "Calls by port and result", &calls);
    if let Some(last) = stats.blocks.back() {
        metric(
            "last_block_seconds",
            "gauge",
            "Time of the last executed block",
            &[(String::new(), last.total_ns as f64 / 1e9)],
        );
        let stages = Stage::ALL.iter().zip(last.stages_ns);
        let stages: Vec<_> =
            stages.map(|(stage, ns)| (format!("{{stage=\"{}\"}}", stage.name()), ns as f64 / 1e9)).collect();
        metric("last_block_stage_seconds", "gauge", "Time in which each stage of the last block was at work", &stages);
    }
    out
}

/// Memory of the process; `None` where the system does not say.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_comment_or_a_figure() {
        let stats = Stats { executed: 3, payloads: [1, 2, 3], calls: [[5, 1], [0, 0]], ..Stats::default() };
        let text = text(&stats, Duration::from_secs(2));
        assert!(text.contains("balustrade_payloads_total{status=\"invalid\"} 2\n"), "{text}");
        assert!(text.contains("balustrade_calls_total{port=\"engine\",result=\"ok\"} 4\n"), "{text}");
        for line in text.lines().filter(|line| !line.starts_with("# ")) {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            assert!(name.starts_with("balustrade_") && value.parse::<f64>().is_ok(), "{line}");
        }
    }
}

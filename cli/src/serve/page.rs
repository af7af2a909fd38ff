//! The status page: plain HTML that loads nothing.
//!
//! In: the node's figures. Out: the head, throughput, memory, and the last blocks with their stages as bars.

use super::super::report::ggas_per_s;
use super::metrics::resident_bytes;
use super::stats::Stats;
use balustrade::executor::Stage;
use std::fmt::Write;
use std::time::Duration;

/// Colour of each stage, in the order of [`Stage::ALL`].
const COLOURS: [&str; Stage::ALL.len()] =
    ["#8c8c8c", "#c7b299", "#e0c45c", "#5b8ff9", "#9270ca", "#61ddaa", "#f6903d", "#d9534f"];

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;margin:1.5rem;max-width:75rem;color:#222;background:#fff}\
    table{border-collapse:collapse;width:100%}td,th{padding:.15rem .5rem;text-align:right;white-space:nowrap}\
    th{border-bottom:1px solid #999}td.bar{width:45%;text-align:left}td.name,th.name{text-align:left}\
    .bar span{display:inline-block;height:.8rem;vertical-align:middle}.key span{padding:0 .5rem;margin-right:.5rem;color:#fff}\
    code{font-family:ui-monospace,monospace}dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}dd{margin:0}\
    @media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}}";

/// The page.
pub fn html(stats: &Stats, uptime: Duration) -> String {
    let mut out = String::new();
    let (number, hash, _) = stats.head;
    let [valid, invalid, syncing] = stats.payloads;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let memory = resident_bytes().map_or_else(|| "unknown".to_owned(), |bytes| format!("{:.0} MiB", mib(bytes)));
    let seconds = uptime.as_secs();
    // Writing to a string does not fail.
    let _ = write!(
        out,
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"5\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Balustrade: block {number}</title>\
         <style>{STYLE}</style></head><body><h1>Balustrade</h1><dl>\
         <dt>Head</dt><dd>block {number} <code>{hash}</code></dd>\
         <dt>Throughput</dt><dd>{:.3} Ggas/s over {} executed blocks</dd>\
         <dt>Payloads</dt><dd>{valid} valid, {invalid} invalid, {syncing} without a known parent</dd>\
         <dt>Memory</dt><dd>{memory}, of it {:.1} MiB for {} known blocks</dd>\
         <dt>Running for</dt><dd>{} h {} min {} s</dd></dl>",
        ggas_per_s(stats.gas, stats.ns),
        stats.executed,
        mib(stats.bytes_known as u64),
        stats.blocks_known,
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
    );
    out.push_str("<h2>Last blocks</h2><p class=\"key\">");
    for (stage, colour) in Stage::ALL.iter().zip(COLOURS) {
        let _ = write!(out, "<span style=\"background:{colour}\">{}</span>", stage.name());
    }
    out.push_str(
        "</p><p>A bar is the time in which a stage was at work. Stages overlap.</p><table><thead><tr><th>block</th>\
         <th class=\"name\">hash</th><th>transactions</th><th>Mgas</th><th class=\"name\">mode</th><th>list KiB</th>\
         <th>ms</th><th>Mgas/s</th><th class=\"name\">stages</th></tr></thead><tbody>",
    );
    let longest = stats.blocks.iter().map(|block| block.stages_ns.iter().sum::<u64>()).max().unwrap_or(0).max(1);
    for block in stats.blocks.iter().rev() {
        let _ = write!(
            out,
            "<tr><td>{}</td><td class=\"name\"><code>{:.10}</code></td><td>{}</td><td>{:.2}</td><td class=\"name\">{}</td>\
             <td>{:.1}</td><td>{:.2}</td><td>{:.0}</td><td class=\"bar\">",
            block.number,
            block.hash.to_string(),
            block.transactions,
            block.gas as f64 / 1e6,
            block.mode,
            block.list_bytes as f64 / 1_024.0,
            block.total_ns as f64 / 1e6,
            1e3 * ggas_per_s(block.gas, block.total_ns),
        );
        for ((stage, ns), colour) in Stage::ALL.iter().zip(block.stages_ns).zip(COLOURS) {
            let (width, ms) = (100.0 * ns as f64 / longest as f64, ns as f64 / 1e6);
            let title = stage.name();
            let _ = write!(
                out,
                "<span title=\"{title}: {ms:.3} ms\" style=\"width:{width:.2}%;background:{colour}\"></span>"
            );
        }
        out.push_str("</td></tr>");
    }
    out.push_str("</tbody></table></body></html>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::super::stats::BlockStats;
    use super::*;

    #[test]
    fn the_page_shows_every_block_and_loads_nothing() {
        let mut stats = Stats::default();
        for number in 1..=150 {
            stats.push(BlockStats {
                number,
                hash: Default::default(),
                transactions: 2,
                gas: 42_000,
                mode: "bal",
                list_bytes: 2_048,
                total_ns: 1_000_000,
                stages_ns: [number; Stage::ALL.len()],
            });
        }
        let html = html(&stats, Duration::from_secs(3_723));
        assert!(html.contains("1 h 2 min 3 s") && html.contains("150 executed blocks"), "{html}");
        assert_eq!(html.matches("<td class=\"bar\">").count(), 100, "the last hundred");
        assert!(html.contains("<tr><td>150</td>") && !html.contains("<tr><td>50</td>"));
        for outside in ["http://", "https://", "<script", "src="] {
            assert!(!html.contains(outside), "{outside}");
        }
    }
}

//! Families as a bar chart: billions of gas per second by arrangement.
//!
//! In: the families' total times. Out: a self-contained SVG file.

use super::{BAL, Family, PEERS, SEQUENTIAL_ONE};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

const BAR: f64 = 9.0;
const GAP: f64 = 14.0;
const LEFT: f64 = 150.0;
const WIDTH: f64 = 560.0;
const TOP: f64 = 46.0;

/// Arrangements with their colours, ours first.
const BARS: [(&str, &str); 6] = [
    (BAL, "#1b6ac9"),
    (SEQUENTIAL_ONE, "#8fb8e8"),
    (PEERS[0], "#e0a030"),
    (PEERS[1], "#b9770e"),
    (PEERS[2], "#8fc08f"),
    (PEERS[3], "#3f8a4f"),
];

/// Writes the chart.
pub(super) fn write(path: &Path, families: &BTreeMap<String, Family>, threads: usize) -> std::io::Result<()> {
    std::fs::write(path, draw(families, threads))
}

fn draw(families: &BTreeMap<String, Family>, threads: usize) -> String {
    let speed = |family: &Family, name: &str| family.total_ns.get(name).map(|ns| family.gas as f64 / ns);
    let group = BAR * BARS.len() as f64 + GAP;
    let height = TOP + group * families.len() as f64 + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"16\" font-size=\"13\">Gas per second on {threads} thread(s), from raw bytes to the last check; \
         bars within a family share one scale</text>\n",
        LEFT + WIDTH + 70.0
    );
    for (index, (name, color)) in BARS.iter().enumerate() {
        let x = 8.0 + 110.0 * index as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"24\" width=\"10\" height=\"10\" fill=\"{color}\"/><text x=\"{}\" y=\"33\">{name}</text>",
            x + 14.0
        );
    }
    for (index, (name, family)) in families.iter().enumerate() {
        let top = TOP + group * index as f64;
        let _ = writeln!(svg, "<text x=\"8\" y=\"{:.0}\">{name}</text>", top + group / 2.0);
        let most = BARS.iter().filter_map(|(name, _)| speed(family, name)).fold(f64::MIN_POSITIVE, f64::max);
        for (row, (name, color)) in BARS.iter().enumerate() {
            let Some(ggas) = speed(family, name) else { continue };
            let (y, width) = (top + BAR * row as f64, WIDTH * ggas / most);
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"{:.0}\" fill=\"{color}\"/>\
                 <text x=\"{:.1}\" y=\"{:.0}\" font-size=\"8\">{ggas:.2} Ggas/s</text>",
                BAR - 1.0,
                LEFT + width + 4.0,
                y + BAR - 2.0
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bar_per_arrangement_that_ran() {
        let family = Family { gas: 2_000_000, total_ns: [(BAL, 1e6), (PEERS[3], 4e6)].into(), ..Family::default() };
        let svg = draw(&[("devnet".to_owned(), family)].into(), 2);
        assert_eq!(svg.matches("Ggas/s").count(), 2);
        assert!(svg.contains("2.00 Ggas/s") && svg.contains("0.50 Ggas/s") && svg.trim_end().ends_with("</svg>"));
    }
}

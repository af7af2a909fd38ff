//! Opens the report of `balustrade profile` in a headless browser: all charts are drawn, the
//! console is empty, and no network is contacted. Skipped with a message if no browser is found;
//! `BALUSTRADE_BROWSER` may name one.

use balustrade_cli::testing::Folder;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Chromium-based browsers, by their names in `PATH`.
const NAMES: [&str; 6] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome-headless-shell",
    "microsoft-edge",
];

fn browser() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("BALUSTRADE_BROWSER") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let in_path = std::env::split_paths(&path).flat_map(|folder| NAMES.map(|name| folder.join(name)));
    // Browsers that puppeteer and playwright downloaded.
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let downloaded = [
        (".cache/puppeteer/chrome", "chrome-linux64/chrome"),
        (".cache/puppeteer/chrome-headless-shell", "chrome-headless-shell-linux64/chrome-headless-shell"),
        (".cache/ms-playwright", "chrome-linux/chrome"),
    ]
    .into_iter()
    .flat_map(|(folder, file)| {
        let versions = std::fs::read_dir(home.join(folder)).into_iter().flatten().flatten();
        versions.map(move |version| version.path().join(file)).collect::<Vec<_>>()
    });
    in_path.chain(downloaded).find(|path| path.is_file())
}

/// What a browser reported about a page.
struct Seen {
    dom: String,
    /// Messages on the console.
    console: Vec<String>,
    /// Network requests of the page.
    requests: Vec<String>,
}

/// Opens a page in a headless browser in which no host name resolves.
fn open(browser: &Path, folder: &Folder, page: &str) -> Seen {
    let (log, profile) = (folder.path("net.json"), folder.path("browser"));
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1400,1000", "--virtual-time-budget=5000"])
        .args(["--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={profile}"))
        .arg(format!("--log-net-log={log}"))
        .arg(format!("file://{page}"))
        .output()
        .expect("the browser starts");
    assert!(output.status.success(), "{:?}", output.status);
    let console = String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .map(str::to_owned)
        .collect();
    let log = std::fs::read_to_string(log).expect("the browser logs its requests");
    let log: Value = serde_json::from_str(&log).expect("JSON");
    let requests = log["events"]
        .as_array()
        .expect("events")
        .iter()
        .filter_map(|event| {
            let (url, initiator) = (event["params"]["url"].as_str()?, event["params"]["initiator"].as_str()?);
            // The browser's own requests (updates, time) have no origin.
            let of_page = initiator != "not an origin" && !url.starts_with("file:") && !url.starts_with("data:");
            of_page.then(|| url.to_owned())
        })
        .collect();
    Seen { dom: String::from_utf8_lossy(&output.stdout).into_owned(), console, requests }
}

/// A page of its own that holds a report in a frame of 400 pixels, and shows what [`PROBE`] found in it.
const FRAME: &str = r#"<!doctype html><body><pre id="found"></pre><iframe src="PAGE" width="400" height="900"></iframe>
<script>addEventListener("message", (event) => { document.getElementById("found").textContent = event.data; })</script>"#;

/// Added to a report: looks for elements wider than the page, sorts by the first column with the focused button of its
/// header, filters, and moves the timeline by keys.
const PROBE: &str = r##"<script>{
const found = [];
for (const node of document.querySelectorAll("header *, main *")) {
  const right = node.getBoundingClientRect().right;
  if (!node.closest(".scroll, svg") && right > innerWidth + 0.5) found.push(`wide: ${node.tagName} ${node.id} ${right}`);
}
found.push(`page ${document.documentElement.scrollWidth} of ${innerWidth}`);
const order = () => [...document.querySelectorAll("#code th")].map((th) => th.getAttribute("aria-sort") ?? "-").join(" ");
const before = order();
document.querySelector("#code th button").focus();
document.activeElement.click();
const sorted = order();
found.push(sorted !== before && sorted.startsWith("ascending -") ? "sorted" : `order ${before}, then ${sorted}`);
found.push(document.activeElement.closest("#code th") ? "focus kept" : "focus lost");
const filter = document.getElementById("filter");
filter.value = "push";
filter.dispatchEvent(new Event("input"));
const names = [...document.querySelectorAll("#code tbody td:first-child")].map((cell) => cell.textContent);
found.push(names.length > 0 && names.every((name) => name.includes("PUSH")) ? "filtered" : `filter left ${names}`);
found.push(order() === sorted ? "order kept" : `order ${order()}`);
const timeline = document.querySelector("#timeline svg"), view = () => timeline.querySelector("svg").getAttribute("viewBox");
const whole = view();
timeline.focus();
const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
press("+");
const zoomed = view();
press("0");
found.push(zoomed !== whole && view() === whole ? "zoomed" : `views ${whole}, ${zoomed}, ${view()}`);
for (const label of document.querySelectorAll("#timeline .label")) {
  if (!["rgb(0, 0, 0)", "rgb(255, 255, 255)"].includes(label.style.fill)) found.push(`label ${label.style.fill}`);
}
parent.postMessage(found.join("; "), "*");
}</script></body>"##;

/// Runs `profile` on the generated block; returns its JSON.
fn profile(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_balustrade"))
        .args(["profile", "--json", "--threads", "2", "--seconds", "0.3"])
        .args(args)
        .output()
        .expect("the command starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    serde_json::from_str(text.lines().next().expect("a line")).expect("JSON")
}

/// The part of `dom` from the element with the first id to the one with the second.
fn between<'a>(dom: &'a str, from: &str, to: &str) -> &'a str {
    let start = dom.find(&format!("id=\"{from}\"")).unwrap_or_else(|| panic!("no {from}"));
    let rest = &dom[start..];
    &rest[..rest.find(&format!("id=\"{to}\"")).unwrap_or(rest.len())]
}

#[test]
fn a_browser_draws_every_chart_without_network_requests() {
    let Some(browser) = browser() else {
        eprintln!("skipped: no Chromium, Chrome or Edge was found; BALUSTRADE_BROWSER may name one");
        return;
    };
    let folder = Folder::new("report");

    // Checks that errors and requests of a page are detected at all.
    let control = folder.path("control.html");
    let bad = "<body><img src=\"http://elsewhere.invalid/a.png\"><script>nowhere()</script></body>";
    std::fs::write(&control, bad).expect("write");
    let seen = open(&browser, &folder, &control);
    assert_eq!(seen.requests, ["http://elsewhere.invalid/a.png"]);
    assert!(seen.console.iter().any(|line| line.contains("nowhere is not defined")), "{:?}", seen.console);

    let (first, second, saved) = (folder.path("first.html"), folder.path("second.html"), folder.path("first.json"));
    let events = folder.path("events.json");
    let alone = profile(&["--out", &first, "--trace-events", &events]);
    std::fs::write(&saved, format!("{alone}\n")).expect("write");
    let compared = profile(&["--out", &second, "--against", &saved]);

    for (page, profile, is_compared) in [(&first, &alone, false), (&second, &compared, true)] {
        let Seen { dom, console, requests } = open(&browser, &folder, page);
        assert_eq!(console, Vec::<String>::new());
        assert_eq!(requests, Vec::<String>::new());
        assert!(dom.contains("data-ready=\"0\""), "the script came to its end");
        let rows = |list: &Value| list.as_array().map_or(0, Vec::len);
        let count = |part: &str, what: &str| part.matches(what).count();
        assert!(count(between(&dom, "summary", "stages"), "class=\"card\"") >= 7);
        assert_eq!(count(between(&dom, "stages", "parts-note"), "class=\"fill\""), rows(&profile["stages"]));
        assert_eq!(count(between(&dom, "parts", "timeline"), "class=\"fill\""), rows(&profile["sampling"]["parts"]));
        let before = count(between(&dom, "stages", "parts-note"), "class=\"before\"");
        assert_eq!(before, if is_compared { rows(&profile["stages"]) } else { 0 });
        // One slice per transaction, one before and one after them, and the stages.
        let slices = count(between(&dom, "timeline", "flame-note"), "class=\"slice\"");
        assert!(slices > profile["transactions"].as_u64().expect("a number") as usize + 2 + 6, "{slices}");
        if !is_compared {
            let events: Value =
                serde_json::from_str(&std::fs::read_to_string(&events).expect("written")).expect("JSON");
            let drawn = events["traceEvents"].as_array().expect("events").iter().filter(|event| event["ph"] == "X");
            assert_eq!(slices, drawn.count());
        }
        let flame = between(&dom, "flame", "code-note");
        let samples = profile["sampling"]["samples"].as_u64().unwrap_or(0);
        assert!(count(flame, "<rect") >= if samples > 0 { 3 } else { 1 });
        let table = between(&dom, "code", "against");
        let instructions = rows(&profile["code"]["opcodes"]) + rows(&profile["code"]["precompiles"]);
        assert_eq!(count(table, "<tr"), instructions + 1);
        let contracts = count(between(&dom, "contracts", "transactions-section"), "<tr");
        assert_eq!(contracts, rows(&profile["code"]["contracts"]) + 1);
        let transactions = count(between(&dom, "transactions", "code-note"), "<tr");
        assert_eq!(transactions as u64, profile["transactions"].as_u64().expect("a number") + 1);
        let differences = between(&dom, "differences", "tip");
        assert_eq!(count(differences, "<tr") > instructions, is_compared);
    }

    let text = std::fs::read_to_string(&first).expect("written");
    let probed = folder.file("probed.html", &text.replace("</body>", PROBE));
    let frame = folder.file("frame.html", &FRAME.replace("PAGE", &format!("file://{probed}")));
    let Seen { dom, console, .. } = open(&browser, &folder, &frame);
    assert_eq!(console, Vec::<String>::new());
    let found = between(&dom, "found", "nothing");
    let expected = "page 400 of 400; sorted; focus kept; filtered; order kept; zoomed</pre>";
    assert!(found.contains(expected), "{}", found.lines().next().unwrap_or_default());
}

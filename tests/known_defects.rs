//! docs/known-defects.md has every row, every path, test and mutator that a row names exists, and links between
//! documents lead to files.

mod hostile;

use hostile::cases::shared;
use hostile::mutators;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The rows of the tables, with their numbers.
fn rows(text: &str) -> Vec<(usize, &str)> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    cells.filter_map(|(number, rest)| Some((number.parse().ok()?, rest))).collect()
}

/// Appends all source text below a folder.
fn source(folder: &Path, out: &mut String) {
    for entry in folder.read_dir().expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            source(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push_str(&fs::read_to_string(&path).expect("text"));
        }
    }
}

/// The paths in the Amsterdam suite, one per line; they contain the names of its tests.
fn suite() -> String {
    let file = File::open(shared("fixtures/amsterdam.tar.zst")).expect("readable");
    let mut decoder = zstd::Decoder::new(file).expect("zstd");
    decoder.window_log_max(27).expect("zstd");
    let mut archive = tar::Archive::new(decoder);
    let path = |entry: tar::Entry<'_, _>| entry.path().expect("a path").to_string_lossy().into_owned();
    let paths: Vec<String> = archive.entries().expect("tar").map(|entry| path(entry.expect("tar"))).collect();
    paths.join("\n")
}

fn document() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join("docs/known-defects.md")).expect("the document is here")
}

#[test]
fn every_row_is_there_and_names_existing_mutators() {
    let text = document();
    let rows = rows(&text);
    assert!(rows.iter().map(|(number, _)| *number).eq(1..=40), "{rows:#?}");
    for (number, row) in rows {
        for (at, _) in row.match_indices("mutator") {
            let named = row[at..].split_once(' ').expect("a name follows").1;
            let named = named.split(['|', ';', '(']).next().unwrap_or(named);
            for name in named.split(", ").filter(|name| name.contains(": ")) {
                let is_mutator = mutators::names().any(|mutator| name.trim().starts_with(mutator));
                assert!(is_mutator, "line {number} names the mutator {name}, which is not here");
            }
        }
    }
}

#[test]
#[ignore = "needs the names of the tests in ../shared/fixtures"]
fn every_row_names_existing_tests_and_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (text, suite) = (document(), suite());
    let archives = shared("fixtures");
    let mut sources = String::new();
    ["src", "tests", "cli"].iter().for_each(|folder| source(&root.join(folder), &mut sources));
    for (number, row) in rows(&text) {
        for name in row.split('`').skip(1).step_by(2) {
            let is_path = ["", "src/", "tests/", "cli/src/", "cli/tests/"].iter().any(|folder| {
                [name.to_owned(), format!("{name}.rs")].iter().any(|name| root.join(folder).join(name).exists())
            });
            let in_suite = name.split('…').all(|part| suite.contains(part));
            let is_archive = archives.join(format!("{name}.tar.zst")).exists();
            let last = name.rsplit([':', ' ']).next().unwrap_or(name);
            let in_sources = sources.contains(last.trim_start_matches("--"));
            assert!(is_path || in_suite || is_archive || in_sources, "line {number} names {name}, which is not here");
        }
    }
}

/// Markdown files of a folder and of those below it.
fn documents(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            documents(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            out.push(path);
        }
    }
}

#[test]
fn links_between_documents_lead_to_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("SECURITY.md"), root.join("README.md")];
    documents(&root.join("docs"), &mut files);
    let mut links = 0;
    for file in files {
        let text = fs::read_to_string(&file).expect("text");
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|target| !target.is_empty() && !target.contains("://")) {
            let path = file.parent().expect("a folder").join(target);
            assert!(path.exists(), "{} links to {target}, which is not here", file.display());
            links += 1;
        }
    }
    assert!(links > 20, "{links} links");
}

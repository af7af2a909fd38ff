//! Every `unsafe` of the library is listed in docs/unsafe.md, file by file: a new one fails here until its contract, its
//! checked twin and its test are written down there.

use std::collections::BTreeMap;
use std::path::Path;

/// Occurrences of the word in code: comments and strings do not count, nor does the lint's name.
fn count(source: &str) -> usize {
    let code = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    let words = |line: &str| {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        line.split(|c| !is_word(c)).filter(|word| *word == "unsafe").count()
    };
    code.map(words).sum()
}

fn visit(folder: &Path, root: &Path, counts: &mut BTreeMap<String, usize>) {
    for entry in folder.read_dir().expect("the sources are here").flatten() {
        let path = entry.path();
        if path.is_dir() {
            visit(&path, root, counts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let number = count(&std::fs::read_to_string(&path).expect("text"));
            if number > 0 {
                let name = path.strip_prefix(root).expect("below").to_string_lossy().replace('\\', "/");
                counts.insert(name, number);
            }
        }
    }
}

#[test]
fn every_unsafe_word_is_accounted_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    visit(&root.join("src"), root, &mut found);
    visit(&root.join("cli/src"), root, &mut found);
    let text = std::fs::read_to_string(root.join("docs/unsafe.md")).expect("the document is here");
    // Rows of the table: | `src/...` | words | contract | twin | test |
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `src/"));
    let listed: BTreeMap<String, usize> = rows
        .filter_map(|row| {
            let mut cells = row.split('|').map(str::trim);
            let file = format!("src/{}", cells.next()?.trim_end_matches('`'));
            let words = cells.next()?.parse().ok()?;
            assert!(cells.clone().take(3).all(|cell| !cell.is_empty()), "{file} lacks a contract, a twin or a test");
            Some((file, words))
        })
        .collect();
    assert_eq!(found, listed, "files with `unsafe`, found and listed in docs/unsafe.md");
}

#[test]
fn the_word_is_found_where_it_counts() {
    assert_eq!(count("unsafe { a } // unsafe\n/// unsafe\n#![allow(unsafe_code)]\nunsafe extern \"C\" fn f() {}"), 2);
}

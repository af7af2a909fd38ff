//! The header in `include` is the one that cbindgen makes from the sources.
//!
//! `BALUSTRADE_WRITE_DATA=1 cargo test --test header` (with this package selected) writes it.

use std::path::Path;

#[test]
fn the_header_is_that_of_the_sources() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).expect("a configuration");
    // The modules that `lib.rs` declares are read, too.
    let builder = cbindgen::Builder::new().with_config(config).with_src(folder.join("src/lib.rs"));
    let mut made = Vec::new();
    builder.generate().expect("a header").write(&mut made);
    let made = String::from_utf8(made).expect("text");
    let path = folder.join("include/balustrade.h");
    if std::env::var_os("BALUSTRADE_WRITE_DATA").is_some() {
        std::fs::write(&path, &made).expect("written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = made.lines().zip(stored.lines()).find(|(made, stored)| made != stored);
    assert!(
        made == stored,
        "the sources give another header than {}, first at {differing:?}; write it anew with BALUSTRADE_WRITE_DATA=1",
        path.display()
    );
}

//! `content` of `files.rs` under coverage guidance.

#![no_main]

#[path = "../files.rs"]
#[allow(dead_code)]
mod files;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| files::content(bytes));

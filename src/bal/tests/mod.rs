//! The tests of `bal`, against alloy-eip7928's types as the naive twin.

mod decode;
mod diff;
mod model;
mod record;
mod reduce;
mod rules;
mod suites;

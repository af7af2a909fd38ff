//! Tests of `bal`. The reference implementation is `alloy-eip7928` with its nested types.

mod decode;
mod diff;
mod model;
mod record;
mod reduce;
mod rules;
mod suites;

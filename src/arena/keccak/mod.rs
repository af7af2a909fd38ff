//! Keccak-256, one message or many at a time.

//! bal

//! Conversions from alloy's types to ethrex's.

use ethrex_common::{Address, H256, U256};

pub(crate) fn address(address: alloy_primitives::Address) -> Address {
    Address::from(address.0.0)
}

pub(crate) fn word(value: alloy_primitives::U256) -> U256 {
    U256(value.into_limbs())
}

pub(crate) fn hash(hash: alloy_primitives::B256) -> H256 {
    H256(hash.0)
}

/// A storage key.
pub(crate) fn key(key: alloy_primitives::U256) -> H256 {
    H256(key.to_be_bytes())
}

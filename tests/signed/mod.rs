//! Signed legacy transactions of chain 1.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::Encodable;
use secp256k1::{Message, PublicKey, SecretKey, ecdsa::RecoverableSignature};

/// The secret key with this number.
pub(crate) fn secret(index: u64) -> SecretKey {
    SecretKey::from_secret_bytes(keccak256(index.to_be_bytes()).0).expect("a hash is a valid key with near certainty")
}

/// The address of a key.
pub(crate) fn address_of(key: &SecretKey) -> Address {
    let public = PublicKey::from_secret_key(key).serialize_uncompressed();
    Address::from_slice(&keccak256(&public[1..])[12..])
}

/// A transaction with a gas price of 1,000 wei; a creation if `to` is absent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) nonce: u64,
    pub(crate) gas: u64,
    pub(crate) to: Option<Address>,
    pub(crate) value: u64,
    pub(crate) data: &'a [u8],
}

#[allow(dead_code, reason = "each test that includes this uses a part of it")]
impl Call<'_> {
    fn encode(&self, signature: &[U256]) -> Vec<u8> {
        let mut payload = Vec::new();
        self.nonce.encode(&mut payload);
        1_000u64.encode(&mut payload);
        self.gas.encode(&mut payload);
        self.to.as_ref().map_or(&[][..], |to| to.as_slice()).encode(&mut payload);
        self.value.encode(&mut payload);
        self.data.encode(&mut payload);
        signature.iter().for_each(|word| word.encode(&mut payload));
        let mut out = Vec::new();
        alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut out);
        out.extend(payload);
        out
    }

    /// RLP of the transaction, signed with EIP-155 protection.
    pub(crate) fn sign(&self, key: &SecretKey) -> Vec<u8> {
        self.sign_with(key, &[U256::ONE, U256::ZERO, U256::ZERO], 35 + 2)
    }

    /// RLP of the transaction, signed without EIP-155 protection, as before Spurious Dragon.
    pub(crate) fn sign_unprotected(&self, key: &SecretKey) -> Vec<u8> {
        self.sign_with(key, &[], 27)
    }

    /// Signs the fields with `suffix` after them. The v of the signature is `v` plus the y parity.
    fn sign_with(&self, key: &SecretKey, suffix: &[U256], v: u64) -> Vec<u8> {
        let hash: B256 = keccak256(self.encode(suffix));
        let signature = RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash.0), key);
        let (id, bytes) = signature.serialize_compact();
        let (r, s) = (U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..]));
        self.encode(&[U256::from(v + u64::from(id.to_u8())), r, s])
    }
}

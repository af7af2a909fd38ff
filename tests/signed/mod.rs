//! Keys, and signed legacy transactions of chain 1.

#![allow(dead_code, reason = "each test that includes this uses a part of it")]

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::Encodable;
use balustrade::arena::store::{KECCAK_EMPTY, MemoryStore};
use balustrade::exec::senders::{Signature, recover_scalar};
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

/// Inserts the accounts of the first `count` keys, with one ether each.
pub(crate) fn fund(store: &mut MemoryStore, count: u64) {
    for index in 0..count {
        store.insert_account(address_of(&secret(index)), 0, U256::from(10).pow(U256::from(18)), KECCAK_EMPTY, []);
    }
}

/// RLP list with this payload.
pub(crate) fn list_of(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend(payload);
    out
}

/// Signs a hash; returns r, s and the y parity.
pub(crate) fn sign(key: &SecretKey, hash: B256) -> (U256, U256, u64) {
    let signature = RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash.0), key);
    let (id, bytes) = signature.serialize_compact();
    (U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..]), u64::from(id.to_u8()))
}

/// A transaction; a creation if `to` is absent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) nonce: u64,
    pub(crate) gas: u64,
    pub(crate) to: Option<Address>,
    pub(crate) value: u64,
    pub(crate) data: &'a [u8],
}

/// Usual gas price in wei.
pub(crate) const PRICE: u64 = 1_000;

impl Call<'_> {
    fn encode(&self, price: u64, signature: &[U256]) -> Vec<u8> {
        let mut payload = Vec::new();
        self.nonce.encode(&mut payload);
        price.encode(&mut payload);
        self.gas.encode(&mut payload);
        self.to.as_ref().map_or(&[][..], |to| to.as_slice()).encode(&mut payload);
        self.value.encode(&mut payload);
        self.data.encode(&mut payload);
        signature.iter().for_each(|word| word.encode(&mut payload));
        list_of(&payload)
    }

    /// RLP of the transaction with the usual price, signed with EIP-155 protection.
    pub(crate) fn sign(&self, key: &SecretKey) -> Vec<u8> {
        self.sign_with(key, PRICE, &[U256::ONE, U256::ZERO, U256::ZERO], 35 + 2)
    }

    /// RLP of the transaction, signed without EIP-155 protection, as before Spurious Dragon.
    pub(crate) fn sign_unprotected(&self, key: &SecretKey, price: u64) -> Vec<u8> {
        self.sign_with(key, price, &[], 27)
    }

    /// Signs the fields with `suffix` after them. The v of the signature is `v` plus the y parity.
    fn sign_with(&self, key: &SecretKey, price: u64, suffix: &[U256], v: u64) -> Vec<u8> {
        let (r, s, parity) = sign(key, keccak256(self.encode(price, suffix)));
        self.encode(price, &[U256::from(v + parity), r, s])
    }

    /// RLP of the transaction with gas price 0, without EIP-155 protection and with the signature (1, 1), and its
    /// sender. Each such transaction has another sender, whose key is not known.
    pub(crate) fn free(&self) -> (Vec<u8>, Address) {
        let hash = keccak256(self.encode(0, &[]));
        let signature = Signature { hash, r: U256::ONE, s: U256::ONE, y_parity: false, low_s: true };
        let sender = recover_scalar(&signature).expect("r = 1 is the x coordinate of a curve point");
        (self.encode(0, &[U256::from(27), U256::ONE, U256::ONE]), sender)
    }
}

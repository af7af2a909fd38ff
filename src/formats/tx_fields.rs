//! Encoding and signing of a transaction from its fields.
//!
//! In: fields as numbers of up to 256 bits, since tests contain transactions whose fields are too wide. Out: the EIP-2718
//! encoding.
//! Spec: EIP-155, 2718, 2930, 1559, 4844, 7702.
//! Not here: whether the transaction is valid.

use super::json::Quantity;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::{EMPTY_STRING_CODE, Encodable, Header};
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, SecretKey};
use serde::Deserialize;

/// One entry of an access list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with `address` and `storageKeys`")]
pub(super) struct AccessJson {
    address: Address,
    storage_keys: Vec<B256>,
}

/// One authorization.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of an authorization")]
pub(super) struct AuthorizationJson {
    chain_id: Quantity,
    address: Address,
    nonce: Quantity,
    v: Option<Quantity>,
    y_parity: Option<Quantity>,
    r: Quantity,
    s: Quantity,
}

/// The fields of a transaction without its signature.
#[derive(Clone, Debug, Default)]
pub(super) struct TxFields<'a> {
    pub(super) tx_type: u8,
    pub(super) chain_id: U256,
    pub(super) nonce: U256,
    /// Gas price of types 0 and 1.
    pub(super) gas_price: U256,
    pub(super) max_fee_per_gas: U256,
    pub(super) max_priority_fee_per_gas: U256,
    pub(super) gas_limit: U256,
    pub(super) to: Option<Address>,
    pub(super) value: U256,
    pub(super) input: &'a [u8],
    pub(super) access_list: &'a [AccessJson],
    pub(super) max_fee_per_blob_gas: U256,
    pub(super) blob_hashes: &'a [B256],
    pub(super) authorizations: &'a [AuthorizationJson],
}

impl TxFields<'_> {
    /// The RLP of the fields that are signed, without a list header.
    fn unsigned(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.tx_type > 0 {
            self.chain_id.encode(&mut out);
        }
        self.nonce.encode(&mut out);
        if self.tx_type > 1 {
            self.max_priority_fee_per_gas.encode(&mut out);
            self.max_fee_per_gas.encode(&mut out);
        } else {
            self.gas_price.encode(&mut out);
        }
        self.gas_limit.encode(&mut out);
        match self.to {
            None => out.push(EMPTY_STRING_CODE),
            Some(to) => to.encode(&mut out),
        }
        self.value.encode(&mut out);
        self.input.encode(&mut out);
        if self.tx_type > 0 {
            list(&mut out, |out| {
                for AccessJson { address, storage_keys } in self.access_list {
                    list(out, |out| {
                        address.encode(out);
                        storage_keys.encode(out);
                    });
                }
            });
        }
        if self.tx_type == 3 {
            self.max_fee_per_blob_gas.encode(&mut out);
            list(&mut out, |out| self.blob_hashes.iter().for_each(|hash| hash.encode(out)));
        }
        if self.tx_type == 4 {
            list(&mut out, |out| {
                for row in self.authorizations {
                    let y_parity = row.y_parity.or(row.v).unwrap_or_default();
                    list(out, |out| {
                        row.chain_id.0.encode(out);
                        row.address.encode(out);
                        [row.nonce, y_parity, row.r, row.s].iter().for_each(|quantity| quantity.0.encode(out));
                    });
                }
            });
        }
        out
    }

    /// The EIP-2718 encoding with this signature; `v` is the parity for typed transactions.
    pub(super) fn with_signature(&self, v: U256, r: U256, s: U256) -> Bytes {
        let mut fields = self.unsigned();
        [v, r, s].iter().for_each(|part| part.encode(&mut fields));
        envelope(self.tx_type, &fields).into()
    }

    /// The EIP-2718 encoding, signed with this key. `protected`: a legacy transaction is signed for its chain (EIP-155).
    pub(super) fn sign(&self, key: &SecretKey, protected: bool) -> Bytes {
        let mut fields = self.unsigned();
        let protected = protected && self.tx_type == 0;
        if protected {
            self.chain_id.encode(&mut fields);
            fields.extend_from_slice(&[EMPTY_STRING_CODE; 2]);
        }
        let hash = keccak256(envelope(self.tx_type, &fields));
        let signature = RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash.0), key);
        let (id, bytes) = signature.serialize_compact();
        let parity = U256::from(id.to_u8() & 1);
        let v = match self.tx_type {
            0 if protected => {
                self.chain_id.wrapping_mul(U256::from(2)).wrapping_add(U256::from(35)).wrapping_add(parity)
            }
            0 => U256::from(27) + parity,
            _ => parity,
        };
        self.with_signature(v, U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..]))
    }
}

/// The EIP-2718 encoding of a transaction with these RLP fields.
fn envelope(tx_type: u8, fields: &[u8]) -> Vec<u8> {
    let mut out = if tx_type == 0 { Vec::new() } else { vec![tx_type] };
    list(&mut out, |out| out.extend_from_slice(fields));
    out
}

/// Appends an RLP list of the items that `items` writes.
fn list(out: &mut Vec<u8>, items: impl FnOnce(&mut Vec<u8>)) {
    let mut payload = Vec::new();
    items(&mut payload);
    Header { list: true, payload_length: payload.len() }.encode(out);
    out.extend_from_slice(&payload);
}

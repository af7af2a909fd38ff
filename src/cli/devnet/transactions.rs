//! Drafts of transactions, signed and encoded.
//!
//! In: drafts, keys. Out: EIP-2718 encodings of types 0, 1 and 2. Signatures are deterministic (RFC 6979).
//! Spec: EIP-155, 2718, 2930, 1559.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::{EMPTY_STRING_CODE, Encodable, Header};
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, PublicKey, SecretKey};

/// Chain id of the generated chain.
pub const CHAIN_ID: u64 = 1337;

/// A key and its account.
#[derive(Clone, Debug)]
pub struct Signer {
    key: SecretKey,
    /// The account.
    pub address: Address,
}

impl Signer {
    /// The `index`-th signer; nothing where the hash is no key (not for any index that can be reached).
    pub fn new(index: u64) -> Option<Self> {
        let mut seed = b"balustrade devnet key ".to_vec();
        seed.extend_from_slice(&index.to_be_bytes());
        let key = SecretKey::from_secret_bytes(keccak256(seed).0).ok()?;
        let public = PublicKey::from_secret_key(&key).serialize_uncompressed();
        Some(Self { key, address: Address::from_slice(&keccak256(&public[1..])[12..]) })
    }

    /// r, s and the parity of the nonce point.
    fn sign(&self, hash: B256) -> (U256, U256, bool) {
        let signature = RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash.0), &self.key);
        let (id, bytes) = signature.serialize_compact();
        let word = |from: usize| U256::from_be_slice(&bytes[from..from + 32]);
        (word(0), word(32), id.to_u8() & 1 == 1)
    }
}

/// A transaction without its signature.
#[derive(Clone, Debug)]
pub struct Draft {
    /// 0, 1 or 2.
    pub tx_type: u8,
    /// The sender's nonce.
    pub nonce: u64,
    /// Gas bought.
    pub gas_limit: u64,
    /// Wei per gas at most; the gas price of types 0 and 1.
    pub max_fee: u64,
    /// Wei per gas for the coinbase; unused by types 0 and 1.
    pub priority_fee: u64,
    /// The recipient; `None` creates.
    pub to: Option<Address>,
    /// Wei.
    pub value: U256,
    /// Calldata or init code.
    pub input: Vec<u8>,
    /// Address and keys to warm; unused by type 0.
    pub access: Option<(Address, Vec<U256>)>,
}

impl Draft {
    /// Signs and encodes (EIP-2718).
    pub fn sign(&self, signer: &Signer) -> Vec<u8> {
        let fields = self.fields();
        let mut signed = fields.clone();
        if self.tx_type == 0 {
            CHAIN_ID.encode(&mut signed);
            signed.extend_from_slice(&[EMPTY_STRING_CODE; 2]);
        }
        let (r, s, odd) = signer.sign(keccak256(self.envelope(&signed)));
        let mut complete = fields;
        if self.tx_type == 0 {
            (CHAIN_ID * 2 + 35 + u64::from(odd)).encode(&mut complete);
        } else {
            odd.encode(&mut complete);
        }
        r.encode(&mut complete);
        s.encode(&mut complete);
        self.envelope(&complete)
    }

    fn fields(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.input.len() + 200);
        if self.tx_type > 0 {
            CHAIN_ID.encode(&mut out);
        }
        self.nonce.encode(&mut out);
        if self.tx_type == 2 {
            self.priority_fee.encode(&mut out);
        }
        self.max_fee.encode(&mut out);
        self.gas_limit.encode(&mut out);
        match self.to {
            Some(to) => to.encode(&mut out),
            None => out.push(EMPTY_STRING_CODE),
        }
        self.value.encode(&mut out);
        self.input.as_slice().encode(&mut out);
        if self.tx_type > 0 {
            let entry = self.access.as_ref().map_or_else(Vec::new, |(address, keys)| {
                let mut entry = Vec::new();
                address.encode(&mut entry);
                let words: Vec<u8> = keys.iter().flat_map(|key| alloy_rlp::encode(B256::from(*key))).collect();
                entry.extend_from_slice(&list(&words));
                list(&entry)
            });
            out.extend_from_slice(&list(&entry));
        }
        out
    }

    fn envelope(&self, fields: &[u8]) -> Vec<u8> {
        let mut out = if self.tx_type == 0 { Vec::new() } else { vec![self.tx_type] };
        out.extend_from_slice(&list(fields));
        out
    }
}

/// An RLP list around encoded items.
fn list(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 9);
    Header { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Bytes;
    use balustrade::arena::TxIndex;
    use balustrade::exec::senders::{Signature, recover_batch};
    use balustrade::exec::wire::Transactions;

    #[test]
    fn signed_drafts_decode_and_recover_to_their_signer() {
        let signer = Signer::new(7).expect("a key");
        for tx_type in 0..3 {
            for access in [None, Some((signer.address, vec![U256::from(3), U256::MAX]))] {
                let draft = Draft {
                    tx_type,
                    nonce: 5,
                    gas_limit: 100_000,
                    max_fee: 1_000,
                    priority_fee: 3,
                    to: (tx_type != 1).then_some(signer.address),
                    value: U256::from(9),
                    input: vec![1; 70],
                    access,
                };
                let bytes = Bytes::from(draft.sign(&signer));
                let decoded = Transactions::decode_one(bytes).expect("decodes");
                let row = decoded.row(TxIndex(0));
                assert_eq!((row.tx_type, row.chain_id, row.nonce), (tx_type, Some(CHAIN_ID), 5));
                let mut payload = Vec::new();
                decoded.signing_payload(TxIndex(0), &mut payload);
                let signature =
                    Signature { hash: keccak256(payload), r: row.r, s: row.s, y_parity: row.y_parity, low_s: true };
                let mut sender = [None];
                recover_batch(&[signature], &mut sender);
                assert_eq!(sender, [Some(signer.address)]);
            }
        }
    }
}

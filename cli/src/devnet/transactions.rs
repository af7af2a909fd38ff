//! Signs and encodes transactions.
//!
//! In: drafts and keys. Out: EIP-2718 encodings of types 0 to 4. Signatures are deterministic (RFC
//! 6979).
//! Spec: EIP-155, 2718, 2930, 1559, 4844, 7702. Not here: which transactions a block holds
//! (`devnet`).

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::{EMPTY_STRING_CODE, Encodable, Header};
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, PublicKey, SecretKey};

/// Chain id of the generated chain.
pub const CHAIN_ID: u64 = 1337;

/// A private key and its account.
#[derive(Clone, Debug)]
pub struct Signer {
    key: SecretKey,
    /// The account's address.
    pub address: Address,
}

impl Signer {
    /// The signer of this index, whose key is a hash; `None` if the hash is not a valid key, which
    /// happens for no index in use.
    pub fn new(index: u64) -> Option<Self> {
        let mut seed = b"balustrade devnet key ".to_vec();
        seed.extend_from_slice(&index.to_be_bytes());
        let key = SecretKey::from_secret_bytes(keccak256(seed).0).ok()?;
        let public = PublicKey::from_secret_key(&key).serialize_uncompressed();
        Some(Self { key, address: Address::from_slice(&keccak256(&public[1..])[12..]) })
    }

    /// Signs a hash; returns r, s and the y parity.
    fn sign(&self, hash: B256) -> (U256, U256, bool) {
        let signature = RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash.0), &self.key);
        let (id, bytes) = signature.serialize_compact();
        let word = |from: usize| U256::from_be_slice(&bytes[from..from + 32]);
        (word(0), word(32), id.to_u8() & 1 == 1)
    }
}

/// A versioned hash of a blob that does not exist (EIP-4844).
pub fn blob_hash(seed: u64) -> B256 {
    let mut hash = keccak256(seed.to_be_bytes());
    hash[0] = 1;
    hash
}

/// RLP of a withdrawal (EIP-4895).
pub fn withdrawal(index: u64, validator: u64, to: Address, gwei: u64) -> Vec<u8> {
    let mut fields = Vec::with_capacity(50);
    index.encode(&mut fields);
    validator.encode(&mut fields);
    to.encode(&mut fields);
    gwei.encode(&mut fields);
    list(&fields)
}

/// A transaction without its signature.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Transaction type, 0 to 4.
    pub tx_type: u8,
    /// Nonce of the sender.
    pub nonce: u64,
    /// Gas limit.
    pub gas_limit: u64,
    /// Maximal fee in wei per gas; for types 0 and 1 the gas price.
    pub max_fee: u64,
    /// Maximal priority fee in wei per gas; unused by types 0 and 1.
    pub priority_fee: u64,
    /// The recipient; `None` creates a contract.
    pub to: Option<Address>,
    /// Value in wei.
    pub value: U256,
    /// Calldata, or init code of a creation.
    pub input: Vec<u8>,
    /// Access list (EIP-2930): addresses with storage keys; unused by type 0.
    pub access: Vec<(Address, Vec<U256>)>,
    /// Versioned hashes of the blobs; used by type 3 only.
    pub blobs: Vec<B256>,
    /// Signed authorizations; used by type 4 only.
    pub authorizations: Vec<Authorization>,
}

/// Maximal fee in wei per blob gas of all blob transactions here.
const MAX_BLOB_FEE: u64 = 1_000_000_000;

/// A signed authorization that delegates an account to a code (EIP-7702), as RLP.
#[derive(Clone, Debug)]
pub struct Authorization(Vec<u8>);

impl Authorization {
    /// Signs the delegation of `signer` to `target`. `nonce` is the account's nonce when the
    /// authorization is processed.
    pub fn new(signer: &Signer, target: Address, nonce: u64) -> Self {
        Self::for_chain(CHAIN_ID, signer, target, nonce)
    }

    /// Signs a delegation for a chain id; 0 stands for every chain.
    pub fn for_chain(chain_id: u64, signer: &Signer, target: Address, nonce: u64) -> Self {
        let mut fields = Vec::with_capacity(110);
        chain_id.encode(&mut fields);
        target.encode(&mut fields);
        nonce.encode(&mut fields);
        let mut message = vec![0x05];
        message.extend_from_slice(&list(&fields));
        let (r, s, odd) = signer.sign(keccak256(message));
        odd.encode(&mut fields);
        r.encode(&mut fields);
        s.encode(&mut fields);
        Self(list(&fields))
    }
}

impl Draft {
    /// Signs and encodes the transaction (EIP-2718).
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
        if self.tx_type >= 2 {
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
            let entries = self.access.iter().flat_map(|(address, keys)| {
                let mut entry = Vec::new();
                address.encode(&mut entry);
                let words: Vec<u8> = keys.iter().flat_map(|key| alloy_rlp::encode(B256::from(*key))).collect();
                entry.extend_from_slice(&list(&words));
                list(&entry)
            });
            out.extend_from_slice(&list(&entries.collect::<Vec<u8>>()));
        }
        match self.tx_type {
            3 => {
                MAX_BLOB_FEE.encode(&mut out);
                out.extend_from_slice(&list(&self.blobs.iter().flat_map(alloy_rlp::encode).collect::<Vec<u8>>()));
            }
            4 => {
                let signed: Vec<u8> = self.authorizations.iter().flat_map(|one| one.0.iter().copied()).collect();
                out.extend_from_slice(&list(&signed));
            }
            _ => {}
        }
        out
    }

    fn envelope(&self, fields: &[u8]) -> Vec<u8> {
        let mut out = if self.tx_type == 0 { Vec::new() } else { vec![self.tx_type] };
        out.extend_from_slice(&list(fields));
        out
    }
}

/// RLP of a list with this payload of encoded items.
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
        let authority = Signer::new(8).expect("a key");
        for tx_type in 0..5 {
            let entry = (signer.address, vec![U256::from(3), U256::MAX]);
            for access in [vec![], vec![entry.clone()], vec![entry; 2]] {
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
                    blobs: vec![B256::with_last_byte(1); 2],
                    authorizations: vec![Authorization::new(&authority, signer.address, 3)],
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
                assert_eq!(decoded.blob_count(), if tx_type == 3 { 2 } else { 0 });
                assert_eq!(decoded.all_authorizations().len(), usize::from(tx_type == 4));
                assert!(decoded.all_authorizations().iter().all(|one| one.address == signer.address && one.nonce == 3));
            }
        }
    }
}

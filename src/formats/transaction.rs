//! Transactions in the JSON form of the Engine and RPC interfaces, as tools that transform a state read them.
//!
//! In: the JSON of one transaction: signed (`v` or `yParity`, `r`, `s`), or with a `secretKey` to sign it with. Out: its
//! EIP-2718 encoding.
//! Not here: whether the transaction is valid; encoding and signing (`tx_fields`).

use super::json::Quantity;
use super::tx_fields::{AccessJson, AuthorizationJson, TxFields};
use alloy_primitives::{Address, B256, Bytes, U256};
use secp256k1::SecretKey;
use serde::Deserialize;

/// How [`encode_transaction`] signs what has no signature yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signing {
    /// The chain id (EIP-155) of transactions that state none.
    pub chain_id: u64,
    /// Whether the fork knows legacy signatures with a chain id (Spurious Dragon and later). They are made unless the
    /// transaction says `"protected": false`.
    pub protects: bool,
}

/// A transaction cannot be encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// Not JSON, or JSON of a different structure.
    #[error("{0}")]
    Json(serde_json::Error),
    /// The type is no EIP-2718 type.
    #[error("the type {0} is above 0x7f, the largest of EIP-2718")]
    Type(U256),
    /// The recipient is no address.
    #[error("to: {0:?} is no address")]
    To(String),
    /// The secret key is zero or not below the order of the group.
    #[error("the secret key is no key of secp256k1")]
    SecretKey,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of a transaction")]
struct TransactionJson {
    r#type: Option<Quantity>,
    chain_id: Option<Quantity>,
    nonce: Quantity,
    gas_price: Option<Quantity>,
    max_fee_per_gas: Option<Quantity>,
    max_priority_fee_per_gas: Option<Quantity>,
    max_fee_per_blob_gas: Option<Quantity>,
    blob_versioned_hashes: Option<Vec<B256>>,
    gas: Option<Quantity>,
    gas_limit: Option<Quantity>,
    to: Option<String>,
    #[serde(default)]
    value: Quantity,
    input: Option<Bytes>,
    data: Option<Bytes>,
    access_list: Option<Vec<AccessJson>>,
    authorization_list: Option<Vec<AuthorizationJson>>,
    v: Option<Quantity>,
    y_parity: Option<Quantity>,
    r: Option<Quantity>,
    s: Option<Quantity>,
    secret_key: Option<B256>,
    protected: Option<bool>,
}

impl TransactionJson {
    /// The stated type, or the first one that has the fields given.
    fn tx_type(&self) -> Result<u8, TransactionError> {
        if let Some(stated) = self.r#type {
            let tx_type = u8::try_from(stated.0).ok().filter(|tx_type| *tx_type <= 0x7f);
            return tx_type.ok_or(TransactionError::Type(stated.0));
        }
        Ok(match self {
            _ if self.authorization_list.is_some() => 4,
            _ if self.max_fee_per_blob_gas.is_some() || self.blob_versioned_hashes.is_some() => 3,
            _ if self.max_fee_per_gas.is_some() => 2,
            _ if self.access_list.is_some() => 1,
            _ => 0,
        })
    }
}

/// Encodes the transaction, whose JSON names the fields as `eth_getTransactionByHash` does; `data` and `gasLimit` are
/// accepted for `input` and `gas`. It is signed if it has a `secretKey` and no signature. Without both its signature is
/// zero, which makes it invalid.
///
/// # Errors
/// The JSON has a different structure, or its secret key is invalid. Fields that are too wide for a valid transaction are
/// encoded as they are.
pub fn encode_transaction(json: &str, signing: Signing) -> Result<Bytes, TransactionError> {
    let fields: TransactionJson = serde_json::from_str(json).map_err(TransactionError::Json)?;
    let to = match fields.to.as_deref() {
        None | Some("" | "0x") => None,
        Some(to) => Some(to.parse::<Address>().map_err(|_| TransactionError::To(to.chars().take(50).collect()))?),
    };
    let number = |quantity: Option<Quantity>| quantity.unwrap_or_default().0;
    let transaction = TxFields {
        tx_type: fields.tx_type()?,
        chain_id: fields.chain_id.map_or(U256::from(signing.chain_id), |id| id.0),
        nonce: fields.nonce.0,
        gas_price: number(fields.gas_price),
        max_fee_per_gas: number(fields.max_fee_per_gas),
        max_priority_fee_per_gas: number(fields.max_priority_fee_per_gas),
        gas_limit: number(fields.gas.or(fields.gas_limit)),
        to,
        value: fields.value.0,
        input: fields.input.as_ref().or(fields.data.as_ref()).map_or(&[], |input| input),
        access_list: fields.access_list.as_deref().unwrap_or_default(),
        max_fee_per_blob_gas: number(fields.max_fee_per_blob_gas),
        blob_hashes: fields.blob_versioned_hashes.as_deref().unwrap_or_default(),
        authorizations: fields.authorization_list.as_deref().unwrap_or_default(),
    };
    let v = match transaction.tx_type {
        0 => fields.v,
        _ => fields.y_parity.or(fields.v),
    };
    let (v, r, s) = (number(v), number(fields.r), number(fields.s));
    match fields.secret_key {
        Some(key) if v.is_zero() && r.is_zero() && s.is_zero() => {
            let key = SecretKey::from_secret_bytes(key.0).map_err(|_| TransactionError::SecretKey)?;
            Ok(transaction.sign(&key, signing.protects && fields.protected != Some(false)))
        }
        _ => Ok(transaction.with_signature(v, r, s)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::rules::fork::Fork;
    use crate::exec::senders::{recover_scalar, tx_signatures};
    use crate::exec::wire::Transactions;
    use alloy_primitives::{address, hex};

    const KEY: &str = "0x45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8";
    const SENDER: Address = address!("a94f5374fce5edbc8e2a8697c15331677e6ebf0b");

    fn encode(fields: &str, protects: bool) -> Result<Bytes, TransactionError> {
        encode_transaction(&format!("{{{fields}}}"), Signing { chain_id: 7, protects })
    }

    #[test]
    fn every_type_is_signed_by_its_key() {
        let common = format!(r#""nonce": "0x0", "gas": "0x5208", "value": "0x1", "input": "0x", "secretKey": "{KEY}""#);
        let list = r#""accessList": [{"address": "0x0000000000000000000000000000000000000001", "storageKeys": []}]"#;
        let fees = r#""maxFeePerGas": "10", "maxPriorityFeePerGas": 0"#;
        let to = r#""to": "0x0000000000000000000000000000000000000001""#;
        let blobs = format!(r#""maxFeePerBlobGas": "0x1", "blobVersionedHashes": ["0x01{}"]"#, "00".repeat(31));
        let authorization = r#""authorizationList": [{"chainId": "0x0", "nonce": "0x0", "yParity": "0x1", "v": "0x1",
            "address": "0x0000000000000000000000000000000000000001", "r": "0x1", "s": "0x1"}]"#;
        for (expected, chain_id, fields, protects) in [
            (0, Some(7), format!(r#"{common}, "gasPrice": "0xa""#), true),
            (0, None, format!(r#"{common}, "gasPrice": "0xa", "protected": false, "to": """#), true),
            (0, None, format!(r#"{common}, "gasPrice": "0xa", "to": null"#), false),
            (1, Some(7), format!(r#"{common}, "gasPrice": "0xa", {list}"#), true),
            (2, Some(9), format!(r#"{common}, "chainId": "0x9", {fees}, {to}"#), true),
            (3, Some(7), format!("{common}, {fees}, {to}, {blobs}"), true),
            (4, Some(7), format!("{common}, {fees}, {to}, {authorization}"), true),
        ] {
            let encoded = encode(&fields, protects).unwrap_or_else(|error| panic!("{fields}: {error}"));
            let decoded = Transactions::decode_one(encoded).unwrap_or_else(|error| panic!("{fields}: {error}"));
            assert_eq!((decoded.rows()[0].tx_type, decoded.rows()[0].chain_id), (expected, chain_id), "{fields}");
            let signatures = tx_signatures(&decoded, 0..1, Fork::Amsterdam);
            assert_eq!(recover_scalar(&signatures[0]), Some(SENDER), "{fields}");
        }
    }

    /// ethereum/tests, GeneralStateTests/stExample/add11.
    #[test]
    fn a_signature_is_kept() {
        let signed = hex!(
            "f863800a83061a8094095e7baea6a6c7c4c2dfeb977efac326af552d87830186a0801ba0ffb600e63115a7362e7811894a91d8ba4330e5"
            "26f22121c994c4692035dfdfd5a06198379fcac8de3dbfac48b165df4bf88e2088f294b61efb9a65fe2281c76e16"
        );
        let fields = r#""type": "0x0", "nonce": "0x00", "gasPrice": "0x0a", "gasLimit": "0x061a80", "value": "0x0186a0",
            "to": "0x095e7baea6a6c7c4c2dfeb977efac326af552d87", "data": "0x", "v": "0x1b",
            "r": "0xffb600e63115a7362e7811894a91d8ba4330e526f22121c994c4692035dfdfd5",
            "s": "0x6198379fcac8de3dbfac48b165df4bf88e2088f294b61efb9a65fe2281c76e16", "secretKey": "0x01""#;
        let fields = fields.replace(r#", "secretKey": "0x01""#, "");
        assert_eq!(encode(&fields, true).expect("encoded").as_ref(), signed);
        // Fields that are too wide are encoded as they are; without a signature and without a key it is zero.
        let wide = fields.replace(r#""0x061a80""#, r#""0x10000000000000000""#).replace(r#""v": "0x1b","#, "");
        assert!(Transactions::decode_one(encode(&wide, true).expect("encoded")).is_err());
    }

    #[test]
    fn malformed_fields_are_errors() {
        for wrong in [
            "",
            r#""nonce": "0x10000000000000000000000000000000000000000000000000000000000000000""#,
            r#""nonce": "0x0", "type": "0x80""#,
            r#""nonce": "0x0", "type": "0x100""#,
            r#""nonce": "0x0", "to": "0x01""#,
            r#""nonce": "0x0", "secretKey": "0x0000000000000000000000000000000000000000000000000000000000000000""#,
            r#""nonce": "0x0", "accessList": [{}]"#,
        ] {
            assert!(encode(wrong, true).is_err(), "{wrong}");
        }
    }
}

//! Signing of the transaction in the `transaction` section of a state test.
//!
//! In: the JSON of the section, and the indexes of data, gas limit and value. Out: the EIP-2718
//! encoding, for tests without signed bytes, such as those of fuzzers. Transactions of type 0 are
//! signed without a chain id, which every fork accepts.
//! Not here: whether the transaction is valid; encoding and signing (`tx_fields`).

use super::json::Quantity;
use super::tx_fields::{AccessJson, AuthorizationJson, TxFields};
use alloy_primitives::{Address, B256, Bytes, U256};
use secp256k1::SecretKey;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TransactionJson {
    nonce: Quantity,
    #[serde(default)]
    gas_price: Quantity,
    max_fee_per_gas: Option<Quantity>,
    #[serde(default)]
    max_priority_fee_per_gas: Quantity,
    max_fee_per_blob_gas: Option<Quantity>,
    #[serde(default)]
    blob_versioned_hashes: Vec<B256>,
    gas_limit: Vec<Quantity>,
    #[serde(default)]
    to: String,
    value: Vec<Quantity>,
    data: Vec<Bytes>,
    #[serde(default)]
    access_lists: Vec<Option<Vec<AccessJson>>>,
    authorization_list: Option<Vec<AuthorizationJson>>,
    secret_key: Option<B256>,
}

/// Signs the transaction with these indexes of data (and access list), gas limit and value.
///
/// # Errors
/// In words: the section has a different structure, lacks a secret key, or has no such index.
pub(super) fn transaction(json: &str, [data, gas, value]: [u64; 3], chain_id: u64) -> Result<Bytes, String> {
    let fields: TransactionJson = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let key = fields.secret_key.ok_or("the transaction has no secret key")?;
    let key = SecretKey::from_secret_bytes(key.0).map_err(|error| error.to_string())?;
    let place = |index: u64, what: &str| usize::try_from(index).map_err(|_| format!("no such {what}"));
    let (data, gas, value) = (place(data, "data")?, place(gas, "gas limit")?, place(value, "value")?);
    let access_list = fields.access_lists.get(data).and_then(Option::as_ref);
    let tx_type: u8 = match &fields {
        fields if fields.authorization_list.is_some() => 4,
        fields if fields.max_fee_per_blob_gas.is_some() => 3,
        fields if fields.max_fee_per_gas.is_some() => 2,
        _ if access_list.is_some() => 1,
        _ => 0,
    };
    let to = match fields.to.as_str() {
        "" => None,
        to => Some(to.parse::<Address>().map_err(|error| format!("to: {error}"))?),
    };
    let transaction = TxFields {
        tx_type,
        chain_id: U256::from(chain_id),
        nonce: fields.nonce.0,
        gas_price: fields.gas_price.0,
        max_fee_per_gas: fields.max_fee_per_gas.unwrap_or_default().0,
        max_priority_fee_per_gas: fields.max_priority_fee_per_gas.0,
        gas_limit: fields.gas_limit.get(gas).ok_or("no such gas limit")?.0,
        to,
        value: fields.value.get(value).ok_or("no such value")?.0,
        input: fields.data.get(data).ok_or("no such data")?,
        access_list: access_list.map(Vec::as_slice).unwrap_or_default(),
        max_fee_per_blob_gas: fields.max_fee_per_blob_gas.unwrap_or_default().0,
        blob_hashes: &fields.blob_versioned_hashes,
        authorizations: fields.authorization_list.as_deref().unwrap_or_default(),
    };
    Ok(transaction.sign(&key, false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::hex;

    /// ethereum/tests, GeneralStateTests/stExample/accessListExample: the signed bytes of the
    /// fixture, and the same transaction without an access list.
    #[test]
    fn the_bytes_of_a_published_test() {
        let json = r#"{"accessLists": [[
                {"address": "0x095e7baea6a6c7c4c2dfeb977efac326af552d87", "storageKeys": [
                    "0x0000000000000000000000000000000000000000000000000000000000000000",
                    "0x0000000000000000000000000000000000000000000000000000000000000001"]}], null],
            "data": ["0x00", "0x"], "gasLimit": ["0x061a80"], "gasPrice": "0x0a", "nonce": "0x00",
            "secretKey": "0x45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8",
            "sender": "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b",
            "to": "0x095e7baea6a6c7c4c2dfeb977efac326af552d87", "value": ["0x0186a0"]}"#;
        // stExample/add11 has the second one, data index 1 here.
        let signed = hex!(
            "f863800a83061a8094095e7baea6a6c7c4c2dfeb977efac326af552d87830186a0801ba0ffb600e63115a7362e7811894a91d8ba4330e5"
            "26f22121c994c4692035dfdfd5a06198379fcac8de3dbfac48b165df4bf88e2088f294b61efb9a65fe2281c76e16"
        );
        assert_eq!(transaction(json, [1, 0, 0], 1).map(|bytes| bytes.to_vec()), Ok(signed.to_vec()));
        assert_eq!(transaction(json, [0, 0, 0], 1).map(|bytes| bytes[0]), Ok(1));
        for indexes in [[2, 0, 0], [0, 1, 0], [0, 0, 1], [u64::MAX; 3]] {
            assert!(transaction(json, indexes, 1).is_err(), "{indexes:?}");
        }
        assert!(transaction(&json.replace("secretKey", "other"), [0; 3], 1).is_err());
        assert!(transaction("{}", [0; 3], 1).is_err());
    }
}

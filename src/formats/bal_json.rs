//! Conversion of a block access list from the JSON form of fixtures, or of nodes (`eth_getBlockAccessList`), to RLP.
//!
//! In: JSON. Out: RLP in the order of the JSON, even if the order is invalid, since fixtures of
//! invalid lists must stay invalid.
//! Spec: EIP-7928.
//! Not here: any check of the list.

use super::json::Quantity;
use alloy_primitives::{Address, Bytes};
use alloy_rlp::{Encodable, Header};
use serde::Deserialize;

/// One account of the block access list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of an account of a block access list")]
struct Account {
    address: Address,
    #[serde(default)]
    storage_changes: Vec<SlotChanges>,
    #[serde(default)]
    storage_reads: Vec<Quantity>,
    #[serde(default)]
    balance_changes: Vec<Change<Quantity>>,
    #[serde(default)]
    nonce_changes: Vec<Change<Quantity>>,
    #[serde(default)]
    code_changes: Vec<Change<Bytes>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with `slot` and `slotChanges`")]
struct SlotChanges {
    #[serde(alias = "key")]
    slot: Quantity,
    #[serde(default, alias = "changes")]
    slot_changes: Vec<Change<Quantity>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with an index and a value")]
struct Change<V> {
    #[serde(rename = "blockAccessIndex", alias = "txIndex", alias = "index")]
    index: Quantity,
    #[serde(alias = "postValue", alias = "postBalance", alias = "postNonce", alias = "newCode", alias = "code")]
    value: V,
}

/// Encodes a block access list.
pub(super) fn encode(json: &[u8]) -> serde_json::Result<Bytes> {
    let accounts: Vec<Account> = serde_json::from_slice(json)?;
    let mut out = Vec::new();
    list(&mut out, &accounts, |account, out| {
        let mut payload = Vec::new();
        account.address.encode(&mut payload);
        list(&mut payload, &account.storage_changes, |slot, out| {
            let mut payload = Vec::new();
            slot.slot.0.encode(&mut payload);
            changes(&mut payload, &slot.slot_changes, |value| &value.0);
            wrap(out, &payload);
        });
        list(&mut payload, &account.storage_reads, |key, out| key.0.encode(out));
        changes(&mut payload, &account.balance_changes, |value| &value.0);
        changes(&mut payload, &account.nonce_changes, |value| &value.0);
        changes(&mut payload, &account.code_changes, |code| code);
        wrap(out, &payload);
    });
    Ok(out.into())
}

fn changes<V, E: Encodable>(out: &mut Vec<u8>, rows: &[Change<V>], value: impl Fn(&V) -> &E) {
    list(out, rows, |row, out| {
        let mut payload = Vec::new();
        row.index.0.encode(&mut payload);
        value(&row.value).encode(&mut payload);
        wrap(out, &payload);
    });
}

fn list<T>(out: &mut Vec<u8>, rows: &[T], encode: impl Fn(&T, &mut Vec<u8>)) {
    let mut payload = Vec::new();
    for row in rows {
        encode(row, &mut payload);
    }
    wrap(out, &payload);
}

fn wrap(out: &mut Vec<u8>, payload: &[u8]) {
    Header { list: true, payload_length: payload.len() }.encode(out);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use alloy_primitives::hex;

    #[test]
    fn a_list_of_every_field() {
        let json = r#"[{"address": "0x0000000000000000000000000000000000000001",
            "nonceChanges": [{"blockAccessIndex": "0x01", "postNonce": "0x02"}],
            "balanceChanges": [{"blockAccessIndex": "0x00", "postBalance": "0x0100"}],
            "codeChanges": [{"blockAccessIndex": "0x01", "newCode": "0x00"}],
            "storageChanges": [{"slot": "0x00", "slotChanges": [{"blockAccessIndex": "0x01", "postValue": "0x00"}]}],
            "storageReads": ["0x01"]}]"#;
        let rlp =
            hex!("ed ec 940000000000000000000000000000000000000001 c6c580c3c20180 c101 c5c480820100 c3c20102 c3c20100");
        let encoded = super::encode(json.as_bytes()).expect("valid");
        assert_eq!(hex::encode(&encoded), hex::encode(rlp));
        assert!(super::encode(b"[{}]").is_err());
    }
}

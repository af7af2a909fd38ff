//! Serialization of an outcome's byte strings as `0x` hex; only with the feature `serde`.

use crate::exec::wire::ReceiptList;
use alloy_primitives::hex;
use serde::Serializer;

/// Byte strings as hex.
pub(super) fn hex_list<S: Serializer>(items: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(items.iter().map(hex::encode_prefixed))
}

/// EIP-2718 encodings of the receipts as hex.
pub(super) fn receipts<S: Serializer>(receipts: &ReceiptList, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(receipts.iter().map(hex::encode_prefixed))
}

#[cfg(test)]
mod tests {
    use crate::exec::block::error::{BlockError, InvalidBlock};
    use crate::exec::rules::header::HeaderFault;
    use serde_json::json;

    #[test]
    fn an_invalid_block_has_a_kind_a_message_and_classes() {
        let error = BlockError::from(InvalidBlock::from(HeaderFault::ParentHash));
        let json = serde_json::to_value(&error).expect("JSON");
        assert_eq!(json["kind"], "invalid");
        assert_eq!(json["message"], error.to_string());
        let BlockError::Invalid(invalid) = &error else { panic!("made here") };
        assert_eq!(json["classes"], json!(invalid.eest_classes()));
        let cancelled = serde_json::to_value(BlockError::Cancelled("index 3".to_owned())).expect("JSON");
        assert_eq!(cancelled, json!({"kind": "cancelled", "message": "cancelled: index 3", "classes": []}));
    }
}

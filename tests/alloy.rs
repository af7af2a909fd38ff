//! The conversions of the feature `alloy`, compared with alloy's own decoders and encoders on stored blocks.

mod executed;

use alloy_consensus::proofs::calculate_receipt_root;
use alloy_consensus::transaction::{TxEip4844Variant, TxEip4844WithSidecar};
use alloy_consensus::{Block, Header as AlloyHeader, ReceiptEnvelope, Signed, TxEnvelope};
use alloy_eip7928::{AccountChanges, BlockAccessList};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip4844::BlobTransactionSidecar;
use alloy_eips::eip7594::BlobTransactionSidecarVariant;
use alloy_eips::eip7685::Requests;
use balustrade::list::{self, BalColumns};
use balustrade::outcome::ReceiptList;
use balustrade::{BlockInput, Fork, Header};
use executed::{Executed, each_executed};
use std::collections::BTreeSet;

#[test]
fn blocks_and_headers_are_those_of_alloys_decoder() {
    let mut types = BTreeSet::new();
    let count = each_executed(&mut |Executed { name, rules, block, .. }| {
        let decoded: Block<TxEnvelope> = alloy_rlp::decode_exact(block).expect("a block");
        let input = BlockInput::new(rules, block.clone());
        let rows = Block::<TxEnvelope>::try_from(&input).expect("a block");
        assert_eq!(rows, decoded, "{name}");
        types.extend(rows.body.transactions.iter().map(|tx| tx.tx_type() as u8));
        for (rows, decoded) in rows.body.transactions.iter().zip(&decoded.body.transactions) {
            assert_eq!(rows.tx_hash(), decoded.tx_hash(), "{name}");
        }
        assert_eq!(BlockInput::from_alloy(rules, &rows).block, *block, "{name}");

        let header = Header::of_block(block).expect("a header");
        assert_eq!(AlloyHeader::from(&header), decoded.header, "{name}");
        assert_eq!(Header::from(&decoded.header), header, "{name}");
        assert_eq!(decoded.header.hash_slow(), header.hash(), "{name}");
    });
    assert!(count > 35, "{count} blocks");
    assert_eq!(types.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4], "transactions of all types");
}

#[test]
fn a_block_that_does_not_decode_is_an_error() {
    let rules = balustrade::ChainRules::mainnet(Fork::Amsterdam);
    let input = BlockInput::new(&rules, vec![0xc0].into());
    assert!(Block::<TxEnvelope>::try_from(&input).is_err());
}

#[test]
fn sidecars_are_no_part_of_a_block() {
    let mut found = 0;
    each_executed(&mut |Executed { name, rules, block, .. }| {
        let decoded: Block<TxEnvelope> = alloy_rlp::decode_exact(block).expect("a block");
        let with_sidecar = decoded.map_transactions(|tx| match tx {
            TxEnvelope::Eip4844(tx) => {
                found += 1;
                let (tx, signature, hash) = tx.into_parts();
                let sidecar = BlobTransactionSidecarVariant::Eip4844(BlobTransactionSidecar::default());
                let tx = TxEip4844WithSidecar::from_tx_and_sidecar(tx.into(), sidecar);
                let tx = TxEip4844Variant::TxEip4844WithSidecar(tx);
                TxEnvelope::Eip4844(Signed::new_unchecked(tx, signature, hash))
            }
            tx => tx,
        });
        assert_eq!(BlockInput::from_alloy(rules, &with_sidecar).block, *block, "{name}");
    });
    assert!(found > 0, "there are blob transactions");
}

#[test]
fn receipts_and_requests_are_those_of_the_header() {
    let mut before_byzantium = 0;
    each_executed(&mut |Executed { name, rules, block, outcome, .. }| {
        let header = Header::of_block(block).expect("a header");
        let receipts = outcome.to_receipts();
        let encoded: Vec<Vec<u8>> = receipts.iter().map(ReceiptEnvelope::encoded_2718).collect();
        assert!(encoded.iter().map(Vec::as_slice).eq(outcome.receipts.iter()), "{name}");
        assert_eq!(calculate_receipt_root(&receipts), header.receipts_root, "{name}");
        let list = ReceiptList::from(&receipts[..]);
        assert!(list.iter().eq(outcome.receipts.iter()), "{name}");
        assert_eq!(*list.bloom(), header.logs_bloom, "{name}");
        before_byzantium += usize::from(rules.fork < Fork::Byzantium);

        let requests = outcome.to_requests();
        assert_eq!(Requests::from(outcome), requests, "{name}");
        assert_eq!(requests.len(), outcome.requests.len(), "{name}");
        if let Some(hash) = header.requests_hash {
            assert_eq!(requests.requests_hash(), hash, "{name}");
        }
    });
    assert!(before_byzantium > 0, "there are receipts with state roots");
}

#[test]
fn lists_are_those_of_alloys_decoder() {
    let mut of_amsterdam = 0;
    each_executed(&mut |Executed { name, block, outcome, .. }| {
        let decoded: BlockAccessList = alloy_rlp::decode_exact(&outcome.bal).expect("a list");
        let rows = outcome.to_access_list();
        assert_eq!(rows, decoded, "{name}");
        let columns = BalColumns::try_from(&rows[..]).expect("a list");
        assert_eq!(list::encode(&columns), outcome.bal, "{name}");
        if let Some(hash) = Header::of_block(block).expect("a header").block_access_list_hash {
            assert_eq!(alloy_eip7928::compute_block_access_list_hash(&rows), hash, "{name}");
            of_amsterdam += 1;
        }
    });
    assert!(of_amsterdam >= 3, "{of_amsterdam} blocks of Amsterdam");
}

#[test]
fn a_list_out_of_order_is_refused() {
    let account = |byte| AccountChanges::new(alloy_primitives::Address::repeat_byte(byte));
    assert!(BalColumns::try_from(&[account(1), account(2)][..]).is_ok());
    assert!(BalColumns::try_from(&[account(2), account(1)][..]).is_err());
    assert!(BalColumns::try_from(&[account(1), account(1)][..]).is_err());
}

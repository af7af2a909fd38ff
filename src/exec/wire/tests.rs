//! Tests against `alloy-consensus` (the oracle) with the blocks of `tests/data`, mutated blocks, and the
//! blocks of the shared suites.

use super::*;
use crate::arena::{Id, TxIndex};
use alloy_consensus::{
    Block as OracleBlock, Eip658Value, Receipt, ReceiptEnvelope, ReceiptWithBloom, Transaction as _, TxEnvelope,
    Typed2718,
};
use alloy_primitives::{Address, B256, Bloom, Bytes, Log, LogData, U256, hex, keccak256};
use alloy_rlp::{Decodable, Encodable};
use balustrade_cli::testing::{shared, stored};
use proptest::prelude::*;
use std::path::Path;

fn hash_one_by_one(messages: &[&[u8]], out: &mut [B256]) {
    for (message, out) in messages.iter().zip(out) {
        *out = keccak256(message);
    }
}

/// Name and block RLP of a bundle.
fn bundle_block(path: &Path) -> (String, Bytes) {
    let file = std::fs::File::open(path).expect("readable");
    let json: serde_json::Value =
        serde_json::from_reader(flate2::read::GzDecoder::new(file)).expect("bundles are JSON");
    let block = json["block"].as_str().expect("bundles hold a block");
    (path.display().to_string(), hex::decode(block).expect("hex").into())
}

/// Compares every field, hash and sender with the oracle.
fn assert_equals_oracle(name: &str, bytes: &Bytes, block: &Block) {
    let oracle = match OracleBlock::<TxEnvelope>::decode(&mut bytes.as_ref()) {
        Ok(oracle) => oracle,
        Err(error) => panic!("{name}: the oracle refuses what we accept: {error}"),
    };
    let header = &oracle.header;
    let ours = &block.header;
    assert_eq!(ours.parent_hash, header.parent_hash, "{name}");
    assert_eq!(ours.logs_bloom, header.logs_bloom, "{name}");
    assert_eq!((ours.number, ours.timestamp, ours.gas_used), (header.number, header.timestamp, header.gas_used));
    assert_eq!((ours.base_fee, ours.excess_blob_gas), (header.base_fee_per_gas, header.excess_blob_gas), "{name}");
    assert_eq!(block.header_hash, header.hash_slow(), "{name}");
    assert_eq!(ours.hash(), header.hash_slow(), "{name}");
    assert_eq!(block.ommers.len(), oracle.body.ommers.len());
    let mut ommers = Vec::new();
    oracle.body.ommers.encode(&mut ommers);
    assert_eq!(block.ommers_hash(), keccak256(&ommers), "{name}");
    let withdrawals = oracle.body.withdrawals.as_ref().map(|list| &list.0);
    assert_eq!(block.withdrawals.as_ref().map(Vec::len), withdrawals.map(Vec::len), "{name}");
    for ((ours, encoded), theirs) in
        block.withdrawals.iter().flatten().zip(block.withdrawals_encoded()).zip(withdrawals.into_iter().flatten())
    {
        assert_eq!((ours.index, ours.address, ours.amount_gwei), (theirs.index, theirs.address, theirs.amount));
        assert_eq!(encoded, alloy_rlp::encode(theirs), "{name}");
    }

    let transactions = &block.transactions;
    let count = transactions.len();
    assert_eq!(count, oracle.body.transactions.len());
    let (mut hashes, mut signing, mut scratch) = (Vec::new(), Vec::new(), SigningScratch::default());
    transactions.hashes(0..count, &mut hashes, &hash_one_by_one);
    transactions.signing_hashes(0..count, &mut scratch, &mut signing, &hash_one_by_one);
    let mut authorization_hashes = Vec::new();
    let rows = 0..transactions.all_authorizations().len();
    transactions.authorization_hashes(rows, &mut scratch, &mut authorization_hashes, &hash_one_by_one);
    for (i, theirs) in oracle.body.transactions.iter().enumerate() {
        let tx = TxIndex::new(i);
        let ours = transactions.row(tx);
        assert_eq!(hashes[i], *theirs.tx_hash(), "{name} {i}");
        assert_eq!(signing[i], theirs.signature_hash(), "{name} {i}");
        assert_eq!(ours.tx_type, theirs.ty());
        assert_eq!(ours.chain_id, theirs.chain_id());
        assert_eq!((ours.nonce, ours.gas_limit, ours.value), (theirs.nonce(), theirs.gas_limit(), theirs.value()));
        assert_eq!(ours.max_fee_per_gas, theirs.max_fee_per_gas());
        assert_eq!(ours.max_priority_fee_per_gas, theirs.priority_fee_or_price());
        assert_eq!(ours.max_fee_per_blob_gas, theirs.max_fee_per_blob_gas().unwrap_or(0));
        assert_eq!(ours.to, theirs.to());
        assert_eq!(transactions.input(tx), theirs.input().as_ref());
        assert_eq!(transactions.input_bytes(tx), *theirs.input());
        let signature = theirs.signature();
        assert_eq!((ours.y_parity, ours.r, ours.s), (signature.v(), signature.r(), signature.s()));
        let access: Vec<_> = transactions.access_list(tx).map(|(address, keys)| (*address, keys.to_vec())).collect();
        let their_access: Vec<(Address, Vec<U256>)> = theirs
            .access_list()
            .map(|list| {
                list.iter()
                    .map(|item| (item.address, item.storage_keys.iter().map(|k| (*k).into()).collect()))
                    .collect()
            })
            .unwrap_or_default();
        assert_eq!(access, their_access);
        let keys = their_access.iter().map(|(_, keys)| keys.len()).sum();
        assert_eq!(transactions.access_list_counts(tx), (their_access.len(), keys));
        assert_eq!(transactions.blob_hashes(tx), theirs.blob_versioned_hashes().unwrap_or_default());
        let rows = transactions.authorization_rows(tx);
        let authorizations = theirs.authorization_list().unwrap_or_default();
        assert_eq!(transactions.authorizations(tx).len(), authorizations.len());
        for (row, theirs) in rows.zip(authorizations) {
            let ours = &transactions.all_authorizations()[row];
            assert_eq!((ours.chain_id, ours.address, ours.nonce), (theirs.chain_id, theirs.address, theirs.nonce));
            assert_eq!((ours.y_parity, ours.r, ours.s), (theirs.y_parity(), theirs.r(), theirs.s()));
            assert_eq!(authorization_hashes[row], theirs.signature_hash());
        }
        let alone = Transactions::decode_one(Bytes::copy_from_slice(transactions.encoded(tx))).expect("decodes alone");
        assert_eq!((alone.len(), alone.row(TxIndex(0)).nonce), (1, ours.nonce));
    }
}

fn assert_decodes_as_with_the_oracle(path: &Path) {
    let (name, bytes) = bundle_block(path);
    let block = Block::decode(bytes.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(block.encoded_len(), bytes.len());
    let mut header = Vec::new();
    block.header.encode(&mut header);
    assert_eq!(keccak256(&header), block.header_hash, "{name}");
    assert_eq!(Header::decode(&header), Ok(block.header.clone()));
    // Some versions of the oracle do not know the Amsterdam header fields; the hash above
    // covers these headers.
    assert_equals_oracle(&name, &bytes, &block);
}

#[test]
fn bundles_decode_as_with_the_oracle() {
    for name in ["sample.json.gz", "deploy.json.gz", "existence-log.json.gz"] {
        assert_decodes_as_with_the_oracle(&stored(name));
    }
}

#[test]
#[ignore = "needs ../shared/blocks and ../shared/bundles"]
fn mainnet_bundles_decode_as_with_the_oracle() {
    for folder in ["bundles/trie", "bundles/prestate", "blocks"] {
        let entries = shared(folder).read_dir().expect("a folder").flatten().map(|entry| entry.path());
        entries
            .filter(|path| path.extension().is_some_and(|extension| extension == "gz"))
            .for_each(|path| assert_decodes_as_with_the_oracle(&path));
    }
}

/// A small block with every transaction type, two access lists, an ommer and withdrawals;
/// signatures are arbitrary.
fn sample() -> Vec<u8> {
    use alloy_consensus::{Signed, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy};
    let signature = alloy_primitives::Signature::new(U256::from(7), U256::from(9), true);
    let access: alloy_eips::eip2930::AccessList = alloy_rlp::Decodable::decode(
        &mut hex!("f838f7940000000000000000000000000000000000000001e1a00000000000000000000000000000000000000000000000000000000000000003").as_ref(),
    )
    .expect("access list");
    let to = Address::repeat_byte(0x11);
    let authorization =
        alloy_eips::eip7702::Authorization { chain_id: U256::from(1), address: to, nonce: 3 }.into_signed(signature);
    let transactions: Vec<TxEnvelope> = vec![
        Signed::new_unhashed(TxLegacy { chain_id: None, nonce: 1, gas_price: 300, ..Default::default() }, signature)
            .into(),
        Signed::new_unhashed(
            TxLegacy { chain_id: Some(1), to: to.into(), input: vec![1; 80].into(), ..Default::default() },
            signature,
        )
        .into(),
        Signed::new_unhashed(TxEip2930 { chain_id: 1, access_list: access.clone(), ..Default::default() }, signature)
            .into(),
        Signed::new_unhashed(
            TxEip1559 { chain_id: 1, max_fee_per_gas: 1 << 70, to: to.into(), ..Default::default() },
            signature,
        )
        .into(),
        TxEnvelope::Eip4844(Signed::new_unhashed(
            TxEip4844 {
                chain_id: 1,
                to,
                blob_versioned_hashes: vec![B256::repeat_byte(1); 2],
                max_fee_per_blob_gas: 5,
                ..Default::default()
            }
            .into(),
            signature,
        )),
        Signed::new_unhashed(
            TxEip7702 {
                chain_id: 1,
                to,
                access_list: access,
                authorization_list: vec![authorization; 2],
                ..Default::default()
            },
            signature,
        )
        .into(),
    ];
    let withdrawals = vec![alloy_eips::eip4895::Withdrawal { index: 1, validator_index: 2, address: to, amount: 3 }; 2];
    let header = alloy_consensus::Header {
        base_fee_per_gas: Some(7),
        withdrawals_root: Some(B256::repeat_byte(3)),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(1 << 40),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(B256::ZERO),
        ..Default::default()
    };
    let block = OracleBlock::<TxEnvelope> {
        header: header.clone(),
        body: alloy_consensus::BlockBody { transactions, ommers: vec![header], withdrawals: Some(withdrawals.into()) },
    };
    alloy_rlp::encode(block)
}

#[test]
fn every_transaction_type_equals_the_oracle() {
    let bytes = Bytes::from(sample());
    let block = Block::decode(bytes.clone()).expect("valid");
    assert_equals_oracle("sample", &bytes, &block);
    assert_eq!(block.transactions.blob_count(), 2);
}

fn as_log_ref(log: &Log) -> LogRef<'_> {
    LogRef { address: &log.address, topics: log.data.topics(), data: &log.data.data }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Mutated, truncated or extended bytes never cause a panic; accepted blocks are accepted by
    /// the oracle with equal fields.
    #[test]
    fn mutated_blocks_are_refused_or_equal_the_oracle(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..4),
    ) {
        let mut bytes = sample();
        for (at, value, kind) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = value,
                1 => bytes[at] ^= 1 << (value & 7),
                2 => { bytes.remove(at); }
                _ => bytes.insert(at, value),
            }
        }
        let bytes = Bytes::from(bytes);
        match Block::decode(bytes.clone()) {
            Ok(block) => assert_equals_oracle("mutated", &bytes, &block),
            Err(error) => {
                prop_assert!(error.offset <= bytes.len());
                prop_assert!(!error.eest_classes().is_empty());
                // The oracle omits some checks of canonical form; bytes that it decodes and encodes
                // unchanged are canonical.
                if let Ok(oracle) = OracleBlock::<TxEnvelope>::decode(&mut bytes.as_ref()) {
                    prop_assert!(alloy_rlp::encode(oracle) != bytes, "refused a canonical block: {error}");
                }
            }
        }
        let _ = Transactions::decode_one(bytes);
    }

    /// Random bytes.
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let bytes = Bytes::from(bytes);
        let _ = Block::decode(bytes.clone());
        let _ = Transactions::decode_one(bytes.clone());
        let _ = Header::decode(&bytes);
    }

    /// Receipt encoding and blooms equal the oracle's, also with repeated logs.
    #[test]
    fn receipts_equal_the_oracle(
        receipts in prop::collection::vec(
            (0..5u8, any::<bool>(), any::<u64>(), prop::collection::vec((0..3u8, 0..5usize, 0..90usize), 0..5)), 1..6),
    ) {
        let mut list = ReceiptList::default();
        let mut union = Bloom::ZERO;
        for (i, (tx_type, success, gas, logs)) in receipts.iter().enumerate() {
            let logs: Vec<Log> = logs.iter().map(|(address, topics, len)| Log {
                address: Address::repeat_byte(*address),
                data: LogData::new_unchecked(
                    (0..*topics).map(|t| B256::repeat_byte(*address + t as u8)).collect(), vec![*address; *len].into()),
            }).collect();
            let encoded = ReceiptLogs::of(1, |_| logs.iter().map(as_log_ref));
            list.push(*tx_type, ReceiptOutcome::Status(*success), *gas, encoded.row(0));
            let receipt = ReceiptWithBloom::from(Receipt {
                status: Eip658Value::Eip658(*success), cumulative_gas_used: *gas, logs,
            });
            union.accrue_bloom(&receipt.logs_bloom);
            let envelope = match tx_type {
                0 => ReceiptEnvelope::Legacy(receipt),
                1 => ReceiptEnvelope::Eip2930(receipt),
                2 => ReceiptEnvelope::Eip1559(receipt),
                3 => ReceiptEnvelope::Eip4844(receipt),
                _ => ReceiptEnvelope::Eip7702(receipt),
            };
            let mut expected = Vec::new();
            alloy_eips::Encodable2718::encode_2718(&envelope, &mut expected);
            prop_assert_eq!(list.encoded(TxIndex::new(i)), expected);
        }
        prop_assert_eq!(list.bloom(), &union);
        prop_assert_eq!(list.iter().len(), receipts.len());
    }
}

#[test]
fn receipts_before_byzantium_hold_a_root() {
    let mut list = ReceiptList::default();
    let root = B256::repeat_byte(5);
    let logs = ReceiptLogs::of(1, |_| core::iter::empty());
    list.push(0, ReceiptOutcome::StateRoot(root), 21_000, logs.row(0));
    let receipt = ReceiptWithBloom::from(Receipt::<Log> {
        status: Eip658Value::PostState(root),
        cumulative_gas_used: 21_000,
        logs: Vec::new(),
    });
    assert_eq!(list.encoded(TxIndex(0)), alloy_rlp::encode(receipt));
}

#[test]
fn assembled_blocks_decode_to_their_parts() {
    let bytes = Bytes::from(sample());
    let block = Block::decode(bytes).expect("valid");
    let transactions: Vec<&[u8]> =
        (0..block.transactions.len()).map(|tx| block.transactions.encoded(TxIndex::new(tx))).collect();
    let mut header = block.header.clone();
    for root in [None, Some(B256::ZERO)] {
        header.base_fee = Some(1);
        header.withdrawals_root = root;
        header.blob_gas_used = None;
        let again = Block::decode(assemble(&header, &transactions).into()).expect("decodes");
        assert_eq!(again.withdrawals.is_some(), root.is_some());
        assert_eq!(again.header.withdrawals_root, root);
        let encoded = (0..transactions.len()).map(|tx| again.transactions.encoded(TxIndex::new(tx)));
        assert!(encoded.eq(transactions.iter().copied()));
    }
}

#[test]
fn errors_contain_field_and_offset() {
    let error = |bytes: &[u8]| Block::decode(Bytes::copy_from_slice(bytes)).expect_err("malformed");
    assert_eq!(error(&[]).kind, WireErrorKind::Truncated);
    assert_eq!(error(&[0x80]), WireError { field: Field::Block, offset: 0, kind: WireErrorKind::ExpectedList });
    assert_eq!(error(&[0xc0]), WireError { field: Field::BlockHeader, offset: 1, kind: WireErrorKind::Truncated });
    assert_eq!(error(&[0xf8, 0x01, 0x80]).kind, WireErrorKind::NonCanonicalHeader);
    assert_eq!(error(&[0xc0, 0x00]).kind, WireErrorKind::TrailingBytes);

    let one = |bytes: &[u8]| Transactions::decode_one(Bytes::copy_from_slice(bytes)).expect_err("malformed");
    assert_eq!(one(&[0x05, 0xc0]).kind, WireErrorKind::UnknownTransactionType(5));
    // nonce, price, gas, to, value, input, v = 29, r, s
    let v29 = hex!("c980808080 80801d0101");
    assert_eq!(one(&v29), WireError { field: Field::SignatureV, offset: 7, kind: WireErrorKind::InvalidRecoveryValue });
    let leading_zero = hex!("c9008080808080800101");
    assert_eq!(one(&leading_zero), WireError { field: Field::Nonce, offset: 1, kind: WireErrorKind::LeadingZero });
}

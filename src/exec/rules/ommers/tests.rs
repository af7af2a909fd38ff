//! Tests each ommer rule on a small side chain, with an ommer that satisfies it and one that
//! violates it.

use super::*;
use crate::exec::rules::chain::Step;
use crate::exec::rules::header::next_difficulty;
use alloy_primitives::U256;
use alloy_rlp::Encodable;

/// A chain of headers with Homestead rules, from the genesis on, one block every ten seconds.
struct Chain {
    config: ChainConfig,
    headers: Vec<Header>,
}

impl Chain {
    fn new(len: u64) -> Self {
        let genesis = Header {
            difficulty: U256::from(1_000_000),
            gas_limit: 5_000_000,
            ommers_hash: EMPTY_OMMERS_HASH,
            timestamp: 1_000,
            ..Header::default()
        };
        let config = ChainConfig::frontier(1).with(Step::Homestead, 0);
        let mut chain = Self { config, headers: vec![genesis] };
        for _ in 0..len {
            let next = chain.child(chain.headers.len() - 1, 10);
            chain.headers.push(next);
        }
        chain
    }

    /// A valid child of the header with this number, `seconds` later.
    fn child(&self, parent: usize, seconds: u64) -> Header {
        let parent = &self.headers[parent];
        let (number, timestamp) = (parent.number + 1, parent.timestamp + seconds);
        let rules = self.config.rules(number, timestamp);
        Header {
            parent_hash: parent.hash(),
            number,
            timestamp,
            difficulty: next_difficulty(&rules, number, timestamp, parent),
            gas_limit: parent.gas_limit,
            ommers_hash: EMPTY_OMMERS_HASH,
            ..Header::default()
        }
    }

    /// The RLP of the block after the last one, with these ommers.
    fn block(&self, ommers: &[Header]) -> Bytes {
        block(&self.child(self.headers.len() - 1, 10), ommers)
    }

    /// All ancestors of that block, the parent first.
    fn ancestors(&self) -> Vec<Ancestor> {
        self.headers.iter().rev().cloned().map(Ancestor::of_header).collect()
    }

    fn check_with(
        &self,
        ommers: &[Header],
        ancestors: &[Ancestor],
    ) -> Result<Option<&'static str>, (usize, OmmerFault)> {
        let block = Block::decode(self.block(ommers)).expect("well-formed");
        check_ommers(&block, Some(Ancestry { chain: &self.config, blocks: ancestors }))
    }

    fn check(&self, ommers: &[Header]) -> Result<Option<&'static str>, (usize, OmmerFault)> {
        self.check_with(ommers, &self.ancestors())
    }
}

fn list(items: &[Header]) -> Vec<u8> {
    let mut payload = Vec::new();
    items.iter().for_each(|item| item.encode(&mut payload));
    wrap(&payload)
}

fn wrap(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend_from_slice(payload);
    out
}

/// The RLP of a block without transactions; sets the header's ommers hash.
fn block(header: &Header, ommers: &[Header]) -> Bytes {
    let ommers = list(ommers);
    let mut payload = Vec::new();
    Header { ommers_hash: alloy_primitives::keccak256(&ommers), ..header.clone() }.encode(&mut payload);
    Vec::<Bytes>::new().encode(&mut payload);
    payload.extend_from_slice(&ommers);
    wrap(&payload).into()
}

#[test]
fn ommers_are_one_to_six_blocks_below_the_block() {
    let chain = Chain::new(12);
    for depth in 1..=6 {
        assert_eq!(chain.check(&[chain.child(12 - depth, 11)]), Ok(None), "{depth}");
    }
    assert_eq!(chain.check(&[chain.child(5, 11)]), Err((0, OmmerFault::Depth { number: 6, block: 13 })));
    let future = Header { number: 13, ..chain.child(11, 11) };
    assert_eq!(chain.check(&[future]), Err((0, OmmerFault::Depth { number: 13, block: 13 })));
}

#[test]
fn more_than_two_ommers_are_rejected() {
    let chain = Chain::new(9);
    let ommers = [7, 8, 9].map(|seconds| chain.child(7, seconds));
    assert_eq!(chain.check(&ommers[..2]), Ok(None));
    assert_eq!(chain.check(&ommers), Err((2, OmmerFault::TooMany(3))));
}

#[test]
fn an_ommer_included_twice_is_rejected() {
    let chain = Chain::new(9);
    let ommer = chain.child(7, 11);
    assert_eq!(chain.check(&[ommer.clone(), ommer.clone()]), Err((1, OmmerFault::Duplicate)));

    // Included by the parent or the grandparent; the ommers of both are known.
    for nephew in [8, 9] {
        let mut ancestors = chain.ancestors();
        let place = 9 - nephew;
        ancestors[place].ommers = Some(vec![ommer.hash()]);
        let older = chain.child(6, 11);
        assert_eq!(chain.check_with(std::slice::from_ref(&older), &ancestors), Ok(None));
        assert_eq!(chain.check_with(&[older, ommer.clone()], &ancestors), Err((1, OmmerFault::Included)));
    }
}

#[test]
fn an_ancestor_or_a_sibling_is_rejected() {
    let chain = Chain::new(9);
    for number in 4..=9 {
        assert_eq!(chain.check(&[chain.headers[number].clone()]), Err((0, OmmerFault::Ancestor)));
    }
    assert_eq!(chain.check(&[chain.child(9, 11)]), Err((0, OmmerFault::Brother)));
}

#[test]
fn the_ommers_parent_must_be_an_ancestor() {
    let chain = Chain::new(9);
    let orphan = Header { parent_hash: B256::repeat_byte(7), ..chain.child(7, 11) };
    assert_eq!(chain.check(&[orphan]), Err((0, OmmerFault::UnknownParent)));
    // Near the genesis there are fewer ancestors, and all of them are given.
    let young = Chain::new(2);
    assert_eq!(young.check(&[young.child(0, 11)]), Ok(None));
    let orphan = Header { parent_hash: B256::repeat_byte(7), ..young.child(0, 11) };
    assert_eq!(young.check(&[orphan]), Err((0, OmmerFault::UnknownParent)));
    let genesis = Header { number: 0, ..young.child(0, 11) };
    assert_eq!(young.check(&[genesis]), Err((0, OmmerFault::Depth { number: 0, block: 3 })));
}

#[test]
fn header_rules_hold_for_ommers() {
    let chain = Chain::new(9);
    let valid = chain.child(7, 11);
    let fault = |ommer: Header| match chain.check(&[ommer]) {
        Err((0, OmmerFault::Header(fault))) => fault,
        other => panic!("{other:?}"),
    };
    let difficulty = valid.difficulty + U256::ONE;
    assert!(matches!(fault(Header { difficulty, ..valid.clone() }), HeaderFault::Difficulty { .. }));
    let gas_limit = valid.gas_limit + valid.gas_limit / 1024;
    assert!(matches!(fault(Header { gas_limit, ..valid.clone() }), HeaderFault::GasLimit { .. }));
    let gas_used = valid.gas_limit + 1;
    assert!(matches!(fault(Header { gas_used, ..valid.clone() }), HeaderFault::GasUsedAboveLimit { .. }));
    let timestamp = chain.headers[7].timestamp;
    assert_eq!(fault(Header { timestamp, ..valid.clone() }), HeaderFault::Timestamp);
    let extra_data = Bytes::from(vec![0; 33]);
    assert_eq!(fault(Header { extra_data, ..valid.clone() }), HeaderFault::ExtraData(33));
    assert_eq!(fault(Header { number: 7, ..valid.clone() }), HeaderFault::Number);
    let base_fee = Some(7);
    let unknown = fault(Header { base_fee, ..valid });
    assert!(matches!(unknown, HeaderFault::FieldUnknown { field: "base_fee_per_gas", .. }), "{unknown}");
}

#[test]
fn an_ommer_follows_the_rules_of_its_own_number() {
    let mut chain = Chain::new(9);
    // The block, number 10, is London's first: an ommer below it has no base fee.
    let steps = Step::ALL[..Step::London as usize].iter().filter(|step| **step != Step::Dao);
    chain.config = steps.fold(chain.config.clone(), |config, step| config.with(*step, 10)).with(Step::London, 10);
    chain.config.steps[Step::Homestead as usize] = Some(0);
    assert_eq!(chain.check(&[chain.child(7, 11)]), Ok(None));
    // The DAO fork's rule for extra data also applies to ommers.
    chain.config = ChainConfig { dao_support: true, ..chain.config.with(Step::Dao, 8) };
    assert_eq!(chain.check(&[chain.child(7, 11)]), Err((0, OmmerFault::Header(HeaderFault::DaoExtraData))));
    let marked = Header { extra_data: Bytes::from_static(b"dao-hard-fork"), ..chain.child(7, 11) };
    assert_eq!(chain.check(&[marked]), Ok(None));
}

#[test]
fn missing_ancestors_are_reported_as_unchecked() {
    let chain = Chain::new(9);
    let ommer = chain.child(6, 11);
    let decoded = Block::decode(chain.block(std::slice::from_ref(&ommer))).expect("well-formed");
    assert_eq!(check_ommers(&decoded, None), Ok(Some("the headers of the ancestors are not given")));
    let ancestors = chain.ancestors();
    let one = std::slice::from_ref(&ommer);
    // Its depth is 3: its parent is the ancestor at index 3.
    assert_eq!(chain.check_with(one, &ancestors[..4]), Ok(None));
    assert_eq!(chain.check_with(one, &ancestors[..3]), Ok(Some("not all headers of the ancestors are given")));
    // Ancestors after a gap, or after an unrelated block, are ignored.
    let gap = [&ancestors[..2], &ancestors[3..]].concat();
    assert_eq!(chain.check_with(one, &gap), Ok(Some("not all headers of the ancestors are given")));
    // Rules that need no ancestors are checked without them.
    let both = Block::decode(chain.block(&[ommer.clone(), ommer.clone()])).expect("well-formed");
    assert_eq!(check_ommers(&both, None), Err((1, OmmerFault::Duplicate)));
    // The ommers of an ancestor between the ommer and the block are not known.
    let mut silent = ancestors.clone();
    silent[1].ommers = None;
    assert_eq!(chain.check_with(one, &silent), Ok(Some("the ommers of the ancestors are not given")));
    silent[1] = ancestors[1].clone();
    silent[2].ommers = None;
    assert_eq!(chain.check_with(one, &silent), Ok(None), "at the ommer's number: it cannot include the ommer");
    // A block without ommers needs no ancestors.
    let none = Block::decode(chain.block(&[])).expect("well-formed");
    assert_eq!(check_ommers(&none, None), Ok(None));
}

#[test]
fn ommers_of_an_ancestor_count_if_they_match_its_header() {
    let chain = Chain::new(9);
    let ommer = chain.child(7, 11);
    let bytes = chain.block(std::slice::from_ref(&ommer));
    let ancestor = Ancestor::of_block(bytes).expect("well-formed");
    assert_eq!(ancestor.ommers, Some(vec![ommer.hash()]));
    assert_eq!(Ancestor::of_header(ancestor.header().clone()).ommers, None);
    assert_eq!(ancestor.hash(), ancestor.header().hash());
    let mut payload = Vec::new();
    chain.headers[3].encode(&mut payload);
    Vec::<Bytes>::new().encode(&mut payload);
    payload.extend_from_slice(&list(&[ommer]));
    let lying = Ancestor::of_block(wrap(&payload).into()).expect("well-formed");
    assert_eq!(lying.ommers, None);
}

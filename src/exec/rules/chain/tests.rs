//! Tests schedules against the fork ids that nodes announce (EIP-2124, EIP-6122), and the checks of
//! their order.

use super::*;
use alloy_primitives::{B256, b256};

/// CRC-32 (IEEE), bit by bit.
fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!crc, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1)))
    })
}

/// The fork ids of a chain: that of the genesis, then one per step that changes the fork id.
/// `genesis` is the hash of the genesis block, `genesis_time` its timestamp.
fn fork_ids(chain: &ChainConfig, genesis: B256, genesis_time: u64) -> Vec<u32> {
    let mut id = crc32(0, genesis.as_slice());
    let mut ids = vec![id];
    let mut last = 0;
    // The first proof-of-stake block is not part of the fork id.
    for (step, at) in chain.schedule().filter(|(step, _)| *step != Step::Paris) {
        let is_news = at != last && if step.is_by_time() { at > genesis_time } else { at > 0 };
        if is_news {
            id = crc32(id, &at.to_be_bytes());
            ids.push(id);
            last = at;
        }
    }
    ids
}

const MAINNET: B256 = b256!("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3");
const SEPOLIA: B256 = b256!("25a5cc106eea7138acab33231d7160d69cb777ee0c2c553fcddf5138993e6dd9");
const HOLESKY: B256 = b256!("b5f7f912443c940f21fd611f12828d75b534364ed9e95ca4e307729a4661bde4");
const HOODI: B256 = b256!("bbe312868b376a3001692a646dd2d7d1e4406380dfd86b98aa8a34d1557c971b");

#[test]
fn checksums_are_those_of_ieee() {
    assert_eq!(crc32(0, b"123456789"), 0xcbf4_3926);
    assert_eq!(crc32(crc32(0, b"1234"), b"56789"), 0xcbf4_3926);
}

/// The expected ids are those of go-ethereum's `core/forkid` tests; Sepolia's last one is reth's.
#[test]
fn the_public_chains_have_the_fork_ids_that_their_nodes_announce() {
    assert_eq!(
        fork_ids(&ChainConfig::mainnet(), MAINNET, 0),
        [
            0xfc64_ec04,
            0x97c2_c34c,
            0x91d1_f948,
            0x7a64_da13,
            0x3edd_5b10,
            0xa00b_c324,
            0x668d_b0af,
            0x879d_6e30,
            0xe029_e991,
            0x0eb4_40f6,
            0xb715_077d,
            0x20c3_27fc,
            0xf0af_d0e3,
            0xdce9_6c2d,
            0x9f3d_2254,
            0xc376_cf8b,
            0x5167_e2a6,
            0xcba2_a1c0,
            0x07c9_462e,
        ]
    );
    assert_eq!(
        fork_ids(&ChainConfig::sepolia(), SEPOLIA, 1_633_267_481),
        [
            0xfe33_66e7,
            0xb96c_bd13,
            0xf7f9_bc08,
            0x88cf_81d9,
            0xed88_b5fd,
            0xe2ae_4999,
            0x5607_8a1e,
            0x2689_56b6,
            0x6c1d_9423,
        ]
    );
    assert_eq!(
        fork_ids(&ChainConfig::hoodi(), HOODI, 1_742_212_800),
        [0xbef7_1d30, 0x0929_e24e, 0xe7e0_e7ff, 0x3893_353e, 0x23aa_1351]
    );
    assert_eq!(
        fork_ids(&ChainConfig::holesky(), HOLESKY, 1_695_902_100),
        [0xc61a_6098, 0xfd4f_016b, 0x9b19_2ad0, 0xdfbd_9bed, 0x783d_ef52, 0xa280_a45c, 0x9bc6_cb31]
    );
}

#[test]
fn the_public_chains_are_in_order() {
    for name in ["mainnet", "sepolia", "hoodi", "holesky"] {
        let chain = ChainConfig::named(name).expect("known");
        assert_eq!(chain.check(), Ok(()), "{name}");
        assert_eq!(ChainConfig::of_chain_id(chain.chain_id), Some(chain));
    }
    assert_eq!(ChainConfig::named("goerli"), Err(ChainError::UnknownChain("goerli".to_owned())));
    assert_eq!(ChainConfig::of_chain_id(5), None);
}

#[test]
fn mainnet_by_number_and_time() {
    let chain = ChainConfig::mainnet();
    let fork = |number, time| chain.rules(number, time).fork;
    for (first, before, after) in [
        (1_150_000, Fork::Frontier, Fork::Homestead),
        (1_920_000, Fork::Homestead, Fork::Homestead),
        (2_463_000, Fork::Homestead, Fork::TangerineWhistle),
        (2_675_000, Fork::TangerineWhistle, Fork::SpuriousDragon),
        (4_370_000, Fork::SpuriousDragon, Fork::Byzantium),
        (7_280_000, Fork::Byzantium, Fork::Petersburg),
        (9_069_000, Fork::Petersburg, Fork::Istanbul),
        (12_244_000, Fork::Istanbul, Fork::Berlin),
        (12_965_000, Fork::Berlin, Fork::London),
        (15_537_394, Fork::London, Fork::Paris),
    ] {
        assert_eq!([fork(first - 1, 0), fork(first, 0)], [before, after], "{first}");
    }
    let late = 30_000_000;
    for (first, before, after) in [
        (1_681_338_455, Fork::Paris, Fork::Shanghai),
        (1_710_338_135, Fork::Shanghai, Fork::Cancun),
        (1_746_612_311, Fork::Cancun, Fork::Prague),
        (1_764_798_551, Fork::Prague, Fork::Osaka),
    ] {
        assert_eq!([fork(late, first - 1), fork(late, first)], [before, after], "{first}");
    }
    assert_eq!(fork(late, u64::MAX), Fork::Osaka);
    let blobs = |time| chain.rules(late, time).blob_schedule;
    assert_eq!([blobs(1_764_798_551), blobs(1_765_290_070)], [BlobSchedule::PRAGUE; 2]);
    assert_eq!([blobs(1_765_290_071), blobs(1_767_747_670)], [BlobSchedule::BPO1; 2]);
    assert_eq!(blobs(1_767_747_671), BlobSchedule::BPO2);
    let delay = |number| chain.rules(number, 0).bomb_delay;
    assert_eq!([4_369_999, 4_370_000, 7_280_000].map(delay), [0, 3_000_000, 5_000_000]);
    assert_eq!([9_199_999, 9_200_000, 12_244_000].map(delay), [5_000_000, 9_000_000, 9_000_000]);
    assert_eq!([12_965_000, 13_773_000, 15_050_000].map(delay), [9_700_000, 10_700_000, 11_400_000]);
}

#[test]
fn the_dao_fork_constrains_ten_blocks_and_transfers_in_the_first() {
    let chain = ChainConfig::mainnet();
    let rules = |number| chain.rules(number, 0);
    let transfers: Vec<u64> =
        (1_919_998..1_920_012).filter(|number| rules(*number).dao_transfer != DaoTransfer::None).collect();
    assert_eq!(transfers, [1_920_000]);
    assert_eq!(rules(1_920_000).dao_transfer, DaoTransfer::Last);
    let elsewhere = ChainConfig { dao_support: true, ..ChainConfig::frontier(1) }.with(Step::Dao, 5);
    assert_eq!(elsewhere.rules(5, 0).dao_transfer, DaoTransfer::First);
    let marked = |extra| (1_919_990..1_920_020).filter(|number| rules(*number).dao_extra_data == extra).count();
    assert_eq!(marked(DaoExtraData::Required), 10);
    assert_eq!(rules(1_920_009).dao_extra_data, DaoExtraData::Required);
    assert_eq!(rules(1_920_010).dao_extra_data, DaoExtraData::Free);
    let other_side = ChainConfig { dao_support: false, ..chain };
    assert_eq!(other_side.rules(1_920_000, 0).dao_transfer, DaoTransfer::None);
    assert_eq!(other_side.rules(1_920_000, 0).dao_extra_data, DaoExtraData::Forbidden);
}

#[test]
fn a_merge_by_total_difficulty_is_detected_by_the_header() {
    let until_london = Step::ALL[..=Step::London as usize].iter().filter(|step| **step != Step::Dao);
    let chain = until_london.fold(ChainConfig::frontier(7), |chain, step| chain.with(*step, 0));
    let header = |difficulty: u64| Header { number: 9, difficulty: U256::from(difficulty), ..Header::default() };
    assert_eq!(chain.rules_of(&header(0)).fork, Fork::London);
    let merging = ChainConfig { terminal_total_difficulty: Some(U256::from(1_000)), ..chain.clone() };
    assert_eq!(merging.rules_of(&header(131_072)).fork, Fork::London);
    assert_eq!(merging.rules_of(&header(0)).fork, Fork::Paris);
    assert_eq!(merging.rules(9, 0).fork, Fork::London);
    assert_eq!(merging.with(Step::MergeNetsplit, 9).rules(9, 0).fork, Fork::Paris);
    let merged = ChainConfig { terminal_total_difficulty: Some(U256::ZERO), ..chain };
    assert_eq!(merged.rules(0, 0).fork, Fork::Paris);
}

#[test]
fn constantinople_and_petersburg() {
    let chain = ChainConfig::frontier(1).with(Step::Constantinople, 5);
    assert_eq!(chain.rules(5, 0).fork, Fork::Petersburg);
    let apart = chain.with(Step::Petersburg, 8);
    assert_eq!([5, 7, 8].map(|number| apart.rules(number, 0).fork)[..2], [Fork::Constantinople; 2]);
    assert_eq!(apart.rules(8, 0).fork, Fork::Petersburg);
}

#[test]
fn unsupported_schedules_are_rejected() {
    let chain = ChainConfig::mainnet();
    let without = |step: Step| {
        let mut chain = chain.clone();
        chain.steps[step as usize] = None;
        chain.check()
    };
    let missing = |missing, later, at| Err(ChainError::NotEnabled { missing, later, at });
    assert_eq!(without(Step::Homestead), missing(Step::Homestead, Step::Dao, 1_920_000));
    assert_eq!(without(Step::Eip155), missing(Step::Eip155, Step::SpuriousDragon, 2_675_000));
    assert_eq!(without(Step::Berlin), missing(Step::Berlin, Step::London, 12_965_000));
    assert_eq!(without(Step::Shanghai), missing(Step::Shanghai, Step::Cancun, 1_710_338_135));
    assert_eq!(without(Step::Prague), missing(Step::Prague, Step::Osaka, 1_764_798_551));
    for optional in [Step::Dao, Step::MuirGlacier, Step::ArrowGlacier, Step::GrayGlacier, Step::Paris, Step::Bpo1] {
        assert_eq!(without(optional), Ok(()), "{optional}");
    }
    assert_eq!(
        chain.clone().with(Step::Byzantium, 2_000_000).check(),
        Err(ChainError::OutOfOrder {
            earlier: Step::SpuriousDragon,
            earlier_at: 2_675_000,
            later: Step::Byzantium,
            later_at: 2_000_000,
        })
    );
    assert_eq!(
        chain.clone().with(Step::Cancun, 5).check(),
        Err(ChainError::OutOfOrder {
            earlier: Step::Shanghai,
            earlier_at: 1_681_338_455,
            later: Step::Cancun,
            later_at: 5,
        })
    );
    assert_eq!(chain.clone().with(Step::Eip155, 2_600_000).check(), Err(ChainError::SplitSpuriousDragon));
    assert_eq!(chain.clone().with(Step::Bpo3, 1_800_000_000).check(), Err(ChainError::MissingBlobSchedule(Step::Bpo3)));
    let zero = BlobSchedule { base_fee_update_fraction: 0, ..BlobSchedule::CANCUN };
    assert_eq!(chain.with_blobs(Step::Cancun, zero).check(), Err(ChainError::ZeroUpdateFraction(Step::Cancun)));
}

#[test]
fn steps_are_found_by_their_keys() {
    for (index, step) in Step::ALL.into_iter().enumerate() {
        assert_eq!((step as usize, Step::from_key(step.key())), (index, Some(step)));
    }
    assert_eq!(Step::from_key("LondonBlock"), Some(Step::London));
    assert_eq!(Step::from_key("bogotaTime"), None);
}

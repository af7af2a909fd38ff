//! Genesis files with published hashes, and malformed ones.

use super::*;
use alloy_primitives::{b256, hex};

fn sealed(json: &str) -> (ChainConfig, Header) {
    let genesis = Genesis::from_json(json.as_bytes()).expect("valid");
    let (header, _) = genesis.seal().expect("small");
    (genesis.config, header)
}

/// go-ethereum, `core/genesis_test.go`: the custom genesis of `testSetupGenesis`.
#[test]
fn a_genesis_of_go_ethereum() {
    let (config, header) = sealed(
        r#"{"config": {"homesteadBlock": 3, "ethash": {}}, "gasLimit": "0x0", "difficulty": "0x20000",
            "alloc": {"0100000000000000000000000000000000000000": {"balance": "1", "storage": {
                "0x0100000000000000000000000000000000000000000000000000000000000000":
                "0x0100000000000000000000000000000000000000000000000000000000000000"}}}}"#,
    );
    assert_eq!(header.hash(), b256!("89c99d90b79719238d2645c7642f2c9295246e80775b38cfd162b696817fbd50"));
    assert_eq!([2, 3].map(|number| config.rules(number, 0).fork), [Fork::Frontier, Fork::Homestead]);
}

/// The genesis of Ethereum's hive tests, with the root and hash that reth's `crates/chainspec/src/spec.rs` names.
#[test]
fn a_genesis_of_hive() {
    let (config, header) = sealed(
        r#"{"nonce": "0x0000000000000042", "difficulty": "0x2123456", "timestamp": "0x123456",
            "mixHash": "0x123456789abcdef123456789abcdef123456789abcdef123456789abcdef1234",
            "coinbase": "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "extraData": "0xfafbfcfd", "gasLimit": "0x2fefd8",
            "parentHash": "0x0000000000000000000000000000000000000000000000000000000000000000",
            "alloc": {
                "dbdbdb2cbd23b783741e8d7fcf51e459b497e4a6": {
                    "balance": "0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"},
                "e6716f9544a56c530d868e4bfbacb172315bdead": {"balance": "0x11", "code": "0x12"},
                "b9c015918bdaba24b4ff057a92a3873d6eb201be": {"balance": "0x21", "storage": {
                    "0x0000000000000000000000000000000000000000000000000000000000000001": "0x22"}},
                "1a26338f0d905e295fccb71fa9ea849ffa12aaf4": {"balance": "0x31", "nonce": "0x32"},
                "0000000000000000000000000000000000000001": {"balance": "0x41"},
                "0000000000000000000000000000000000000002": {"balance": "0x51"},
                "0000000000000000000000000000000000000003": {"balance": "0x61"},
                "0000000000000000000000000000000000000004": {"balance": "0x71"}},
            "config": {"ethash": {}, "chainId": 10, "homesteadBlock": 0, "eip150Block": 0, "eip155Block": 0,
                "eip158Block": 0, "byzantiumBlock": 0, "constantinopleBlock": 0, "petersburgBlock": 0,
                "istanbulBlock": 0}}"#,
    );
    assert_eq!(header.state_root, b256!("9a6049ac535e3dc7436c189eaa81c73f35abd7f282ab67c32944ff0301d63360"));
    assert_eq!(header.hash(), b256!("5ae31c6522bd5856129f66be3d582b842e4e9faaa87f21cce547128339a9db3c"));
    assert_eq!((config.chain_id, config.rules(0, 0).fork), (10, Fork::Istanbul));
}

/// The genesis of `geth --dev` in Shanghai, with the root and hash that reth's `crates/chainspec/src/spec.rs` names.
#[test]
fn a_genesis_after_the_merge() {
    let slots = r#""storage": {
        "0x0000000000000000000000000000000000000000000000000000000000000000": "0x0000000000000000000000000000000000000000000000000000000000000000",
        "0x0100000000000000000000000000000000000000000000000000000000000000": "0x0100000000000000000000000000000000000000000000000000000000000000",
        "0x0200000000000000000000000000000000000000000000000000000000000000": "0x0200000000000000000000000000000000000000000000000000000000000000",
        "0x0300000000000000000000000000000000000000000000000000000000000000": "0x0000000000000000000000000000000000000000000000000000000000000303"}"#;
    let json = r#"{"config": {"chainId": 1337, "homesteadBlock": 0, "eip150Block": 0,
            "eip150Hash": "0x0000000000000000000000000000000000000000000000000000000000000000", "eip155Block": 0,
            "eip158Block": 0, "byzantiumBlock": 0, "constantinopleBlock": 0, "petersburgBlock": 0, "istanbulBlock": 0,
            "muirGlacierBlock": 0, "berlinBlock": 0, "londonBlock": 0, "arrowGlacierBlock": 0, "grayGlacierBlock": 0,
            "shanghaiTime": 0, "cancunTime": 1, "terminalTotalDifficulty": 0, "terminalTotalDifficultyPassed": true,
            "ethash": {}},
        "nonce": "0x0", "timestamp": "0x0", "extraData": "0x", "gasLimit": "0x4c4b40", "difficulty": "0x1",
        "mixHash": "0x0000000000000000000000000000000000000000000000000000000000000000",
        "coinbase": "0x0000000000000000000000000000000000000000",
        "alloc": {
            "658bdf435d810c91414ec09147daa6db62406379": {"balance": "0x487a9a304539440000"},
            "aa00000000000000000000000000000000000000": {"code": "0x6042", SLOTS, "balance": "0x1", "nonce": "0x1"},
            "bb00000000000000000000000000000000000000": {
                "code": "0x600154600354", SLOTS, "balance": "0x2", "nonce": "0x1"}},
        "number": "0x0", "gasUsed": "0x0", "baseFeePerGas": "0x3b9aca00",
        "parentHash": "0x0000000000000000000000000000000000000000000000000000000000000000"}"#;
    let (config, header) = sealed(&json.replace("SLOTS", slots));
    assert_eq!(header.state_root, b256!("078dc6061b1d8eaa8493384b59c9c65ceb917201221d08b80c4de6770b6ec7e7"));
    assert_eq!(header.hash(), b256!("1fc027d65f820d3eef441ebeec139ebe09e471cf98516dce7b5643ccb27f418c"));
    assert_eq!([0, 1].map(|time| config.rules(9, time).fork), [Fork::Shanghai, Fork::Cancun]);
    assert_eq!(config.rules(9, 1).blob_schedule, BlobSchedule::CANCUN);
}

/// The public chains: headers with the known state roots have the known hashes.
#[test]
fn the_public_chains_have_their_hashes() {
    let hash = |config: &ChainConfig, rest: &str, state_root: B256| {
        let json = format!(r#"{{"config": {{}}, "alloc": {{}}, {rest}}}"#);
        let entries: Entries<String, &RawValue> = serde_json::from_str(&json).expect("valid");
        assert!(!entries.0.is_empty());
        let genesis = Genesis::from_json(json.as_bytes()).expect("valid");
        let Header { nonce, timestamp, extra_data, gas_limit, difficulty, .. } = genesis.header;
        let header = Header { nonce, timestamp, extra_data, ..Header::default() };
        let fields = Fields { gas_limit: Some(gas_limit), difficulty: Some(difficulty), header, ..Fields::default() };
        Header { state_root, ..fields.into_header(config).expect("complete") }.hash()
    };
    assert_eq!(
        hash(
            &ChainConfig::mainnet(),
            r#""nonce": "0x42", "gasLimit": 5000, "difficulty": "17179869184",
               "extraData": "0x11bbe8db4e347b4e8c937c1c8370e4b5ed33adb3db69cbdb7a38e1e50b1b82fa""#,
            b256!("d7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544"),
        ),
        b256!("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3")
    );
    let text = hex::encode("Sepolia, Athens, Attica, Greece!");
    assert_eq!(
        hash(
            &ChainConfig::sepolia(),
            &format!(
                r#""gasLimit": "0x1c9c380", "difficulty": "0x20000", "timestamp": 1633267481, "extraData": "0x{text}""#
            ),
            b256!("5eb6e371a698b8d68f665192350ffcecbbbf322916f4b51bd79bb6887da3f494"),
        ),
        b256!("25a5cc106eea7138acab33231d7160d69cb777ee0c2c553fcddf5138993e6dd9")
    );
    assert_eq!(
        hash(
            &ChainConfig::holesky(),
            r#""nonce": "0x1234", "gasLimit": "0x17d7840", "difficulty": "0x01", "timestamp": 1695902100"#,
            b256!("69d8c9d72f6fa4ad42d4702b433707212f90db395eb54dc20bc85de253788783"),
        ),
        b256!("b5f7f912443c940f21fd611f12828d75b534364ed9e95ca4e307729a4661bde4")
    );
    assert_eq!(
        hash(
            &ChainConfig::hoodi(),
            r#""nonce": "0x1234", "gasLimit": "0x2255100", "difficulty": "0x01", "timestamp": 1742212800"#,
            b256!("da87d7f5f91c51508791bbcbd4aa5baf04917830b86985eeb9ad3d5bfb657576"),
        ),
        b256!("bbe312868b376a3001692a646dd2d7d1e4406380dfd86b98aa8a34d1557c971b")
    );
}

/// A genesis around a `config` section.
fn with_config(config: &str) -> Result<Genesis, GenesisError> {
    let json = format!(r#"{{"config": {config}, "alloc": {{}}, "gasLimit": 5000, "difficulty": 1}}"#);
    Genesis::from_json(json.as_bytes())
}

const TO_LONDON: &str = r#""homesteadBlock": 0, "eip150Block": 0, "eip155Block": 0, "eip158Block": 0,
    "byzantiumBlock": 0, "constantinopleBlock": 0, "petersburgBlock": 0, "istanbulBlock": 0, "berlinBlock": 0,
    "londonBlock": 0"#;

#[test]
fn every_key_has_its_effect() {
    let config = format!(
        r#"{{"ChainID": "0x539", {TO_LONDON}, "daoForkBlock": 5, "daoForkSupport": true, "muirglacierblock": null,
            "terminalTotalDifficulty": 58750000000000000000000, "mergeNetsplitBlock": 9, "shanghaiTime": 1,
            "cancunTime": 2, "pragueTime": 3, "osakaTime": 4, "bpo1Time": 5, "bpo2Time": "0x6", "amsterdamTime": 7,
            "depositContractAddress": "0x4242424242424242424242424242424242424242", "bogotaTime": null,
            "blobSchedule": {{
                "cancun": {{"target": 1, "max": 2, "baseFeeUpdateFraction": 3}},
                "bpo1": {{"target": 4, "max": 5, "baseFeeUpdateFraction": 6}},
                "bpo2": {{"target": 7, "max": 8, "baseFeeUpdateFraction": 9}},
                "amsterdam": {{"target": 10, "max": 11, "baseFeeUpdateFraction": 12}}}}}}"#
    );
    // The DAO fork comes after forks at block 0: out of order.
    assert!(matches!(with_config(&config), Err(GenesisError::Chain(ChainError::OutOfOrder { .. }))));
    let config = config.replace(r#""daoForkBlock": 5"#, r#""daoForkBlock": 0"#);
    let chain = with_config(&config).expect("valid").config;
    assert_eq!((chain.chain_id, chain.dao_support), (1337, true));
    assert_eq!(chain.terminal_total_difficulty, ChainConfig::mainnet().terminal_total_difficulty);
    assert_eq!(chain.deposit_contract, Address::repeat_byte(0x42));
    assert_eq!([8, 9].map(|number| chain.rules(number, 0).fork), [Fork::London, Fork::Paris]);
    let blobs = |time| chain.rules(9, time).blob_schedule.target;
    assert_eq!([2, 3, 4, 5, 6, 7].map(blobs), [1, 6, 6, 4, 7, 10]);
    assert_eq!(chain.rules(9, 7).fork, Fork::Amsterdam);
}

#[test]
fn an_amsterdam_genesis_has_every_field() {
    let config = format!(
        r#"{{{TO_LONDON}, "terminalTotalDifficulty": 0, "shanghaiTime": 0, "cancunTime": 0, "pragueTime": 0,
            "osakaTime": 0, "amsterdamTime": 0}}"#
    );
    let header = with_config(&config).expect("valid").header_with(EMPTY_ROOT);
    assert_eq!(
        Header::decode(&{
            let mut out = Vec::new();
            header.encode(&mut out);
            out
        }),
        Ok(header.clone())
    );
    assert_eq!((header.slot_number, header.base_fee), (Some(0), Some(INITIAL_BASE_FEE)));
    assert_eq!(header.block_access_list_hash, Some(alloy_primitives::keccak256([0xc0])));
    let empty_requests = b256!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(header.requests_hash, Some(empty_requests));
}

#[test]
fn schedules_that_cannot_be_followed_are_typed_errors() {
    let chain_error = |config: &str| match with_config(config) {
        Err(GenesisError::Chain(error)) => error,
        other => panic!("{config}: {other:?}"),
    };
    assert_eq!(chain_error(r#"{"bogotaTime": 7}"#), ChainError::UnknownFork("bogotaTime".to_owned()));
    assert_eq!(chain_error(r#"{"fooBlock": 0}"#), ChainError::UnknownFork("fooBlock".to_owned()));
    assert_eq!(chain_error(r#"{"blobSchedule": {"x": null}}"#), ChainError::UnknownFork("x".to_owned()));
    assert!(matches!(chain_error(r#"{"clique": {"period": 15}}"#), ChainError::Unsupported(_)));
    assert!(matches!(chain_error(r#"{"enableUBTAtGenesis": true}"#), ChainError::Unsupported(_)));
    assert!(matches!(chain_error(r#"{"eip150Block": 7}"#), ChainError::NotEnabled { missing: Step::Homestead, .. }));
    let bpo = format!(
        r#"{{{TO_LONDON}, "shanghaiTime": 0, "cancunTime": 0, "pragueTime": 0, "osakaTime": 0, "bpo1Time": 0}}"#
    );
    assert_eq!(chain_error(&bpo), ChainError::MissingBlobSchedule(Step::Bpo1));
}

#[test]
fn damaged_files_are_typed_errors() {
    let json = r#"{"config": {"chainId": 1}, "alloc": {"01": {}}, "gasLimit": 5000, "difficulty": 1}"#;
    assert!(matches!(Genesis::from_json(json.as_bytes()), Err(GenesisError::Json(_))), "a short address");
    let json = r#"{"config": {"chainId": 1}, "alloc": {}, "gasLimit": 5000, "difficulty": 1, "extraData": ""}"#;
    assert!(Genesis::from_json(json.as_bytes()).is_ok());
    for end in 0..json.len() {
        assert!(matches!(Genesis::from_json(&json.as_bytes()[..end]), Err(GenesisError::Json(_))), "cut at {end}");
    }
    for (key, name) in
        [("config", "config"), ("alloc", "alloc"), ("gasLimit", "gasLimit"), ("difficulty", "difficulty")]
    {
        let result = Genesis::from_json(json.replace(key, "other").as_bytes());
        assert!(matches!(result, Err(GenesisError::Missing(missing)) if missing == name), "{key}");
    }
    let wide = json.replace("5000", "18446744073709551616");
    assert!(matches!(Genesis::from_json(wide.as_bytes()), Err(GenesisError::Json(_))));
}

/// A schedule written as the `config` section is read as the same schedule.
#[test]
fn schedules_are_written_and_read() {
    let named =
        ["mainnet", "sepolia", "hoodi", "holesky"].map(|name| ChainConfig::named(name).expect("a public chain"));
    let networks = ["Frontier", "Byzantium", "London", "Paris", "Cancun", "Osaka", "BPO2", "Amsterdam"];
    let networks = networks.map(|name| super::super::network_chain(name, 1337).expect("a network"));
    let mut chains = [named.to_vec(), networks.to_vec()].concat();
    chains.push(ChainConfig { storage_collision: Some(true), dao_support: true, ..chains[0].clone() });
    for chain in chains {
        let json = chain_to_json(&chain);
        assert_eq!(chain_from_json(json.as_bytes()).expect("a schedule"), chain, "{json}");
    }
    assert!(matches!(chain_from_json(b"{}"), Err(GenesisError::Missing("config"))));
    assert!(matches!(chain_from_json(br#"{"config": {"nextBlock": 1}}"#), Err(GenesisError::Chain(_))));
}

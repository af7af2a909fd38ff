//! EEST block tests (`blockchain_test` fixtures).
//!
//! In: the JSON value of one test. Out: [`BlockTest`]. Fields that the executor computes itself
//! (decoded transactions, receipts) are skipped; the expected post-state is
//! parsed on demand.
//! Not here: execution.

use super::TestFormat;
use super::bal_json;
use super::cost::check_rlp_len;
use super::genesis::BlobScheduleJson;
use super::json::{self, Alloc, Entries};
use super::network::fixture_network;
use crate::arena::store::MemoryStore;
use crate::exec::rules::chain::ChainConfig;
use alloy_primitives::{B256, Bytes};
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;

/// A chain of blocks on a given state, and the expected hash of its head.
#[derive(Clone, Debug)]
pub struct BlockTest {
    /// The test's name.
    pub name: String,
    /// The network's name.
    pub network_name: String,
    /// The configuration of the network; `None` if its name contains an unsupported fork.
    pub network: Option<ChainConfig>,
    /// State of the genesis block.
    pub pre: MemoryStore,
    /// RLP of the genesis block.
    pub genesis: Bytes,
    /// Blocks in order; invalid ones do not change the head.
    pub blocks: Vec<FixtureBlock>,
    /// Hash of the last valid block.
    pub last_block_hash: B256,
    /// JSON of the expected state after the last valid block, if the fixture has it.
    post_state: Option<Box<RawValue>>,
}

impl BlockTest {
    /// The expected state after the block at `position` of [`Self::blocks`], which a fixture states for
    /// its last valid block alone; `None` if the fixture lacks it or it does not parse. It is parsed by
    /// this call, because only failed tests need it.
    pub fn post_state_after(&self, position: usize) -> Option<MemoryStore> {
        if self.blocks.iter().rposition(|block| block.expect_exception.is_none()) != Some(position) {
            return None;
        }
        let alloc: Alloc = serde_json::from_str(self.post_state.as_ref()?.get()).ok()?;
        Some(alloc.into_store(Vec::new()))
    }
}

/// One block of a test.
#[derive(Clone, Debug)]
pub struct FixtureBlock {
    /// The block's RLP, intentionally malformed in some tests.
    pub rlp: Bytes,
    /// RLP of its block access list, if the fixture has one.
    pub bal: Option<Bytes>,
    /// Names of the accepted exceptions, joined by `|`; `None` for a valid block.
    pub expect_exception: Option<String>,
    /// Expected block gas: execution and state (only in fixtures of this project).
    pub gas_dimensions: Option<(u64, u64)>,
}

/// The fields of a test's JSON that are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of a block test")]
pub struct BlockTestJson<'a> {
    network: String,
    pre: Alloc,
    #[serde(rename = "genesisRLP")]
    genesis: Bytes,
    #[serde(borrow)]
    blocks: Vec<BlockJson<'a>>,
    #[serde(rename = "lastblockhash")]
    last_block_hash: B256,
    #[serde(borrow)]
    post_state: Option<&'a RawValue>,
    #[serde(default)]
    config: ConfigJson,
}

/// The `config` section of block tests and state tests.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the chain's configuration")]
pub(super) struct ConfigJson {
    #[serde(rename = "chainid", alias = "chainId", default)]
    chain_id: Option<json::Quantity>,
    #[serde(default)]
    blob_schedule: Entries<String, BlobScheduleJson>,
}

impl ConfigJson {
    /// Chain id (EIP-155); 1 if absent.
    pub(super) fn chain_id(&self) -> u64 {
        self.chain_id.map_or(1, |id| id.0.saturating_to())
    }

    /// Blob parameters by fork name.
    pub(super) fn blob_schedules(&self) -> &[(String, BlobScheduleJson)] {
        &self.blob_schedule.0
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of a block")]
struct BlockJson<'a> {
    rlp: Bytes,
    expect_exception: Option<String>,
    block_access_list_rlp: Option<Bytes>,
    #[serde(borrow)]
    block_access_list: Option<&'a RawValue>,
    #[serde(borrow, rename = "rlp_decoded")]
    decoded: Option<DecodedJson<'a>>,
    gas_dimensions: Option<GasDimensionsJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of a block")]
struct DecodedJson<'a> {
    #[serde(borrow)]
    block_access_list: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with `execution` and `state`")]
struct GasDimensionsJson {
    #[serde(deserialize_with = "json::u64")]
    execution: u64,
    #[serde(deserialize_with = "json::u64")]
    state: u64,
}

impl TestFormat for BlockTest {
    type Json<'a> = BlockTestJson<'a>;

    /// Resolves the network, fills the store, and encodes block access lists that the fixture has
    /// only as JSON.
    fn from_json(json: BlockTestJson<'_>, name: String) -> serde_json::Result<Self> {
        let network = fixture_network(&json.network, json.config.chain_id(), json.config.blob_schedules());
        let blocks = json.blocks.into_iter().map(BlockJson::into_block).collect::<Result<_, _>>()?;
        Ok(Self {
            name,
            network_name: json.network,
            network,
            pre: json.pre.into_store(Vec::new()),
            genesis: json.genesis,
            blocks,
            last_block_hash: json.last_block_hash,
            post_state: json.post_state.map(RawValue::to_owned),
        })
    }
}

impl BlockJson<'_> {
    fn into_block(self) -> serde_json::Result<FixtureBlock> {
        let list = self.block_access_list.or(self.decoded.and_then(|decoded| decoded.block_access_list));
        let bal = match (self.block_access_list_rlp, list) {
            (Some(rlp), _) => Some(rlp),
            (None, Some(json)) => Some(bal_json::encode(json.get().as_bytes())?),
            (None, None) => None,
        };
        let checked = check_rlp_len("a block", self.rlp.len())
            .and_then(|()| check_rlp_len("a block access list", bal.as_ref().map_or(0, |list| list.len())));
        checked.map_err(serde_json::Error::custom)?;
        let gas_dimensions = self.gas_dimensions.map(|gas| (gas.execution, gas.state));
        Ok(FixtureBlock { rlp: self.rlp, bal, expect_exception: self.expect_exception, gas_dimensions })
    }
}

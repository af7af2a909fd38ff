//! What the examples execute: a small state and a block of two transactions on it. A real host takes the block and its
//! access list from the network, and the state from its database.

use alloy_primitives::{Address, B256, Bytes, U256, address, hex};
use balustrade::{ChainRules, Executor, Fork, Header, KECCAK_EMPTY, MemoryStore, StateTries};

/// A contract that adds one to its slot 0 whenever it is called.
pub(crate) const COUNTER: Address = Address::repeat_byte(0xcc);
const COUNTER_CODE: [u8; 8] = hex!("60015f54015f5500");
const SENDERS: [Address; 2] =
    [address!("c2e4d1ddb8bfa27ca6ebe3f089d22baab1d6bd3d"), address!("86021acce1b97efb2bc3632c03b68eaf731aefff")];
/// A call of the counter by each sender, signed for chain 1.
const CALLS: [[u8; 100]; 2] = [
    hex!(
        "f862808203e8830186a094cccccccccccccccccccccccccccccccccccccccc808026a057b4d61729dc4460b10ff792dc04bc0db63f71e0dd1e"
        "e2696975bbff6808a376a0171c7d3ee79849fc993122a17f95829c17b9542c592ff79eba6cad42da933708"
    ),
    hex!(
        "f862808203e8830186a094cccccccccccccccccccccccccccccccccccccccc808026a0781a2e96d4d17d2813919037e6c76935d8002fec084a"
        "15191562a4754d747e2da016914ccd72c9754fd26f3fe45380d2f952873873e3649533e60ab4fbd4754ea7"
    ),
];

/// A block and what it is executed on.
pub(crate) struct SmallChain {
    /// The rules in force for the block.
    pub(crate) rules: ChainRules,
    /// The state before the block.
    pub(crate) store: MemoryStore,
    /// Header of the block before it.
    pub(crate) parent: Header,
    /// RLP of the block.
    pub(crate) block: Bytes,
    /// RLP of its block access list.
    pub(crate) list: Bytes,
}

impl SmallChain {
    /// Builds the block.
    pub(crate) fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let rules = ChainRules::mainnet(Fork::Cancun);
        let mut store = MemoryStore::default();
        for sender in SENDERS {
            store.insert_account(sender, 0, U256::from(1_000_000_000), KECCAK_EMPTY, []);
        }
        let code_hash = store.insert_code(COUNTER_CODE.into());
        store.insert_account(COUNTER, 1, U256::ZERO, code_hash, [(U256::ZERO, U256::from(40))]);
        let mut tries = StateTries::from_memory(&store)?;
        let parent = Header {
            gas_limit: 30_000_000,
            base_fee: Some(7),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            state_root: tries.root(),
            ..Header::default()
        };
        let template = Header {
            parent_hash: parent.hash(),
            number: 1,
            timestamp: 12,
            gas_limit: 30_000_000,
            base_fee: Some(7),
            excess_blob_gas: Some(0),
            parent_beacon_root: Some(B256::ZERO),
            ..Header::default()
        };
        let built = Executor::new(1)?.build(&rules, &template, &CALLS.map(Vec::from), &store, &mut tries)?;
        Ok(Self { rules, store, parent, block: built.block, list: built.bal })
    }
}

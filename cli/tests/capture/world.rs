//! Chains whose states are in memory, as a node serves them: blocks of block tests, bundles and workloads.
//!
//! In: documents. Out: [`World`]: for each block its bytes, its list, and the states before and after it as stores with
//! tries. Of a bundle with a witness the states are as far known as the witness goes.

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use balustrade::arena::node::{Step, step};
use balustrade::arena::path::NodePath;
use balustrade::bal::{self, Limits};
use balustrade::exec::rules::ommers::Ancestry;
use balustrade::exec::wire::Block;
use balustrade::formats::{BlockTest, Bundle, BundleState, Document};
use balustrade::trie::StateTries;
use balustrade::{
    BlockInput, BlockOutcome, ChainRules, EMPTY_ROOT, Executor, Fork, Header, MemoryStore, Mode, NodeQuery, Options,
    ParentAccount, StateDb, StateStore, WitnessStore,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A state: values and codes in the store, nodes in tries above it.
pub(crate) struct State {
    store: Arc<dyn StateStore>,
    tries: StateTries,
}

impl State {
    /// The state before a block: all of it is in `store`, or its nodes are.
    fn new(store: Arc<dyn StateStore>, tries: StateTries) -> Self {
        Self { store, tries }
    }

    /// The nodes along a hashed key from a root down, as far as they are known.
    fn path(&self, owner: B256, root: B256, key: &B256) -> Vec<Bytes> {
        let (mut nodes, mut next) = (Vec::new(), (root, 0));
        while next.0 != EMPTY_ROOT {
            let query = NodeQuery { owner, path: NodePath::new(key, next.1), hash: next.0 };
            let mut node = [Bytes::new()];
            if self.store.trie_nodes(&[query], &mut node).is_err() {
                break;
            }
            let [node] = node;
            nodes.push(node.clone());
            match step(&node, key, next.1).expect("a node of the witness") {
                Step::Below { hash, depth } => next = (*hash, depth),
                Step::Absent | Step::Value(_) => break,
            }
        }
        nodes
    }

    /// The proof of an account and of some slots (EIP-1186): nodes from the roots down.
    pub(crate) fn prove(&self, address: &Address, keys: &[U256]) -> (Vec<Bytes>, Vec<Vec<Bytes>>) {
        match self.tries.prove(&*self.store, address, keys) {
            Ok(proof) => (proof.nodes, proof.slots.into_iter().map(|slot| slot.nodes).collect()),
            // The witness does not reach so far: what it has.
            Err(_) => {
                let owner = keccak256(address);
                let nodes = self.path(B256::ZERO, self.tries.root(), &owner);
                let last = nodes.last().cloned().unwrap_or_default();
                let storage = match balustrade::arena::node::decode(&last) {
                    Ok(balustrade::arena::node::Node::Leaf { value, .. }) => {
                        balustrade::arena::node::decode_account(value).map_or(EMPTY_ROOT, |leaf| leaf.storage_root)
                    }
                    _ => EMPTY_ROOT,
                };
                let slots = keys.iter().map(|key| self.path(owner, storage, &keccak256(key.to_be_bytes::<32>())));
                (nodes, slots.collect())
            }
        }
    }

    /// The code of an account; empty if it has none.
    pub(crate) fn code(&self, address: &Address) -> Bytes {
        let mut account = [ParentAccount::default()];
        self.store.accounts(&[*address], &mut account).expect("an account of the block");
        let mut code = [None];
        self.store.codes(&[account[0].code_hash], &mut code).expect("a store in memory");
        let [code] = code;
        code.unwrap_or_default()
    }
}

/// A block that a node serves.
pub(crate) struct Served {
    pub(crate) header: Header,
    pub(crate) block: Bytes,
    /// Its transactions in their EIP-2718 encoding.
    pub(crate) transactions: Vec<Bytes>,
    pub(crate) ommers: Vec<Header>,
    /// Its block access list, recorded if the block has none.
    pub(crate) list: Bytes,
    pub(crate) fork: Fork,
    pub(crate) before: State,
    pub(crate) after: State,
    /// Trie nodes and codes that the block needs.
    pub(crate) nodes: Vec<Bytes>,
    pub(crate) codes: Vec<Bytes>,
    /// Accounts and slots of the list.
    pub(crate) touched: BTreeMap<Address, Vec<U256>>,
}

/// A chain, or a part of one.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) chain_id: u64,
    /// The name that `--fork` takes; `None` for a public chain.
    pub(crate) network: Option<String>,
    pub(crate) blocks: BTreeMap<u64, Served>,
    /// Headers of blocks that are not served.
    pub(crate) headers: BTreeMap<u64, Header>,
}

/// Where a block is executed.
struct Parent<'a> {
    store: Arc<dyn StateStore>,
    /// The tries of the state, made anew.
    tries: &'a dyn Fn() -> StateTries,
    header: Header,
    ancestry: Option<Ancestry<'a>>,
    /// The whole state, where it is known.
    memory: Option<&'a MemoryStore>,
}

impl World {
    fn add(&mut self, executor: &mut Executor, rules: &ChainRules, block: &Bytes, parent: Parent<'_>) -> BlockOutcome {
        let Parent { store, tries, header: parent, ancestry, memory } = parent;
        let mut input = BlockInput::new(rules, block.clone()).with_parent(&parent);
        input.ancestry = ancestry;
        let outcome = executor
            .execute(&input, &*store, Some(&mut tries()), Options::new(Mode::Sequential))
            .unwrap_or_else(|error| panic!("block {} in {:?}: {error}", parent.number + 1, rules.fork));
        let columns = bal::decode(&outcome.bal, &Limits::format_only()).expect("recorded");
        let (addresses, slots) = (columns.addresses().as_slice(), columns.slot_queries());
        let mut touched: BTreeMap<Address, Vec<U256>> = addresses.iter().map(|address| (*address, vec![])).collect();
        slots.iter().for_each(|slot| touched.entry(slot.address).or_default().push(slot.key));
        let mut before = tries();
        let mut nodes = before.witness(&*store, addresses, &slots, &outcome.changes).expect("a witness");
        // Receipts before Byzantium have the state root after each transaction, which may need nodes that the root after
        // the block does not need: the witness is the whole state.
        let whole = memory.filter(|_| rules.fork < Fork::Byzantium);
        for (address, account) in whole.iter().flat_map(|memory| memory.iter()) {
            let keys: Vec<U256> = account.storage.keys().copied().collect();
            let proof = before.prove(&*store, address, &keys).expect("a state in memory");
            nodes.extend(proof.nodes);
            nodes.extend(proof.slots.into_iter().flat_map(|slot| slot.nodes));
        }
        let mut after = tries();
        after.update(&outcome.changes, &*store).expect("the changes of the block");
        let mut accounts = vec![ParentAccount::default(); addresses.len()];
        store.accounts(addresses, &mut accounts).expect("accounts of the block");
        let hashes: Vec<B256> =
            accounts.iter().map(|account| account.code_hash).collect::<BTreeSet<_>>().into_iter().collect();
        let mut codes = vec![None; hashes.len()];
        store.codes(&hashes, &mut codes).expect("a store in memory");
        let decoded = Block::decode(block.clone()).expect("valid");
        let transactions = &decoded.transactions;
        let encoded = |tx| Bytes::copy_from_slice(transactions.encoded(balustrade::arena::TxIndex(tx as u32)));
        self.headers.insert(parent.number, parent);
        let served = Served {
            transactions: (0..transactions.len()).map(encoded).collect(),
            ommers: decoded.ommers,
            header: decoded.header,
            block: block.clone(),
            list: outcome.bal.clone(),
            fork: rules.fork,
            before: State::new(store.clone(), before),
            after: State::new(store, after),
            nodes,
            codes: codes.into_iter().flatten().collect(),
            touched,
        };
        self.headers.insert(served.header.number, served.header.clone());
        self.blocks.insert(served.header.number, served);
        outcome
    }

    /// The valid blocks of a test, up to the first invalid one. `None` if there is none.
    pub(crate) fn of_test(executor: &mut Executor, test: &BlockTest) -> Option<Self> {
        let network = test.network.clone()?;
        let mut world =
            Self { chain_id: network.chain_id, network: Some(test.network_name.clone()), ..Self::default() };
        let genesis = Block::decode(test.genesis.clone()).ok()?.header;
        let db = StateDb::in_memory(test.pre.clone(), genesis).ok()?;
        let mut db = db.with_schedule(network.clone());
        for block in test.blocks.iter().take_while(|block| block.expect_exception.is_none()) {
            let header = Header::of_block(&block.rlp).expect("a valid block");
            let rules = network.rules_of(&header);
            let state = db.memory().expect("in memory").clone();
            let store: Arc<MemoryStore> = Arc::new(state);
            let fresh = || StateTries::from_memory(&store).expect("a state");
            let parent = Parent {
                store: store.clone(),
                tries: &fresh,
                header: db.head().clone(),
                ancestry: None,
                memory: Some(&store),
            };
            world.add(executor, &rules, &block.rlp, parent);
            let outcome =
                db.execute(executor, &BlockInput::new(&rules, block.rlp.clone()), Options::new(Mode::Sequential));
            db.commit(&outcome.expect("valid")).expect("executed");
        }
        (!world.blocks.is_empty()).then_some(world)
    }

    /// Adds the block of a bundle, with the headers that its document has. False: its state has no root.
    pub(crate) fn add_bundle(&mut self, executor: &mut Executor, document: &Document, bundle: &Bundle) -> bool {
        let Some(rules) = bundle.rules else { return false };
        let Some(parent) = bundle.parent_header.as_ref() else { return false };
        let header = Header::decode(parent).expect("a header");
        let json: serde_json::Value = serde_json::from_slice(&document.bytes).expect("JSON");
        for rlp in json["headers"].as_array().into_iter().flatten() {
            let rlp = hex::decode(rlp.as_str().expect("hex")).expect("hex");
            let header = Header::decode(&rlp).expect("a header");
            self.headers.insert(header.number, header);
        }
        let public = balustrade::exec::rules::chain::ChainConfig::of_chain_id(bundle.chain_id);
        let is_public = public
            .as_ref()
            .is_some_and(|chain| chain.rules_of(&Header::of_block(&bundle.block).expect("a header")) == rules);
        self.chain_id = bundle.chain_id;
        self.network = (!is_public).then(|| rules.fork.name().to_owned());
        let ancestry = bundle.chain.as_ref().map(|chain| Ancestry { chain, blocks: &bundle.ancestors });
        match &bundle.state {
            BundleState::Partial(_) => return false,
            BundleState::Complete { store, .. } => {
                let store = Arc::new(store.clone());
                let fresh = || StateTries::from_memory(&store).expect("a state");
                let parent = Parent { store: store.clone(), tries: &fresh, header, ancestry, memory: Some(&store) };
                self.add(executor, &rules, &bundle.block, parent);
            }
            BundleState::Witness { root, nodes, codes } => {
                let mut store = WitnessStore::new(*root, nodes.iter().cloned(), codes.iter().cloned());
                bundle.block_hashes.iter().for_each(|(number, hash)| store.insert_block_hash(*number, *hash));
                let fresh = || StateTries::from_root(*root);
                let parent = Parent { store: Arc::new(store), tries: &fresh, header, ancestry, memory: None };
                self.add(executor, &rules, &bundle.block, parent);
            }
        }
        true
    }

    /// Adds a block without transactions on a state: block 1 of a Cancun chain whose beacon root is `beacon_root`.
    pub(crate) fn add_cancun_block(&mut self, executor: &mut Executor, store: MemoryStore, beacon_root: B256) {
        let rules = ChainRules { chain_id: 1337, ..ChainRules::mainnet(Fork::Cancun) };
        (self.chain_id, self.network) = (1337, Some("Cancun".to_owned()));
        let store = Arc::new(store);
        let fresh = || StateTries::from_memory(&store).expect("a state");
        let parent = balustrade_cli::testing::cancun_parent(fresh().root());
        let template = Header {
            parent_hash: parent.hash(),
            number: 1,
            timestamp: 12,
            gas_limit: parent.gas_limit,
            base_fee: Some(balustrade::next_base_fee(&parent)),
            excess_blob_gas: Some(0),
            parent_beacon_root: Some(beacon_root),
            ..Header::default()
        };
        let built = executor.build(&rules, &template, &[], &*store, &mut fresh()).expect("valid");
        let parent =
            Parent { store: store.clone(), tries: &fresh, header: parent, ancestry: None, memory: Some(&store) };
        self.add(executor, &rules, &built.block, parent);
    }

    /// The state after block `number`.
    pub(crate) fn state(&self, number: u64) -> Option<&State> {
        let before = || self.blocks.get(&(number + 1)).map(|next| &next.before);
        before().or_else(|| self.blocks.get(&number).map(|block| &block.after))
    }

    pub(crate) fn last(&self) -> u64 {
        *self.blocks.keys().next_back().expect("a block")
    }
}

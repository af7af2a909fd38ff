//! `balustrade serve`: an execution node for devnets and benchmarks, without a network.
//!
//! In: a genesis file or a store, JSON-RPC calls on two ports. Out: their answers; the cost of each payload on standard
//! output.
//! [`Handler`] answers calls in process; `port` connects it to sockets.
//! Not here: peers, a transaction pool that is shared with others, blobs.

mod build;
mod call;
mod debug;
mod engine;
mod eth;
mod json;
mod jwt;
mod metrics;
mod node;
mod page;
mod payload;
mod pool;
mod port;
mod rpc;
mod stats;
mod tree;
mod value;

use super::engine::Engine;
use alloy_primitives::{B256, Bytes};
use balustrade::StateDb;
use balustrade::arena::TxIndex;
use balustrade::exec::block::verify::requests_hash;
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::chain::ChainConfig;
use balustrade::exec::wire::Block;
use build::Builds;
use node::Node;
use payload::{Payload, payload_version};
use pool::Pool;
use rpc::{Params, RpcError, code};
use serde_json::{Value, json};
use value::Data;

pub(super) use port::{ServeArgs, main};

/// The port on which a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The authenticated one: every method.
    Engine,
    /// The public one: no method of the Engine API.
    Public {
        /// Whether methods that build blocks and move the head are allowed.
        testing: bool,
    },
}

/// Answers calls.
#[derive(Debug)]
pub struct Handler {
    node: Node,
    builds: Builds,
    pool: Pool,
}

impl Handler {
    /// A node at the head of a state, with this many threads per block. With `prints`, the cost of each block is written
    /// to standard output.
    ///
    /// # Errors
    /// In words: threads are refused, or the log of the store cannot be read.
    pub fn new(
        db: StateDb,
        config: ChainConfig,
        threads: Option<u16>,
        loop_kind: LoopKind,
        prints: bool,
    ) -> Result<Self, String> {
        let engine = Engine::new(threads, loop_kind).map_err(|error| error.to_string())?;
        Self::with_engine(engine, db, config, prints)
    }

    /// [`Self::new`] with an executor that exists.
    pub(super) fn with_engine(engine: Engine, db: StateDb, config: ChainConfig, prints: bool) -> Result<Self, String> {
        let node = Node::new(engine, db, config, prints).map_err(|error| error.to_string())?;
        Ok(Self { node, builds: Builds::default(), pool: Pool::default() })
    }

    /// Answers the body of a request.
    pub fn answer(&mut self, port: Port, body: &[u8]) -> Vec<u8> {
        rpc::answer(body, &mut |method, params| self.call(port, method, params))
    }

    /// Finishes what a call left to be done after its response was sent.
    pub fn settle(&mut self) {
        self.node.settle();
    }

    /// The executor, at the end.
    pub(super) fn into_engine(self) -> Engine {
        self.node.into_engine()
    }

    /// Hash and state root of the head.
    pub(super) fn head(&self) -> (B256, B256) {
        let head = self.node.tree.head();
        (head.hash, head.header.state_root)
    }

    /// Names of the exceptions that describe why a block is invalid; empty if nothing is known.
    pub(super) fn exceptions_of(&self, hash: &B256) -> &[&'static str] {
        self.node.tree.invalid(hash).map_or(&[], |invalid| &invalid.classes)
    }

    /// The call of `engine_newPayload` that has a block: version, and parameters as a JSON array. The requests are those
    /// that the block produces on its parent; none if it cannot be executed there.
    pub(super) fn payload_call(&mut self, block: &Block, list: Option<&Bytes>) -> (u8, String) {
        let header = &block.header;
        let rules = self.node.rules(header.number, header.timestamp);
        let version = payload_version(rules.fork);
        let mut params = vec![json!(Payload::of_block(block, list))];
        if version >= 3 {
            let hashes = |tx| block.transactions.blob_hashes(TxIndex(tx as u32)).iter();
            params.push((0..block.transactions.len()).flat_map(hashes).map(|hash| json!(hash)).collect());
            params.push(json!(header.parent_beacon_root));
        }
        if version >= 4 {
            let claims_none = header.requests_hash == Some(requests_hash(&[]));
            let produced = match claims_none {
                true => Ok(Vec::new()),
                false => self.node.on_chain(&header.parent_hash, |engine, chain| {
                    let unverified = engine.unverified(chain, &rules, &block.raw).map_err(node::of_failure)?;
                    Ok(unverified.requests)
                }),
            };
            let requests = produced.unwrap_or_default().into_iter().map(|request| Data(request.into()));
            params.push(json!(requests.collect::<Vec<_>>()));
        }
        (version, Value::Array(params).to_string())
    }

    fn call(&mut self, port: Port, method: &str, params: &Params<'_>) -> Result<Value, RpcError> {
        self.node.settle();
        let result = self.dispatch(port, method, params);
        let mut stats = self.node.stats.lock();
        let [calls, errors] = &mut stats.calls[usize::from(port != Port::Engine)];
        *calls += 1;
        *errors += u64::from(result.is_err());
        drop(stats);
        result
    }

    fn dispatch(&mut self, port: Port, method: &str, params: &Params<'_>) -> Result<Value, RpcError> {
        let testing = port != Port::Public { testing: false };
        let found = match method {
            "testing_buildBlockV1" if testing => Some(self.testing_build_block(params)),
            "debug_setHead" if testing => Some(self.set_head(params)),
            _ if method.starts_with("engine_") && port == Port::Engine => self.engine(method, params),
            _ if method.starts_with("debug_") => self.debug(method, params),
            _ => self.eth(method, params),
        };
        let name = rpc::bounded(method);
        found.unwrap_or_else(|| Err(RpcError::new(code::METHOD, format!("the method {name} does not exist here"))))
    }
}

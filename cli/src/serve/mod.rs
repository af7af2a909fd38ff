//! `balustrade serve`: an execution node for devnets and benchmarks, without a network.
//!
//! In: a genesis file or a store, JSON-RPC calls on two ports. Out: their answers; the cost of each payload on standard
//! output.
//! [`Handler`] answers calls in process; `port` connects it to sockets.
//! Not here: peers, a transaction pool that is shared with others, blobs.

mod build;
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
use balustrade::StateDb;
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::chain::ChainConfig;
use build::Builds;
use node::Node;
use pool::Pool;
use rpc::{Params, RpcError, code};
use serde_json::Value;

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

//! `balustrade capture`: bundles of blocks from a node.
//!
//! In: a node's URL, block numbers. Out: a bundle per block, written only after the block was executed from it in every
//! mode with the state root of its header. Each block goes through: the block and its rules; the parent state, by witness
//! or by proofs (`live`), while our own sequential execution reads it; the bundle (`document`), which is parsed again and
//! executed in every mode; the file.
//! Nothing that a node says is believed without its hash. Whether the block is the one of the public chain is not checked:
//! the node says which block has a number.
//! Not here: executing bundles (`run`).

mod ancestors;
mod args;
mod collapse;
mod document;
mod header;
mod live;
mod node;
mod proof;
mod rpc;
mod witness;

use super::engine::{Accepted, Chain, Engine, Failure, List, modes};
use super::output::OutputError;
use super::workload::WorkloadError;
use super::workload::bundle::{Target, write_document};
use super::{ModeArg, Status, interrupt, output, report};
use alloy_primitives::{Address, U256};
use ancestors::Ancestors;
pub use args::CaptureArgs;
use args::{Blocks, Place, StrategyArg};
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::chain::ChainConfig;
use balustrade::exec::rules::ommers::{ANCESTORS_NEEDED, Ancestor};
use balustrade::executor::Check;
use balustrade::formats::{Content, Document, network_chain};
use balustrade::{ChainRules, Mode};
use comfy_table::Table;
use document::{Parts, bundle_json};
use live::{LiveState, Strategy};
use node::{Fetched, Node, hex};
use rpc::{Call, Client, RpcError};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use witness::Witness;

/// Why a block was not captured.
#[derive(Debug, thiserror::Error)]
enum CaptureError {
    /// A call failed, or its answer is wrong.
    #[error(transparent)]
    Call(#[from] RpcError),
    /// The block of this call was not accepted on the state that was read.
    #[error("{call}: {failure}")]
    Block { call: String, failure: Failure },
    /// The bundle is not what was executed first.
    #[error("the bundle of block {number} cannot be used: {what}")]
    Bundle { number: u64, what: String },
    /// The options do not fit the node or each other.
    #[error("{0}")]
    Usage(String),
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] OutputError),
    /// The folder cannot be used.
    #[error(transparent)]
    Target(#[from] WorkloadError),
}

/// The numbers of the first and of the last block.
fn numbers(blocks: &Blocks, node: &Node) -> Result<(u64, u64), CaptureError> {
    let number = |place: &Place| match place {
        Place::Number(number) => Ok(*number),
        Place::Tag(tag) => node.number_of(tag),
    };
    let first = number(&blocks.first)?;
    let last = blocks.last.as_ref().map_or(Ok(first), number)?;
    match (first, last) {
        (0, _) => Err(CaptureError::Usage("block 0 has no parent state: capture later blocks".into())),
        (first, last) if first > last => {
            Err(CaptureError::Usage(format!("the range is empty: block {first} is above block {last}")))
        }
        range => Ok(range),
    }
}

impl CaptureError {
    const fn status(&self) -> Status {
        match self {
            Self::Block { failure: Failure::Invalid { .. }, .. } => Status::Failed,
            _ => Status::Unusable,
        }
    }

    /// Whether a signal ended it, so that it is no error.
    fn is_interruption(&self) -> bool {
        interrupt::flow().is_break() || matches!(self, Self::Call(error) if error.is_cancelled())
    }
}

/// A captured block, as a row of the output.
#[derive(Debug)]
struct Row {
    number: u64,
    json: Value,
    cells: Vec<String>,
}

/// Runs the command.
pub fn main(args: &CaptureArgs) -> Status {
    if let Err(status) = interrupt::install() {
        return status;
    }
    let mut rows = Vec::new();
    let done = Capture::start(args).and_then(|mut capture| capture.run(&mut rows).map(|()| capture));
    let status = match &done {
        Ok(_) => Status::Good,
        Err(error) if error.is_interruption() => Status::Good,
        Err(error) => {
            report::complain(error);
            error.status()
        }
    };
    if args.json {
        let (calls, bytes) = done.as_ref().map_or((0, 0), |capture| capture.node.client.counts());
        let numbers: Vec<u64> = rows.iter().map(|row| row.number).collect();
        let mut summary = json!({"blocks": numbers.len(), "first": numbers.first(), "last": numbers.last()});
        if done.is_ok() {
            (summary["calls"], summary["received_bytes"]) = (json!(calls), json!(bytes));
        }
        report::json_line(&json!({ "summary": summary }));
    } else if !rows.is_empty() {
        report::line(&table(&rows).to_string());
    }
    status
}

fn table(rows: &[Row]) -> Table {
    let mut table = report::table();
    table.set_header(["block", "fork", "by", "txs", "Mgas", "nodes", "codes", "headers", "calls", "kB in", "kB file"]);
    for row in rows {
        table.add_row(row.cells.clone());
    }
    report::narrow(&mut table);
    report::right_align(&mut table, 3);
    table
}

/// The state of the command between blocks.
struct Capture<'a> {
    args: &'a CaptureArgs,
    node: Arc<Node>,
    engine: Engine,
    config: ChainConfig,
    network: String,
    strategy: Strategy,
    target: Target,
    blocks: (u64, u64),
}

/// A block and the state on which it was executed.
struct Executed {
    fetched: Fetched,
    rules: ChainRules,
    state: Arc<LiveState>,
    accepted: Accepted,
}

impl<'a> Capture<'a> {
    fn start(args: &'a CaptureArgs) -> Result<Self, CaptureError> {
        let client = Client::new(&args.rpc, args.timeout, usize::from(args.batch), interrupt::token());
        let node = Arc::new(Node::new(client.map_err(CaptureError::Usage)?));
        let engine = Engine::new(args.threads, LoopKind::default());
        let engine = engine.map_err(|error| CaptureError::Usage(error.to_string()))?;
        let id = node.chain_id()?;
        let config = match (&args.chain, &args.fork) {
            (Some(chain), _) if chain.chain_id != id => {
                let asked = chain.chain_id;
                return Err(CaptureError::Usage(format!("the node is of chain {id}, --chain is {asked}")));
            }
            (Some(chain), _) => (**chain).clone(),
            (None, Some(fork)) => network_chain(fork, id)
                .ok_or_else(|| CaptureError::Usage(format!("no fork is called {fork}; `balustrade chain mainnet` lists them")))?,
            (None, None) => ChainConfig::of_chain_id(id).ok_or_else(|| {
                CaptureError::Usage(format!(
                    "the node is of chain {id}, which is not public: name its genesis file with --chain, or its fork with --fork"
                ))
            })?,
        };
        let blocks = numbers(&args.blocks, &node)?;
        let target = Target::new(&args.out, blocks.1 - blocks.0 + 1)?;
        let names = ["mainnet", "sepolia", "hoodi", "holesky"];
        let named = names.into_iter().find(|name| ChainConfig::named(name).is_ok_and(|chain| chain.chain_id == id));
        let network = named.map_or_else(|| format!("chain{id}"), str::to_owned);
        let strategy = match args.strategy {
            Some(StrategyArg::Proofs) => Strategy::Proofs,
            Some(StrategyArg::Witness) | None => Strategy::Witness,
        };
        Ok(Self { args, node, engine, config, network, strategy, target, blocks })
    }

    fn run(&mut self, rows: &mut Vec<Row>) -> Result<(), CaptureError> {
        let (first, last) = self.blocks;
        let bar = report::progress_blocks(last - first + 1);
        let mut done = Ok(());
        for number in first..=last {
            if interrupt::flow().is_break() {
                break;
            }
            bar.set_message(number.to_string());
            match self.block(number) {
                Ok(row) => {
                    if self.args.json {
                        bar.suspend(|| report::json_line(&row.json));
                    }
                    rows.push(row);
                }
                Err(error) => {
                    if self.args.json && !error.is_interruption() {
                        let kind = if error.status() == Status::Failed { "invalid" } else { "host" };
                        let line = json!({"block": number, "error": error.to_string(), "kind": kind});
                        bar.suspend(|| report::json_line(&line));
                    }
                    done = Err(error);
                    break;
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        done
    }

    /// Captures one block.
    fn block(&mut self, number: u64) -> Result<Row, CaptureError> {
        let before = self.node.client.counts();
        let executed = self.executed(number)?;
        let Executed { fetched, rules, state, accepted } = executed;
        let header = &fetched.decoded.header;
        let depth = if fetched.decoded.ommers.is_empty() { 1 } else { ANCESTORS_NEEDED as u64 };
        let headers = state.headers(header.number.saturating_sub(self.args.headers.max(depth)))?;
        let outcome = &accepted.outcome;
        let parts = Parts {
            network: &self.network,
            rules: &rules,
            strategy: self.strategy.name(),
            block: &fetched.block,
            headers: &headers,
            state: &state.state(),
            outcome,
        };
        let fault = |what: String| CaptureError::Bundle { number, what };
        let (bytes, nodes, codes) = bundle_json(&parts).map_err(|error| fault(error.to_string()))?;
        let name = format!("{}-{number}", self.network);
        let document = Document { name, bytes };
        self.confirm(&document, &rules, &accepted).map_err(fault)?;

        let path = self.target.path(&document.name);
        let text = String::from_utf8(document.bytes).map_err(|error| fault(error.to_string()))?;
        let json = RawValue::from_string(text).map_err(|error| fault(error.to_string()))?;
        let file_bytes = write_document(&path, &json)?;
        let after = self.node.client.counts();
        let (calls, received) = (after.0 - before.0, after.1 - before.1);
        let json = json!({
            "block": number, "hash": outcome.hash, "fork": rules.fork.name(), "strategy": self.strategy.name(),
            "transactions": outcome.transactions.len(), "gas_used": outcome.gas_used, "state_root": outcome.state_root,
            "nodes": nodes, "codes": codes, "headers": headers.len(), "calls": calls, "received_bytes": received,
            "file": path, "file_bytes": file_bytes,
            "unchecked": outcome.unchecked.iter().map(|unchecked| unchecked.check.name()).collect::<Vec<_>>(),
        });
        let kilobytes = |bytes: u64| bytes.div_ceil(1_000).to_string();
        let cells = vec![
            number.to_string(),
            rules.fork.name().to_owned(),
            self.strategy.name().to_owned(),
            outcome.transactions.len().to_string(),
            format!("{:.2}", outcome.gas_used as f64 / 1e6),
            nodes.to_string(),
            codes.to_string(),
            headers.len().to_string(),
            calls.to_string(),
            kilobytes(received),
            kilobytes(file_bytes),
        ];
        Ok(Row { number, json, cells })
    }

    /// Executes a block sequentially on the state that is read from the node.
    fn executed(&mut self, number: u64) -> Result<Executed, CaptureError> {
        let fetched = self.node.block(number)?;
        let header = &fetched.decoded.header;
        let rules = self.config.rules_of(header);
        let list = match header.block_access_list_hash {
            Some(claimed) => self.node.list(number, claimed)?,
            None => None,
        };
        let Witness { nodes, codes, headers } = self.witness(number)?;
        let mut ancestors = Ancestors::new(header, headers);
        let depth = if fetched.decoded.ommers.is_empty() { 1 } else { ANCESTORS_NEEDED as u64 };
        // The first blocks of a chain have fewer ancestors.
        ancestors.reach(number.saturating_sub(depth), &self.node)?;
        let Some(parent) = ancestors.parent().cloned() else {
            return Err(fetched.call.wrong("the block has no parent").into());
        };
        let related = ancestors.needed().iter().cloned().map(Ancestor::of_header).collect();
        let state = LiveState::new(self.node.clone(), self.strategy, (&parent, ancestors), (nodes, codes));
        let state = Arc::new(state);
        if self.strategy == Strategy::Proofs {
            state.prove(&self.expected(&fetched, list.is_some())?)?;
        }
        let mut chain = Chain::of_live(state.clone(), parent, self.config.clone(), related);
        // Codes of earlier blocks are read again, so that the bundle has them.
        self.engine.forget_codes();
        let list = List::from(list.as_ref());
        let run =
            self.engine.execute_or_record(&mut chain, &rules, &fetched.block, list, Some(Mode::Sequential), false);
        match run {
            Ok(accepted) => Ok(Executed { fetched, rules, state, accepted }),
            Err(failure) => Err(match state.take_failed() {
                Some(error) => error.into(),
                None => CaptureError::Block { call: self.blamed(&fetched.call, number, &failure), failure },
            }),
        }
    }

    /// The call whose answer is at fault if a block is not accepted: that of the block if it is invalid, else that of the
    /// state.
    fn blamed(&self, block: &Call, number: u64, failure: &Failure) -> String {
        match (failure, self.strategy) {
            (Failure::Invalid { .. }, _) => format!("{block}: under the rules of {}", self.rules_named(number)),
            (Failure::Host(_), Strategy::Witness) => Node::witness_call(number).to_string(),
            (Failure::Host(_), Strategy::Proofs) => format!("eth_getProof at block {}", hex(number - 1)),
        }
    }

    fn rules_named(&self, number: u64) -> String {
        match &self.args.fork {
            Some(fork) => format!("{fork}, block {number}"),
            None => format!("chain {}, block {number}", self.config.chain_id),
        }
    }

    /// The witness of a block; empty by proofs. Without `--strategy` a node that lacks the method is asked for proofs from
    /// here on.
    fn witness(&mut self, number: u64) -> Result<Witness, RpcError> {
        if self.strategy == Strategy::Proofs {
            return Ok(Witness::default());
        }
        match self.node.witness(number) {
            Err(error) if error.is_unknown_method() && self.args.strategy.is_none() => {
                output::note(&format_args!("{error}; the state is read by proofs"));
                self.strategy = Strategy::Proofs;
                Ok(Witness::default())
            }
            witness => witness,
        }
    }

    /// Accounts and slots that are asked for before the execution, in few requests. A list names them all.
    fn expected(&self, fetched: &Fetched, has_list: bool) -> Result<BTreeMap<Address, Vec<U256>>, RpcError> {
        if has_list {
            return Ok(BTreeMap::new());
        }
        self.node.touched(fetched.decoded.header.number)
    }

    /// Executes the bundle in every mode and compares the results with each other and with the first execution.
    ///
    /// # Errors
    /// In words: what is wrong with the bundle.
    fn confirm(&mut self, document: &Document, rules: &ChainRules, first: &Accepted) -> Result<(), String> {
        let bundle = match Content::parse(document, None) {
            Ok(Content::Bundle(bundle)) => bundle,
            Ok(Content::Tests(_)) => return Err("it is read as a file of tests".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        if bundle.rules.as_ref() != Some(rules) {
            return Err("a bundle has no way to state the rules of this chain".to_owned());
        }
        let list = List { bal: bundle.bal.as_ref(), existence_log: bundle.existence_log.as_ref() };
        for mode in modes(Some(ModeArg::All)) {
            let mut chain =
                Chain::of_bundle_with(&bundle, Some(self.config.clone())).map_err(|error| error.to_string())?;
            self.engine.forget_codes();
            let run = self.engine.execute_or_record(&mut chain, rules, &bundle.block, list, *mode, false);
            let accepted = run.map_err(|error| error.to_string())?;
            if let Some(difference) = first.difference(&accepted) {
                return Err(difference);
            }
            // Proof of work is never checked, nor what ommers of ancestors were.
            let allowed = [Check::Seal, Check::OmmerRules];
            if let Some(unchecked) = accepted.outcome.unchecked.iter().find(|check| !allowed.contains(&check.check)) {
                return Err(format!("unchecked: {unchecked}"));
            }
        }
        Ok(())
    }
}

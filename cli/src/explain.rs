//! Explains rejected blocks, and compares accepted ones with the results that their files state.
//!
//! In: a block, what its file says about it, and its execution without checks. Out: the first
//! transaction and the accounts that differ, as lines; with `run --explain` a Markdown file with
//! everything known about the block.
//! Relies on: `Engine::unverified` and `Engine::diagnose`. Not here: whether a block is valid.

mod receipt;

use super::engine::{Chain, Engine, List};
use super::output::{OutputError, OutputFile};
use super::report;
use alloy_primitives::{Address, B256, Bytes, keccak256};
use balustrade::BlockOutcome;
use balustrade::arena::store::MemoryStore;
use balustrade::arena::{Id, TxIndex};
use balustrade::bal::bal_hash;
use balustrade::exec::block::verify::requests_hash;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::senders::{recover_batch, tx_signatures};
use balustrade::exec::wire::Block;
use balustrade::executor::{Diagnosis, Unverified};
use balustrade::formats::{BlockTest, Expected};
use balustrade::trie::ordered_root;
use receipt::Receipt;
use std::fmt::Display;
use std::io::{self, Write};

/// Maximal number of differing accounts that are named in the terminal.
const ACCOUNTS_SHOWN: usize = 8;

/// The error of a file whose block is valid, but not what the file says about it.
pub const DISAGREEMENT: &str = "the block is valid, but its file says something else";

/// A block, and what its file says that execution produces.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Name of the block in the output.
    pub name: &'a str,
    /// The rules of its fork.
    pub rules: &'a ChainRules,
    /// RLP of the block.
    pub block: &'a Bytes,
    /// Its block access list, where given.
    pub list: List<'a>,
    /// Results that its file states.
    pub expected: &'a Expected,
    /// The block test that may state the state after the block, and the block's position in it.
    pub test: Option<(&'a BlockTest, usize)>,
}

/// The first transaction whose receipt is not the one of the file.
#[derive(Debug)]
struct ReceiptDifference {
    transaction: usize,
    what: String,
}

/// What differs between an execution and a block's file.
#[derive(Debug, Default)]
pub struct Differences {
    /// One sentence for each.
    pub lines: Vec<String>,
    /// The first transaction that differs.
    transaction: Option<usize>,
    /// Whether the file states the state after the block.
    has_post_state: bool,
}

/// Hash of a transaction.
fn tx_hash(block: &Block, tx: usize) -> B256 {
    keccak256(block.transactions.encoded(TxIndex::new(tx)))
}

/// Recovers the sender of each transaction.
fn senders(block: &Block, rules: &ChainRules) -> Vec<Option<Address>> {
    let signatures = tx_signatures(&block.transactions, 0..block.transactions.len(), rules.fork);
    let mut out = vec![None; signatures.len()];
    recover_batch(&signatures, &mut out);
    out
}

/// The first differing sender, as a sentence.
fn sender_difference(block: &Block, expected: &[Address], produced: &[Option<Address>]) -> Option<String> {
    if expected.len() != produced.len() {
        let transactions = report::counted(produced.len() as u64, "transaction");
        return Some(format!("the block has {transactions}, the file {} senders", expected.len()));
    }
    let tx = expected.iter().zip(produced).position(|(expected, produced)| Some(*expected) != *produced)?;
    let recovered = produced[tx].map_or("no sender".to_owned(), |sender| sender.to_string());
    let (hash, expected) = (tx_hash(block, tx), expected[tx]);
    Some(format!("transaction {tx} ({hash}): its signature gives {recovered}, the file says {expected}"))
}

/// The first transaction whose receipt differs, and how many differ.
fn receipt_difference(
    block: &Block,
    expected: &[Bytes],
    produced: &[&[u8]],
    byzantium: bool,
) -> Option<ReceiptDifference> {
    let mut first: Option<ReceiptDifference> = None;
    let (mut count, mut gas_before) = (0u64, [0; 2]);
    for (transaction, (expected, produced)) in expected.iter().zip(produced).enumerate() {
        let [Ok(expected), Ok(produced)] = [&expected[..], produced].map(Receipt::decode) else {
            let what = format!("transaction {transaction}: the file's receipt does not decode");
            return Some(first.unwrap_or(ReceiptDifference { transaction, what }));
        };
        let differences = produced.differences(&expected, gas_before, byzantium);
        gas_before = [produced.cumulative_gas, expected.cumulative_gas];
        if differences.is_empty() {
            continue;
        }
        count += 1;
        first.get_or_insert_with(|| {
            let what =
                format!("transaction {transaction} ({}): {}", tx_hash(block, transaction), differences.join("; "));
            ReceiptDifference { transaction, what }
        });
    }
    if expected.len() != produced.len() {
        let (transaction, receipts) = (expected.len().min(produced.len()), produced.len());
        let what =
            format!("the block has {}, the file {}", report::counted(receipts as u64, "receipt"), expected.len());
        return Some(first.unwrap_or(ReceiptDifference { transaction, what }));
    }
    if let (Some(first), 2..) = (&mut first, count) {
        first.what += &format!("; {} more differ", report::counted(count - 1, "transaction"));
    }
    first
}

/// The accounts of `produced` that differ from `expected`, a sentence for each.
fn account_differences(produced: &MemoryStore, expected: &MemoryStore) -> Vec<String> {
    let mut addresses: Vec<&Address> = produced.iter().chain(expected.iter()).map(|(address, _)| address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut lines = Vec::new();
    for address in addresses {
        let (produced, expected) = match (produced.account(address), expected.account(address)) {
            (Some(produced), Some(expected)) => (produced, expected),
            (Some(_), None) => {
                lines.push(format!("account {address}: exists, the file says that it does not"));
                continue;
            }
            (None, _) => {
                lines.push(format!("account {address}: does not exist, the file says that it does"));
                continue;
            }
        };
        let mut parts = Vec::new();
        let mut compare = |what: &dyn Display, produced: &dyn Display, expected: &dyn Display| {
            let (produced, expected) = (produced.to_string(), expected.to_string());
            if produced != expected {
                parts.push(format!("{what} {produced}, the file says {expected}"));
            }
        };
        compare(&"nonce", &produced.nonce, &expected.nonce);
        compare(&"balance", &produced.balance, &expected.balance);
        compare(&"code hash", &produced.code_hash, &expected.code_hash);
        let mut keys: Vec<_> = produced.storage.keys().chain(expected.storage.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let [produced, expected] = [produced, expected].map(|account| account.storage.get(key).copied());
            let [produced, expected] = [produced, expected].map(Option::unwrap_or_default);
            compare(&format_args!("slot {key:#x}"), &format_args!("{produced:#x}"), &format_args!("{expected:#x}"));
        }
        if !parts.is_empty() {
            lines.push(format!("account {address}: {}", parts.join("; ")));
        }
    }
    lines
}

impl Subject<'_> {
    fn byzantium(&self) -> bool {
        self.rules.fork >= Fork::Byzantium
    }

    /// Compares receipts and requests with those of the file.
    fn compare_results(&self, block: &Block, receipts: &[&[u8]], requests: &[Vec<u8>]) -> Differences {
        let mut found = Differences::default();
        if let Some(expected) = &self.expected.receipts
            && let Some(difference) = receipt_difference(block, expected, receipts, self.byzantium())
        {
            found.transaction = Some(difference.transaction);
            found.lines.push(difference.what);
        }
        if let Some(expected) = &self.expected.requests
            && !expected.iter().map(|request| &request[..]).eq(requests.iter().map(Vec::as_slice))
        {
            let show =
                |requests: Vec<String>| if requests.is_empty() { "none".to_owned() } else { requests.join(", ") };
            let produced = show(requests.iter().map(alloy_primitives::hex::encode_prefixed).collect());
            found.lines.push(format!(
                "requests: {produced}, the file says {}",
                show(expected.iter().map(Bytes::to_string).collect())
            ));
        }
        found
    }

    /// Compares an accepted block with what its file says: receipts, requests, senders, hash of the
    /// block access list. Returns the differences as sentences.
    pub fn differences(&self, outcome: &BlockOutcome) -> Vec<String> {
        if *self.expected == Expected::default() {
            return Vec::new();
        }
        let Ok(block) = Block::decode(self.block.clone()) else { return Vec::new() };
        let receipts: Vec<&[u8]> = outcome.receipts.iter().collect();
        let mut lines = self.compare_results(&block, &receipts, &outcome.requests).lines;
        if let Some(expected) = &self.expected.senders {
            lines.extend(sender_difference(&block, expected, &senders(&block, self.rules)));
        }
        if let (Some(bal), Some(expected)) = (self.list.bal, self.expected.bal_hash)
            && bal_hash(bal) != expected
        {
            let found = bal_hash(bal);
            lines.push(format!("the hash of the block access list is {found}, the file says {expected}"));
        }
        lines
    }

    /// Compares the execution of a rejected block with what its file says.
    fn explain(&self, block: &Block, chain: &Chain, produced: &Unverified) -> Differences {
        let receipts: Vec<&[u8]> = produced.receipts.iter().collect();
        let mut found = self.compare_results(block, &receipts, &produced.requests);
        if let Some(expected) = &self.expected.senders {
            found.lines.extend(sender_difference(block, expected, &produced.senders));
        }
        let post_state = self.test.and_then(|(test, position)| test.post_state_after(position));
        found.has_post_state = post_state.is_some();
        if let (Some(expected), Some(parent)) = (post_state, chain.memory()) {
            let mut after = parent.clone();
            produced.changes.apply_to(&mut after);
            let accounts = account_differences(&after, &expected);
            found.lines.extend(accounts.iter().take(ACCOUNTS_SHOWN).cloned());
            if accounts.len() > ACCOUNTS_SHOWN {
                let more = (accounts.len() - ACCOUNTS_SHOWN) as u64;
                found.lines.push(format!("{} more differ", report::counted(more, "account")));
            }
        }
        found
    }

    /// The differences behind a wrong gas used, receipts root, logs bloom, requests hash or state
    /// root: one sentence each. Empty for other errors, and where the block cannot be executed.
    pub fn causes(&self, engine: &mut Engine, chain: &mut Chain, classes: &[&str]) -> Vec<String> {
        const COMMITMENTS: [&str; 5] = [
            "BlockException.INVALID_GAS_USED",
            "BlockException.INVALID_RECEIPTS_ROOT",
            "BlockException.INVALID_LOG_BLOOM",
            "BlockException.INVALID_REQUESTS",
            "BlockException.INVALID_STATE_ROOT",
        ];
        if !classes.iter().any(|class| COMMITMENTS.contains(class)) {
            return Vec::new();
        }
        let Ok(block) = Block::decode(self.block.clone()) else { return Vec::new() };
        let Ok(produced) = engine.unverified(chain, self.rules, self.block) else { return Vec::new() };
        let Differences { mut lines, has_post_state, .. } = self.explain(&block, chain, &produced);
        if lines.is_empty() {
            let mut same = Vec::new();
            same.extend(self.expected.receipts.is_some().then_some("receipts"));
            same.extend(self.expected.requests.is_some().then_some("requests"));
            same.extend(self.list.bal.filter(|_| classes.contains(&COMMITMENTS[4])).map(|_| "block access list"));
            same.extend(has_post_state.then_some("state after the block"));
            lines.push(match same.as_slice() {
                [] => "the file has no receipts and no state after the block to compare with".to_owned(),
                same => format!("execution and file agree in: {}", same.join(", ")),
            });
        }
        lines
    }

    /// Appends everything known about a rejected block to a Markdown file. Returns the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(
        &self,
        engine: &mut Engine,
        chain: &mut Chain,
        error: &str,
        mut file: OutputFile,
    ) -> Result<OutputFile, OutputError> {
        let text = Text { subject: self, error };
        let traced = match text.write(engine, chain, &mut file) {
            Ok(traced) => traced,
            Err(error) => return Err(file.fault(error)),
        };
        let Some(tx) = traced else { return Ok(file) };
        // The block is executed again until the traced transaction ends.
        engine.trace_transaction(chain, self.rules, self.block, tx, file)
    }
}

/// The Markdown text about one block.
struct Text<'a> {
    subject: &'a Subject<'a>,
    error: &'a str,
}

impl Text<'_> {
    /// Writes all parts but the trace; returns the transaction to trace.
    fn write(&self, engine: &mut Engine, chain: &mut Chain, out: &mut impl Write) -> io::Result<Option<u32>> {
        let Self { subject, error } = self;
        writeln!(out, "# {} is rejected\n\n{error}\n", subject.name)?;
        let block = match Block::decode(subject.block.clone()) {
            Ok(block) => block,
            Err(error) => {
                writeln!(out, "The block does not decode: {error}.\n")?;
                return Ok(None);
            }
        };
        let (header, fork) = (&block.header, subject.rules.fork.name());
        writeln!(out, "Block {} with hash {}, {fork} rules.\n", header.number, block.header_hash)?;
        let produced = engine.unverified(chain, subject.rules, subject.block);
        let mut suspect = None;
        match &produced {
            Ok(produced) => {
                let found = subject.explain(&block, chain, produced);
                suspect = found.transaction;
                writeln!(out, "## Differences from the file's receipts, requests, senders and state\n")?;
                if found.lines.is_empty() {
                    writeln!(out, "None, as far as the file states them.")?;
                }
                found.lines.iter().try_for_each(|line| writeln!(out, "- {line}"))?;
                writeln!(out)?;
                self.commitments(&block, produced, out)?;
            }
            Err(failure) => writeln!(out, "Execution failed: {failure}.\n")?,
        }
        let listed = subject.list.bal.map(|bal| engine.diagnose(chain, subject.rules, subject.block, bal));
        match listed {
            Some(Ok(diagnosis)) => {
                suspect = suspect.or_else(|| first_transaction(&diagnosis, block.transactions.len()));
                access_list(&diagnosis, out)?;
            }
            Some(Err(failure)) => writeln!(out, "## Block access list\n\nNot compared: {failure}.\n")?,
            None => {}
        }
        self.transactions(&block, produced.as_ref().ok(), out)?;
        if let Ok(produced) = &produced {
            changes(produced, out)?;
            writeln!(out, "## Receipts\n")?;
            for (tx, receipt) in produced.receipts.iter().enumerate() {
                writeln!(out, "{tx}. {}", alloy_primitives::hex::encode_prefixed(receipt))?;
            }
            writeln!(out)?;
        }
        let suspect = suspect.filter(|tx| *tx < block.transactions.len());
        if let Some(tx) = suspect {
            writeln!(out, "## Trace of transaction {tx} (EIP-3155)\n")?;
        }
        Ok(suspect.map(|tx| tx as u32))
    }

    /// The table of the header's commitments beside those of the execution.
    fn commitments(&self, block: &Block, produced: &Unverified, out: &mut impl Write) -> io::Result<()> {
        let header = &block.header;
        writeln!(out, "## Header and execution\n\n| field | header | execution |\n|---|---|---|")?;
        let mut row = |name: &str, header: &dyn Display, execution: &dyn Display| {
            let (header, execution) = (header.to_string(), execution.to_string());
            let mark = if header == execution { "" } else { " (differs)" };
            writeln!(out, "| {name} | {header} | {execution}{mark} |")
        };
        row("gas used", &header.gas_used, &produced.gas_used)?;
        let receipts: Vec<&[u8]> = produced.receipts.iter().collect();
        row("receipts root", &header.receipts_root, &ordered_root(&receipts))?;
        row("logs bloom (keccak256)", &keccak256(header.logs_bloom), &keccak256(produced.receipts.bloom()))?;
        if let Some(hash) = header.requests_hash {
            row("requests hash", &hash, &requests_hash(&produced.requests))?;
        }
        if let Some(root) = produced.state_root {
            row("state root", &header.state_root, &root)?;
        }
        writeln!(out)
    }

    /// The table of transactions.
    fn transactions(&self, block: &Block, produced: Option<&Unverified>, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "## Transactions\n\n| index | hash | sender | to | status | gas used |\n|---|---|---|---|---|---|"
        )?;
        let senders = produced.map_or_else(|| senders(block, self.subject.rules), |produced| produced.senders.clone());
        for (tx, sender) in senders.iter().enumerate() {
            let to = block.transactions.row(TxIndex::new(tx)).to;
            let to = to.map_or("creation".to_owned(), |to| to.to_string());
            let sender = sender.map_or("invalid signature".to_owned(), |sender| sender.to_string());
            let (status, gas) = match produced.map(|produced| &produced.transactions[tx]) {
                Some(outcome) => (if outcome.success { "success" } else { "failure" }, outcome.gas_paid.to_string()),
                None => ("", String::new()),
            };
            writeln!(out, "| {tx} | {} | {sender} | {to} | {status} | {gas} |", tx_hash(block, tx))?;
        }
        writeln!(out)
    }
}

/// The first transaction in which a block access list and the execution differ, or which is invalid.
fn first_transaction(diagnosis: &Diagnosis, transactions: usize) -> Option<usize> {
    let of_points = diagnosis.points.iter().filter_map(|point| point.index);
    let all = of_points.chain(diagnosis.stopped.as_ref().map(|(index, _)| index.0));
    all.filter(|index| (1..=transactions).contains(&(*index as usize))).min().map(|index| index as usize - 1)
}

/// The differences between the block access list and the execution.
fn access_list(diagnosis: &Diagnosis, out: &mut impl Write) -> io::Result<()> {
    let count = report::counted(diagnosis.points.len() as u64, "difference");
    writeln!(out, "## Block access list\n\n{count} from the execution (index n is transaction n-1).\n")?;
    for point in &diagnosis.points {
        writeln!(out, "- {}", point.to_string().replace('\n', "\n  "))?;
    }
    if let Some((index, error)) = &diagnosis.stopped {
        writeln!(out, "\nExecution ended at index {}: {error}", index.0)?;
    }
    writeln!(out)
}

/// The accounts that the block changes, with their values after it.
fn changes(produced: &Unverified, out: &mut impl Write) -> io::Result<()> {
    let changes = &produced.changes;
    writeln!(out, "## Changed accounts, with their values after the block\n")?;
    for row in 0..changes.len() {
        write!(out, "- {} ({:?})", changes.addresses[row], changes.statuses[row])?;
        if let Some(nonce) = changes.nonces[row] {
            write!(out, ", nonce {nonce}")?;
        }
        if let Some(balance) = changes.balances[row] {
            write!(out, ", balance {balance}")?;
        }
        if let Some(hash) = changes.code_hashes[row] {
            write!(out, ", code hash {hash}")?;
        }
        for (key, value) in changes.slots(row) {
            write!(out, "\n  - slot {key:#x}: {value:#x}")?;
        }
        writeln!(out)?;
    }
    writeln!(out)
}

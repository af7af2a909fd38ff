//! What the tests of the C interface share: the library beside the test, the C compiler, files for the programs.

#![allow(dead_code, unreachable_pub, reason = "each test that includes this uses a part of it")]

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Encodable;
use balustrade::formats::{Bundle, BundleState, Content, read_document};
use balustrade::list::{self, Limits};
use balustrade::{ChainRules, MemoryStore, ParentAccount, SlotQuery, StateStore, WitnessStore};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A block with everything that a host needs to execute it.
pub struct Case {
    pub rules: ChainRules,
    pub block: Bytes,
    pub list: Bytes,
    pub parent: Bytes,
    /// Accounts, slots and codes that the list names.
    pub accounts: BTreeMap<Address, ParentAccount>,
    pub slots: BTreeMap<(Address, U256), U256>,
    pub codes: BTreeMap<B256, Bytes>,
    pub nodes: BTreeMap<B256, Bytes>,
    pub block_hashes: Vec<(u64, B256)>,
}

impl Case {
    /// `tests/data/sample.json.gz`: an Amsterdam block of 48 transactions with a witness.
    pub fn sample() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/sample.json.gz");
        let document = read_document(&path).expect("readable");
        let Ok(Content::Bundle(bundle)) = Content::parse(&document, None) else { panic!("a bundle") };
        let Bundle { rules, block, bal, parent_header, state, block_hashes, .. } = *bundle;
        let BundleState::Witness { root, nodes, codes } = state else { panic!("a witness") };
        let store = WitnessStore::new(root, nodes.clone(), codes.clone());
        let list = bal.expect("a list");
        let mut case = Self {
            rules: rules.expect("a known fork"),
            block,
            parent: parent_header.expect("the parent"),
            accounts: BTreeMap::new(),
            slots: BTreeMap::new(),
            codes: codes.into_iter().map(|code| (keccak256(&code), code)).collect(),
            nodes: nodes.into_iter().map(|node| (keccak256(&node), node)).collect(),
            block_hashes,
            list,
        };
        case.read_listed(&store);
        case
    }

    /// A block of which the whole state before is in a store, and its trie nodes.
    pub fn of_memory(
        rules: ChainRules,
        (block, list, parent): (Bytes, Bytes, Bytes),
        store: &MemoryStore,
        nodes: Vec<Bytes>,
    ) -> Self {
        let codes = store.iter_codes().map(|(hash, code)| (*hash, code.clone())).collect();
        let nodes = nodes.into_iter().map(|node| (keccak256(&node), node)).collect();
        let (accounts, slots, block_hashes) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut case = Self { rules, block, list, parent, accounts, slots, codes, nodes, block_hashes };
        case.read_listed(store);
        case
    }

    fn read_listed(&mut self, store: &dyn StateStore) {
        let columns = list::decode(&self.list, &Limits::format_only()).expect("a list");
        let addresses = columns.addresses().as_slice();
        let mut accounts = vec![ParentAccount::default(); addresses.len()];
        store.accounts(addresses, &mut accounts).expect("accounts");
        let found = addresses.iter().copied().zip(accounts).filter(|(_, account)| account.exists);
        self.accounts = found.collect();
        let queries: Vec<SlotQuery> = columns.slot_queries();
        let mut values = vec![U256::ZERO; queries.len()];
        store.slots(&queries, &mut values).expect("slots");
        self.slots = queries.iter().map(|slot| (slot.address, slot.key)).zip(values).collect();
    }

    /// RLP of [headers, codes, state], as go-ethereum writes witnesses.
    pub fn witness(&self) -> Vec<u8> {
        let list = |payload: &[u8]| {
            let mut out = Vec::new();
            alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut out);
            out.extend_from_slice(payload);
            out
        };
        let strings = |rows: &BTreeMap<B256, Bytes>| {
            let mut payload = Vec::new();
            rows.values().for_each(|bytes| bytes.encode(&mut payload));
            list(&payload)
        };
        list(&[list(&self.parent), strings(&self.codes), strings(&self.nodes)].concat())
    }

    /// Writes the file that `tests/programs/arrays.h` reads.
    pub fn write(&self, name: &str) -> PathBuf {
        let mut out = Vec::new();
        let number = |out: &mut Vec<u8>, value: u64| out.extend(value.to_le_bytes());
        let bytes = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.extend((bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(bytes);
        };
        let blobs = self.rules.blob_schedule;
        let numbers = [self.rules.fork as u64, self.rules.chain_id, blobs.target, blobs.max];
        numbers.into_iter().chain([blobs.base_fee_update_fraction]).for_each(|value| number(&mut out, value));
        for part in [&self.block[..], &self.list, &self.parent, &self.witness()] {
            bytes(&mut out, part);
        }
        number(&mut out, self.accounts.len() as u64);
        for (address, account) in &self.accounts {
            out.extend_from_slice(address.as_slice());
            out.extend(account.balance.to_be_bytes::<32>());
            out.extend_from_slice(account.code_hash.as_slice());
            number(&mut out, account.nonce);
            out.push(u8::from(account.has_storage));
        }
        number(&mut out, self.slots.len() as u64);
        for ((address, key), value) in &self.slots {
            out.extend_from_slice(address.as_slice());
            out.extend(key.to_be_bytes::<32>());
            out.extend(value.to_be_bytes::<32>());
        }
        number(&mut out, self.block_hashes.len() as u64);
        for (of, hash) in &self.block_hashes {
            number(&mut out, *of);
            out.extend_from_slice(hash.as_slice());
        }
        for rows in [&self.codes, &self.nodes] {
            number(&mut out, rows.len() as u64);
            for (hash, row) in rows {
                out.extend_from_slice(hash.as_slice());
                bytes(&mut out, row);
            }
        }
        let path = folder().join(name);
        std::fs::write(&path, out).expect("written");
        path
    }
}

/// The folder for files of the tests.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// The folder with the static and the shared library, which cargo built for this test.
pub fn libraries() -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let folder = test.parent().expect("a folder").to_owned();
    for name in ["libbalustrade_capi.a", "libbalustrade_capi.so"] {
        assert!(folder.join(name).exists(), "cargo built no {name} in {}", folder.display());
    }
    folder
}

/// Compiles `tests/programs/host.c` and links it with the shared or the static library.
pub fn compile(name: &str, shared: bool) -> PathBuf {
    let (package, libraries) = (Path::new(env!("CARGO_MANIFEST_DIR")), libraries());
    let program = folder().join(name);
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compiler.args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread"]);
    compiler.arg("-I").arg(package.join("include")).arg(package.join("tests/programs/host.c"));
    if shared {
        compiler.arg(libraries.join("libbalustrade_capi.so"));
        compiler.arg(format!("-Wl,-rpath,{}", libraries.display()));
    } else {
        compiler.arg(libraries.join("libbalustrade_capi.a")).args(["-lm", "-ldl", "-lrt", "-lutil"]);
    }
    let output = compiler.arg("-o").arg(&program).output().expect("a C compiler is here");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// Standard output of a program that succeeds.
pub fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

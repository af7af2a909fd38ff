//! `peers bal`: bytes of a block access list to checked structures, and to the hash, against alloy and ethrex.
//!
//! In: sample lists of 50 KB, 500 KB and 5 MB, different bytes at each repetition. Out: times of decoding with all
//! checks of EIP-7928 (form, order, uniqueness, indices), of the hash, and of both. Every contestant must accept each
//! list, and compute the same hash and, when it encodes the list again, the same bytes. Ratios of the summary are those
//! of decoding and checking: the hash is one sequential sponge for all.
//! One thread, its CPU time. Dropping the decoded structures is measured for contestants that allocate them; our
//! columns are reused.

use crate::measure::{Clock, sample};
use crate::report::{Report, rounded, row};
use crate::{CommonArgs, PeersError, threads};
use alloy_eip7928::{AccountChanges, validate_block_access_list};
use alloy_primitives::{B256, Bytes, keccak256};
use alloy_rlp::Encodable;
use balustrade::bal::{BalColumns, Limits, bal_hash, decode_into, encode, sample as samples};
use balustrade_cli::measure::{least, median, median_ratio};
use clap::Args;
use core::hint::black_box;
use ethrex_common::types::block_access_list::BlockAccessList;
use ethrex_crypto::NativeCrypto;
use ethrex_rlp::decode::RLPDecode;
use ethrex_rlp::encode::RLPEncode;

/// Options of `bal`.
#[derive(Debug, Args)]
pub(crate) struct BalArgs {
    /// Sizes of the lists in bytes
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_values_t = [50_000, 500_000, 5_000_000])]
    sizes: Vec<usize>,
    #[command(flatten)]
    common: CommonArgs,
}

/// Names of the table's columns.
const COLUMNS: [&str; 9] =
    ["list", "ours_us", "alloy_us", "ethrex_us", "vs_alloy", "vs_ethrex", "gb_per_s", "hash_us", "total_vs_alloy"];

/// Bytes of lists per contestant and round: several small lists are measured together.
const ROUND_BYTES: usize = 5_000_000;

/// Runs the command.
pub(crate) fn main(args: &BalArgs) -> Result<(), PeersError> {
    threads::bind(Some(1))?;
    let mut report = Report::new(args.common.json, &COLUMNS);
    let (mut vs_alloy, mut vs_ethrex) = (Vec::new(), Vec::new());
    for (number, len_bytes) in args.sizes.iter().enumerate() {
        let times = measure(*len_bytes, (number as u64) << 32, args.common.rounds)?;
        let ratio = |peer: &[f64]| median_ratio(peer, &times.ours);
        vs_alloy.push(ratio(&times.alloy));
        vs_ethrex.push(ratio(&times.ethrex));
        let us = |values: &[f64]| median(values) / 1e3;
        let total = |values: &[f64]| us(values) + us(&times.hash);
        let total_ratio = |peer: &[f64]| total(peer) / total(&times.ours);
        report.row(&row! {
            "list": format!("{len_bytes} bytes"),
            "bytes": len_bytes,
            "ours_us": rounded(us(&times.ours)),
            "alloy_us": rounded(us(&times.alloy)),
            "ethrex_us": rounded(us(&times.ethrex)),
            "vs_alloy": rounded(ratio(&times.alloy)),
            "vs_ethrex": rounded(ratio(&times.ethrex)),
            "gb_per_s": rounded(*len_bytes as f64 / median(&times.ours)),
            "hash_us": rounded(us(&times.hash)),
            "hash_ethrex_us": rounded(us(&times.hash_ethrex)),
            "total_vs_alloy": rounded(total_ratio(&times.alloy)),
            "total_vs_ethrex": rounded(total_ratio(&times.ethrex)),
        });
    }
    report.summary(&row! { "vs_alloy_min": rounded(least(vs_alloy)), "vs_ethrex_min": rounded(least(vs_ethrex)) });
    Ok(())
}

/// Nanoseconds per list, round by round.
#[derive(Default)]
struct Times {
    ours: Vec<f64>,
    alloy: Vec<f64>,
    ethrex: Vec<f64>,
    hash: Vec<f64>,
    hash_ethrex: Vec<f64>,
}

fn measure(len_bytes: usize, first_seed: u64, rounds: u32) -> Result<Times, PeersError> {
    let limits = Limits { tx_count: samples::TX_COUNT, ..Limits::format_only() };
    let mut columns = BalColumns::default();
    let mut times = Times::default();
    let per_round = (ROUND_BYTES / len_bytes).max(1) as u64;
    // The first round warms up memory and checks that all contestants agree; it is not counted.
    for round in 0..=u64::from(rounds) {
        let seeds = (0..per_round).map(|index| first_seed + round * per_round + index);
        let lists: Vec<Bytes> = seeds.map(|seed| samples::list(seed, len_bytes).bytes).collect();
        if round == 0 {
            lists.iter().try_for_each(|list| agree(list, &limits))?;
        }
        let each = |run: &mut dyn FnMut(&Bytes)| {
            sample(Clock::Thread, 1, &mut || lists.iter().for_each(&mut *run)) / lists.len() as f64
        };
        let row = [
            each(&mut |list| {
                let _ = black_box(decode_into(&mut columns, black_box(list), &limits));
            }),
            each(&mut |list| {
                let _ = black_box(alloy(black_box(list)));
            }),
            each(&mut |list| {
                let _ = black_box(ethrex(black_box(list)));
            }),
            each(&mut |list| {
                black_box(bal_hash(black_box(list)));
            }),
            each(&mut |list| {
                black_box(BlockAccessList::hash_of_canonical_encoding(black_box(list), &NativeCrypto));
            }),
        ];
        if round > 0 {
            let Times { ours, alloy, ethrex, hash, hash_ethrex } = &mut times;
            for (times, ns) in [ours, alloy, ethrex, hash, hash_ethrex].into_iter().zip(row) {
                times.push(ns);
            }
        }
    }
    Ok(times)
}

fn alloy(bytes: &Bytes) -> Result<Vec<AccountChanges>, String> {
    let list = alloy_rlp::decode_exact::<Vec<AccountChanges>>(bytes).map_err(|error| error.to_string())?;
    validate_block_access_list(&list, samples::TX_COUNT).map_err(|error| error.to_string())?;
    Ok(list)
}

fn ethrex(bytes: &Bytes) -> Result<BlockAccessList, String> {
    let list = BlockAccessList::decode(bytes).map_err(|error| error.to_string())?;
    list.validate_ordering()?;
    Ok(list)
}

fn agree(bytes: &Bytes, limits: &Limits) -> Result<(), PeersError> {
    let failed = |who, difference| PeersError::Mismatch { what: "sample list".to_owned(), who, difference };
    let other_bytes = |who| failed(who, "encodes to other bytes".to_owned());
    let mut columns = BalColumns::default();
    decode_into(&mut columns, bytes, limits).map_err(|error| failed("balustrade", error.to_string()))?;
    if encode(&columns)[..] != bytes[..] {
        return Err(other_bytes("balustrade"));
    }
    let mut encoded = Vec::new();
    Encodable::encode(&alloy(bytes).map_err(|error| failed("alloy", error))?, &mut encoded);
    if encoded[..] != bytes[..] {
        return Err(other_bytes("alloy"));
    }
    if ethrex(bytes).map_err(|error| failed("ethrex", error))?.encode_to_vec()[..] != bytes[..] {
        return Err(other_bytes("ethrex"));
    }
    let hash = B256::from(BlockAccessList::hash_of_canonical_encoding(bytes, &NativeCrypto).0);
    if bal_hash(bytes) != hash || keccak256(bytes) != hash {
        return Err(failed("ethrex", "another hash".to_owned()));
    }
    Ok(())
}

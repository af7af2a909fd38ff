//! `scripts/execution-specs/balustrade.py` is what the library's errors give today: for every exception class of the
//! execution-spec tests the texts by which they are known. With `BALUSTRADE_WRITE_DATA=1` this test writes the file.

use alloy_primitives::{Address, B256};
use balustrade::InvalidBlock;
use balustrade::arena::TxIndex;
use balustrade::errors::{HeaderFault, TxInvalid};
use regex::{Regex, escape};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One transaction fault of each kind.
fn transaction_faults() -> Vec<TxInvalid> {
    let mut faults = vec![
        TxInvalid::InvalidSignature,
        TxInvalid::ChainId(1),
        TxInvalid::GasLimitMax { limit: 1, max: 1 },
        TxInvalid::IntrinsicGas { limit: 1, intrinsic: 1 },
        TxInvalid::FloorGas { limit: 1, floor: 1 },
        TxInvalid::PriorityFeeAboveCap,
        TxInvalid::FeeCapBelowBaseFee,
        TxInvalid::InitcodeSize(1),
        TxInvalid::NonceTooLow { tx: 1, state: 1 },
        TxInvalid::NonceTooHigh { tx: 1, state: 1 },
        TxInvalid::NonceMax,
        TxInvalid::SenderNotEoa,
        TxInvalid::InsufficientFunds,
        TxInvalid::NoBlobs,
        TxInvalid::TooManyBlobs(1),
        TxInvalid::BlobVersion,
        TxInvalid::BlobFeeCap,
        TxInvalid::NoAuthorizations,
        TxInvalid::GasAllowance("execution"),
        TxInvalid::GasAllowance("state"),
        TxInvalid::BlobAllowance,
    ];
    faults.extend((1..=4).map(TxInvalid::TypeNotInFork));
    faults.extend([3, 4].map(TxInvalid::CannotCreate));
    faults
}

/// One fault of each kind of a whole block that a test of execution-specs can expect, with text of its own.
fn block_faults() -> Vec<InvalidBlock> {
    let (claimed, produced) = (B256::ZERO, B256::ZERO);
    let header = [
        HeaderFault::ParentHash,
        HeaderFault::Number,
        HeaderFault::Timestamp,
        HeaderFault::GasLimit { limit: 1, parent: 1 },
        HeaderFault::GasUsedAboveLimit { used: 1, limit: 1 },
        HeaderFault::GasLimitTooLow(1),
        HeaderFault::GasLimitTooBig(1),
        HeaderFault::ExtraData(33),
        HeaderFault::BaseFee { claimed: Some(1), expected: 1 },
        HeaderFault::ExcessBlobGas { claimed: Some(1), expected: 1 },
        HeaderFault::BlobGasUsed { claimed: 1, produced: 1 },
        HeaderFault::BlobGasAboveLimit { used: 1, max: 1 },
        HeaderFault::BlockSize(1),
        HeaderFault::TransactionsRoot,
        HeaderFault::WithdrawalsRoot,
        HeaderFault::ProofOfStake,
        HeaderFault::OmmersAfterMerge,
    ];
    let mut faults: Vec<_> = header.into_iter().map(InvalidBlock::Header).collect();
    faults.extend([
        InvalidBlock::BalPresence,
        InvalidBlock::BalHash { claimed, produced },
        InvalidBlock::SystemContractEmpty(Address::ZERO),
        InvalidBlock::SystemCallFailed(Address::ZERO),
        InvalidBlock::DepositLog(TxIndex(1)),
        InvalidBlock::GasUsed { claimed: 1, produced: 1 },
        InvalidBlock::ReceiptsRoot { claimed, produced },
        InvalidBlock::LogsBloom,
        InvalidBlock::RequestsHash { claimed, produced },
        InvalidBlock::StateRoot { claimed, produced },
    ]);
    faults
}

/// A regular expression for the text: numbers and hashes stand for any others. A number that belongs to the class, such as
/// the type of a transaction, stays.
fn pattern(text: &str, keeps_numbers: bool) -> String {
    let hex = Regex::new("0x[0-9a-fA-F]+").expect("valid");
    let number = Regex::new("[0-9]+").expect("valid");
    // Marks that `escape` leaves alone.
    let marked = hex.replace_all(text, "HEXMARK").into_owned();
    let marked = if keeps_numbers { marked } else { number.replace_all(&marked, "NUMBERMARK").into_owned() };
    // `escape` also escapes characters that have no meaning outside of classes; Python reads both forms.
    escape(&marked).replace("HEXMARK", "0x[0-9a-f]+").replace("NUMBERMARK", r"\d+").replace(r"\-", "-")
}

/// Patterns by class.
type Patterns = BTreeMap<&'static str, Vec<String>>;
/// Texts of errors, each with the classes that apply.
type Texts = Vec<(String, Vec<&'static str>)>;

/// The patterns by class, and all texts.
fn patterns() -> (Patterns, Texts) {
    let mut by_class = BTreeMap::<&str, Vec<String>>::new();
    let mut texts = Vec::new();
    let mut add = |text: String, classes: Vec<&'static str>, keeps_numbers: bool| {
        let pattern = pattern(&text, keeps_numbers);
        for class in classes.iter().copied() {
            let known = by_class.entry(class).or_default();
            if !known.contains(&pattern) {
                known.push(pattern.clone());
            }
        }
        texts.push((text, classes));
    };
    for fault in transaction_faults() {
        let keeps_numbers = matches!(fault, TxInvalid::TypeNotInFork(_) | TxInvalid::CannotCreate(_));
        add(fault.to_string(), vec![fault.eest_class()], keeps_numbers);
    }
    for fault in block_faults() {
        add(fault.to_string(), fault.eest_classes(), false);
    }
    (by_class, texts)
}

fn file() -> String {
    const HEAD: &str = r#""""
Balustrade as a transition tool and fixture consumer of execution-specs.

Written by cli/tests/exception_mapper.rs from the errors of the library: change
those, then run the test with BALUSTRADE_WRITE_DATA=1. To use it, copy it to
client_clis/clis/ and import it in client_clis/__init__.py.
"""

import re
from pathlib import Path
from typing import ClassVar, Dict, Optional

from execution_testing.exceptions import (
    BlockException,
    ExceptionBase,
    ExceptionMapper,
    TransactionException,
)

from .geth import GethTransitionTool


class BalustradeExceptionMapper(ExceptionMapper):
    """Translate between EEST exceptions and the texts of Balustrade."""

    mapping_substring: ClassVar[Dict[ExceptionBase, str]] = {}
    mapping_regex: ClassVar[Dict[ExceptionBase, str]] = {
"#;
    const TAIL: &str = r#"    }


class BalustradeTransitionTool(GethTransitionTool):
    """`balustrade t8n`, which has the options and the output of geth."""

    default_binary = Path("balustrade")
    detect_binary_pattern = re.compile(r"^balustrade \d")
    cached_version: Optional[str] = None

    def __init__(
        self,
        *,
        exception_mapper: Optional[ExceptionMapper] = None,
        binary: Optional[Path] = None,
        trace: bool = False,
    ):
        """Initialize the transition tool with Balustrade's mapper."""
        super().__init__(
            exception_mapper=exception_mapper or BalustradeExceptionMapper(),
            binary=binary,
            trace=trace,
        )
"#;
    let (by_class, _) = patterns();
    let mut out = HEAD.to_owned();
    for (class, patterns) in by_class {
        out.push_str(&format!("        {class}: (\n"));
        for (at, pattern) in patterns.iter().enumerate() {
            out.push_str(&format!("            r\"{}{pattern}\"\n", if at == 0 { "" } else { "|" }));
        }
        out.push_str("        ),\n");
    }
    out + TAIL
}

#[test]
fn the_mapper_of_execution_specs_is_up_to_date() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/execution-specs/balustrade.py");
    if std::env::var_os("BALUSTRADE_WRITE_DATA").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        std::fs::write(&path, file()).expect("writable");
    }
    assert!(std::fs::read_to_string(&path).expect("there") == file(), "run it with BALUSTRADE_WRITE_DATA=1");
}

#[test]
fn every_text_is_known_by_its_classes_alone() {
    let (by_class, texts) = patterns();
    let known: Vec<(&str, Regex)> = by_class
        .iter()
        .map(|(class, patterns)| (*class, Regex::new(&patterns.join("|")).expect("a regular expression")))
        .collect();
    for (text, classes) in texts {
        let found: Vec<&str> =
            known.iter().filter(|(_, regex)| regex.is_match(&text)).map(|(class, _)| *class).collect();
        let mut expected = classes.clone();
        expected.sort_unstable();
        assert_eq!(found, expected, "{text}");
    }
}

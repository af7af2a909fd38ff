"""
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
        BlockException.BLOB_GAS_USED_ABOVE_LIMIT: (
            r"header: blob gas used \d+ exceeds the limit \d+"
        ),
        BlockException.EXTRA_DATA_TOO_BIG: (
            r"header: extra data of \d+ bytes, \d+ are allowed"
        ),
        BlockException.GASLIMIT_TOO_BIG: (
            r"header: the gas limit \d+ is \d+\^\d+ or more"
        ),
        BlockException.IMPORT_IMPOSSIBLE_DIFFICULTY_OVER_PARIS: (
            r"header: difficulty or nonce are not those of a proof-of-stake block"
        ),
        BlockException.IMPORT_IMPOSSIBLE_UNCLES_OVER_PARIS: (
            r"header: a proof-of-stake block has no ommers"
        ),
        BlockException.INCORRECT_BLOB_GAS_USED: (
            r"header: blob gas used \d+, the transactions use \d+"
        ),
        BlockException.INCORRECT_BLOCK_FORMAT: (
            r"the block access list is missing"
        ),
        BlockException.INCORRECT_EXCESS_BLOB_GAS: (
            r"header: excess blob gas Some\(\d+\), the parent's gives \d+"
        ),
        BlockException.INVALID_BAL_HASH: (
            r"block access list hash 0x[0-9a-f]+, the header claims 0x[0-9a-f]+"
        ),
        BlockException.INVALID_BASEFEE_PER_GAS: (
            r"header: base fee Some\(\d+\), the parent's gives \d+"
        ),
        BlockException.INVALID_BLOCK_ACCESS_LIST: (
            r"block access list hash 0x[0-9a-f]+, the header claims 0x[0-9a-f]+"
        ),
        BlockException.INVALID_BLOCK_NUMBER: (
            r"header: the number is not the parent's plus one"
        ),
        BlockException.INVALID_BLOCK_TIMESTAMP_OLDER_THAN_PARENT: (
            r"header: the timestamp is not later than the parent's"
        ),
        BlockException.INVALID_DEPOSIT_EVENT_LAYOUT: (
            r"transaction \d+: malformed deposit log"
        ),
        BlockException.INVALID_GASLIMIT: (
            r"header: the gas limit \d+ is not within \d+/\d+ of the parent's, \d+"
            r"|header: the gas limit \d+ is below \d+"
            r"|header: the gas limit \d+ is \d+\^\d+ or more"
        ),
        BlockException.INVALID_GAS_USED: (
            r"header: gas used \d+ exceeds the gas limit \d+"
            r"|gas used \d+, the header claims \d+"
        ),
        BlockException.INVALID_GAS_USED_ABOVE_LIMIT: (
            r"header: gas used \d+ exceeds the gas limit \d+"
        ),
        BlockException.INVALID_LOG_BLOOM: (
            r"the logs bloom does not match the logs"
        ),
        BlockException.INVALID_RECEIPTS_ROOT: (
            r"receipts root 0x[0-9a-f]+, the header claims 0x[0-9a-f]+"
        ),
        BlockException.INVALID_REQUESTS: (
            r"requests hash 0x[0-9a-f]+, the header claims 0x[0-9a-f]+"
        ),
        BlockException.INVALID_STATE_ROOT: (
            r"state root 0x[0-9a-f]+, the header claims 0x[0-9a-f]+"
        ),
        BlockException.INVALID_TRANSACTIONS_ROOT: (
            r"header: the transactions root does not match the body"
        ),
        BlockException.INVALID_WITHDRAWALS_ROOT: (
            r"header: the withdrawals root does not match the body"
        ),
        BlockException.RLP_BLOCK_LIMIT_EXCEEDED: (
            r"header: the block of \d+ bytes is over the size limit"
        ),
        BlockException.SYSTEM_CONTRACT_CALL_FAILED: (
            r"the call of the request contract 0x[0-9a-f]+ failed"
        ),
        BlockException.SYSTEM_CONTRACT_EMPTY: (
            r"the request contract 0x[0-9a-f]+ has no code"
        ),
        BlockException.UNKNOWN_PARENT: (
            r"header: the parent hash is not the hash of the parent"
        ),
        TransactionException.GAS_ALLOWANCE_EXCEEDED: (
            r"the gas limit exceeds the block's gas left in the execution dimension"
            r"|the gas limit exceeds the block's gas left in the state dimension"
        ),
        TransactionException.GAS_LIMIT_EXCEEDS_MAXIMUM: (
            r"the gas limit \d+ exceeds the maximum per transaction, \d+"
        ),
        TransactionException.INITCODE_SIZE_EXCEEDED: (
            r"init code of \d+ bytes is over the limit"
        ),
        TransactionException.INSUFFICIENT_ACCOUNT_FUNDS: (
            r"the sender cannot pay for gas, value and blobs"
        ),
        TransactionException.INSUFFICIENT_MAX_FEE_PER_BLOB_GAS: (
            r"the blob fee cap is below the block's blob base fee"
        ),
        TransactionException.INSUFFICIENT_MAX_FEE_PER_GAS: (
            r"the fee cap is below the block's base fee"
        ),
        TransactionException.INTRINSIC_GAS_BELOW_FLOOR_GAS_COST: (
            r"the gas limit \d+ does not cover the calldata floor \d+"
        ),
        TransactionException.INTRINSIC_GAS_TOO_LOW: (
            r"the gas limit \d+ does not cover the intrinsic gas \d+"
        ),
        TransactionException.INVALID_CHAINID: (
            r"the chain id \d+ is not valid on this chain in this fork"
        ),
        TransactionException.INVALID_SIGNATURE_VRS: (
            r"the signature is invalid: no sender can be recovered"
        ),
        TransactionException.NONCE_IS_MAX: (
            r"the nonce is \d+\^\d+ - \d+ and cannot be incremented"
        ),
        TransactionException.NONCE_MISMATCH_TOO_HIGH: (
            r"the nonce \d+ is above the sender's nonce \d+"
        ),
        TransactionException.NONCE_MISMATCH_TOO_LOW: (
            r"the nonce \d+ is below the sender's nonce \d+"
        ),
        TransactionException.PRIORITY_GREATER_THAN_MAX_FEE_PER_GAS: (
            r"the priority fee exceeds the fee cap"
        ),
        TransactionException.SENDER_NOT_EOA: (
            r"the sender has code that is no delegation"
        ),
        TransactionException.TYPE_1_TX_PRE_FORK: (
            r"type 1 does not exist in this fork"
        ),
        TransactionException.TYPE_2_TX_PRE_FORK: (
            r"type 2 does not exist in this fork"
        ),
        TransactionException.TYPE_3_TX_BLOB_COUNT_EXCEEDED: (
            r"\d+ blobs are more than one transaction may carry"
            r"|header: blob gas used \d+ exceeds the limit \d+"
        ),
        TransactionException.TYPE_3_TX_CONTRACT_CREATION: (
            r"a transaction of type 3 cannot create a contract"
        ),
        TransactionException.TYPE_3_TX_INVALID_BLOB_VERSIONED_HASH: (
            r"a blob hash has an unknown version"
        ),
        TransactionException.TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED: (
            r"the block's blobs exceed its limit"
            r"|header: blob gas used \d+ exceeds the limit \d+"
        ),
        TransactionException.TYPE_3_TX_PRE_FORK: (
            r"type 3 does not exist in this fork"
        ),
        TransactionException.TYPE_3_TX_ZERO_BLOBS: (
            r"a blob transaction without blobs"
        ),
        TransactionException.TYPE_4_EMPTY_AUTHORIZATION_LIST: (
            r"an empty authorization list"
        ),
        TransactionException.TYPE_4_TX_CONTRACT_CREATION: (
            r"a transaction of type 4 cannot create a contract"
        ),
        TransactionException.TYPE_4_TX_PRE_FORK: (
            r"type 4 does not exist in this fork"
        ),
    }


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

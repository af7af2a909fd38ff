//! The block header: decode, encode, hash.
//!
//! In: RLP. Out: [`Header`]. Fields after `nonce` were appended by later forks; a field can be
//! present only if all fields before it are.
//! Not here: which fields a fork requires, and checks against a parent (`rules::header`).

use super::error::{Field, WireError};
use super::rlp::Cursor;
use crate::arena::keccak::keccak256;
use alloy_primitives::{Address, B64, B256, Bloom, Bytes, U256};
use alloy_rlp::Encodable;

/// A block header, Frontier to Amsterdam.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Hash of the parent's header.
    pub parent_hash: B256,
    /// keccak256 of the ommer list's RLP.
    pub ommers_hash: B256,
    /// The fee recipient.
    pub coinbase: Address,
    /// Root of the state trie after the block.
    pub state_root: B256,
    /// Root of the transaction trie.
    pub transactions_root: B256,
    /// Root of the receipt trie.
    pub receipts_root: B256,
    /// Union of the receipts' blooms.
    pub logs_bloom: Bloom,
    /// Proof-of-work difficulty; zero since Paris.
    pub difficulty: U256,
    /// Block number.
    pub number: u64,
    /// Gas limit of the block.
    pub gas_limit: u64,
    /// Gas used by the transactions. From Amsterdam on, the larger of execution gas and state gas
    /// (EIP-8037).
    pub gas_used: u64,
    /// Unix time in seconds.
    pub timestamp: u64,
    /// Arbitrary bytes chosen by the builder; at most 32 in a valid block.
    pub extra_data: Bytes,
    /// Proof-of-work mix hash; from Paris on, the beacon chain's randomness `prev_randao`
    /// (EIP-4399).
    pub mix_hash: B256,
    /// Proof-of-work nonce.
    pub nonce: B64,
    /// Base fee in wei per gas (EIP-1559, London).
    pub base_fee: Option<u64>,
    /// Root of the withdrawal trie (EIP-4895, Shanghai).
    pub withdrawals_root: Option<B256>,
    /// Blob gas used by the transactions (EIP-4844, Cancun).
    pub blob_gas_used: Option<u64>,
    /// Excess blob gas before this block (EIP-4844, Cancun).
    pub excess_blob_gas: Option<u64>,
    /// Root of the parent beacon block (EIP-4788, Cancun).
    pub parent_beacon_root: Option<B256>,
    /// Commitment to the execution requests (EIP-7685, Prague).
    pub requests_hash: Option<B256>,
    /// keccak256 of the block access list's RLP (EIP-7928, Amsterdam).
    pub block_access_list_hash: Option<B256>,
    /// Slot number of the beacon chain (EIP-7843, Amsterdam).
    pub slot_number: Option<u64>,
}

impl Header {
    /// Decodes a header that fills `bytes` exactly.
    ///
    /// # Errors
    /// [`WireError`] with the first violated rule, its field and its byte offset.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut outer = Cursor::new(bytes, Field::BlockHeader)?;
        let header = Self::read(&mut outer)?;
        outer.finish(Field::BlockHeader)?;
        Ok(header)
    }

    /// Decodes the header from the RLP of a block, without reading the rest.
    ///
    /// # Errors
    /// [`WireError`] with the first violated rule, its field and its byte offset.
    pub fn of_block(block: &[u8]) -> Result<Self, WireError> {
        let mut outer = Cursor::new(block, Field::Block)?;
        Self::read(&mut outer.list(Field::Block)?)
    }

    pub(super) fn read(outer: &mut Cursor<'_>) -> Result<Self, WireError> {
        let mut at = outer.list(Field::BlockHeader)?;
        let mut header = Self {
            parent_hash: at.hash(Field::ParentHash)?,
            ommers_hash: at.hash(Field::OmmersHash)?,
            coinbase: at.address(Field::Coinbase)?,
            state_root: at.hash(Field::StateRoot)?,
            transactions_root: at.hash(Field::TransactionsRoot)?,
            receipts_root: at.hash(Field::ReceiptsRoot)?,
            logs_bloom: Bloom::from(at.fixed::<256>(Field::LogsBloom)?),
            difficulty: at.u256(Field::Difficulty)?,
            number: at.u64(Field::Number)?,
            gas_limit: at.u64(Field::HeaderGasLimit)?,
            gas_used: at.u64(Field::GasUsed)?,
            timestamp: at.u64(Field::Timestamp)?,
            extra_data: Bytes::copy_from_slice(at.bytes(Field::ExtraData)?),
            mix_hash: at.hash(Field::MixHash)?,
            nonce: B64::new(*at.fixed(Field::HeaderNonce)?),
            ..Self::default()
        };
        // Later fields in the order in which forks appended them; the first absent one ends the
        // header.
        macro_rules! later {
            ($($name:ident: $read:ident $field:ident),*) => {$(
                if at.is_done() {
                    return Ok(header);
                }
                header.$name = Some(at.$read(Field::$field)?);
            )*};
        }
        later!(
            base_fee: u64 BaseFee,
            withdrawals_root: hash WithdrawalsRoot,
            blob_gas_used: u64 BlobGasUsed,
            excess_blob_gas: u64 ExcessBlobGas,
            parent_beacon_root: hash ParentBeaconRoot,
            requests_hash: hash RequestsHash,
            block_access_list_hash: hash BlockAccessListHash,
            slot_number: u64 SlotNumber
        );
        at.finish(Field::BlockHeader)?;
        Ok(header)
    }

    /// Appends the header's RLP to `out`. Later fields are written up to the first one that is absent.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut payload_len = 0;
        self.each_field(&mut |field| payload_len += field.length());
        alloy_rlp::Header { list: true, payload_length: payload_len }.encode(out);
        self.each_field(&mut |field| field.encode(out));
    }

    /// keccak256 of the header's RLP: the block hash.
    pub fn hash(&self) -> B256 {
        let mut out = Vec::with_capacity(700);
        self.encode(&mut out);
        keccak256(out)
    }

    fn each_field(&self, visit: &mut dyn FnMut(&dyn Encodable)) {
        visit(&self.parent_hash);
        visit(&self.ommers_hash);
        visit(&self.coinbase);
        visit(&self.state_root);
        visit(&self.transactions_root);
        visit(&self.receipts_root);
        visit(&self.logs_bloom);
        visit(&self.difficulty);
        visit(&self.number);
        visit(&self.gas_limit);
        visit(&self.gas_used);
        visit(&self.timestamp);
        visit(&self.extra_data);
        visit(&self.mix_hash);
        visit(&self.nonce);
        macro_rules! later {
            ($($name:ident),*) => {$(
                let Some(field) = &self.$name else { return };
                visit(field);
            )*};
        }
        later!(
            base_fee,
            withdrawals_root,
            blob_gas_used,
            excess_blob_gas,
            parent_beacon_root,
            requests_hash,
            block_access_list_hash,
            slot_number
        );
    }
}

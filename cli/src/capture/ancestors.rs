//! The headers of a block's ancestors, each checked by the parent hash of its child.
//!
//! In: the block's header; headers that are at hand; a node. Out: ancestors down to any of the last 256, fetched when they
//! are asked for.
//! Not here: what they are for.

use super::node::Node;
use super::rpc::RpcError;
use alloy_primitives::B256;
use balustrade::Header;

/// How far back BLOCKHASH reaches.
pub const DEPTH_MAX: u64 = 256;

/// The ancestors of a block, the parent first.
#[derive(Debug)]
pub struct Ancestors {
    /// Number of the block.
    number: u64,
    /// Hash of the next header, the parent hash of the last one.
    next: B256,
    headers: Vec<Header>,
    hashes: Vec<B256>,
    /// Least number that was asked for.
    needed: u64,
}

impl Ancestors {
    /// The ancestors of the block with this header, as far as `given` has them without a gap. Others are left out.
    pub fn new(header: &Header, given: Vec<Header>) -> Self {
        let (number, next) = (header.number, header.parent_hash);
        let mut ancestors = Self { number, next, headers: Vec::new(), hashes: Vec::new(), needed: number };
        let mut given: Vec<(B256, Header)> = given.into_iter().map(|header| (header.hash(), header)).collect();
        while let Some(at) = given.iter().position(|(hash, header)| ancestors.fits(*hash, header)) {
            let (hash, header) = given.swap_remove(at);
            ancestors.push(hash, header);
        }
        ancestors
    }

    /// Number of the last ancestor that is known, or of the block.
    fn lowest(&self) -> u64 {
        self.number - self.headers.len() as u64
    }

    fn fits(&self, hash: B256, header: &Header) -> bool {
        hash == self.next && header.number.checked_add(1) == Some(self.lowest())
    }

    fn push(&mut self, hash: B256, header: Header) {
        self.next = header.parent_hash;
        self.headers.push(header);
        self.hashes.push(hash);
    }

    /// Makes the ancestors down to `number` known and counts them as needed.
    ///
    /// # Errors
    /// [`RpcError`]: the node does not give them, or gives others. `None`: this is no number of an ancestor.
    pub fn reach(&mut self, number: u64, node: &Node) -> Result<Option<()>, RpcError> {
        if number >= self.number || self.number - number > DEPTH_MAX {
            return Ok(None);
        }
        self.needed = self.needed.min(number);
        let numbers: Vec<u64> = (number..self.lowest()).rev().collect();
        for (header, call) in node.headers(&numbers)? {
            let hash = header.hash();
            if !self.fits(hash, &header) {
                let (child, next) = (self.lowest(), self.next);
                return Err(
                    call.wrong(format!("the header hashes to {hash}, but the parent of block {child} is {next}"))
                );
            }
            self.push(hash, header);
        }
        Ok(Some(()))
    }

    /// The hash of ancestor `number`, if it is known.
    pub fn hash(&self, number: u64) -> Option<B256> {
        let depth = self.number.checked_sub(number)?.checked_sub(1)?;
        self.hashes.get(usize::try_from(depth).ok()?).copied()
    }

    /// The parent's header, if it is known.
    pub fn parent(&self) -> Option<&Header> {
        self.headers.first()
    }

    /// The ancestors that were asked for, the parent first.
    pub fn needed(&self) -> &[Header] {
        let count = usize::try_from(self.number - self.needed).unwrap_or(usize::MAX);
        &self.headers[..count.min(self.headers.len())]
    }
}

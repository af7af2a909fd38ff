//! LOG0 to LOG4.

use crate::exec::evm::halt::Halt;
use crate::exec::evm::machine::Evm;
use alloy_primitives::{B256, U256};

/// LOG0 to LOG4; `topics` from the top of the stack downwards.
#[inline]
pub fn log(evm: &mut Evm<'_>, left: &mut u64, offset: U256, len: U256, topics: &[U256]) -> Result<(), Halt> {
    let mut words = [B256::ZERO; 4];
    for (word, topic) in words.iter_mut().zip(topics) {
        *word = B256::from(topic.to_be_bytes::<32>());
    }
    evm.log(left, offset, len, &words[..topics.len().min(4)])
}

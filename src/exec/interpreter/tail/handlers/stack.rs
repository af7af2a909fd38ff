//! PUSH, POP, DUP, SWAP and their fused forms.
//!
//! Contract of this group, in addition to that of the registers (see `machine`):
//! - in byte form `settle!` (PUSH has its own check, EIP-8024 also `settle_deep!`) compares the stack height
//!   with what the instruction takes and leaves, before any word is accessed;
//! - in decoded form the block's height check covers every word that the sequence reads, and room for every
//!   word that it writes; distances in operands are in bytes and were written by the decoder for that height;
//! - PUSH in byte form reads its immediate from the padded code, which is `CODE_PADDING` bytes longer than the code;
//! - `push_wide` is followed by two instructions' places that hold its word.

use crate::exec::interpreter::opcode::{decode_pair, decode_single, op};
use crate::exec::interpreter::tail::limbs;
use crate::exec::interpreter::tail::machine::*;

handler! {
    pop [F: Form] (r) {
        settle!(F, r, op::POP);
        r.drop(1);
        next!(F, r, op::POP)
    }
}
handler! {
    pop_many [] (r) {
        r.sp = r.sp.byte_sub(r.operand() as usize);
        skip!(r, 1)
    }
}
handler! {
    /// PUSH0 to PUSH32 in byte form.
    push_bytes [const N: usize] (r) {
        let gas = const { if N == 0 { 2 } else { 3 } };
        if r.stack_bytes() >= crate::exec::evm::machine::STACK_LIMIT * 32 {
            jump_to!(halt_overflow, r)
        }
        if r.gas < gas {
            jump_to!(halt_out_of_gas, r)
        }
        r.gas -= gas;
        // The code is padded: all N bytes can be read. Limbs are read only where they begin inside the immediate.
        let data = r.pc.cast::<u8>().add(1);
        let mut word = [0; 4];
        let (full, part) = const { (N / 8, N % 8) };
        let mut limb = 0;
        while limb < full {
            word[limb] = u64::from_be_bytes(data.add(N - 8 * (limb + 1)).cast::<[u8; 8]>().read_unaligned());
            limb += 1;
        }
        let mut index = 0;
        while index < part {
            word[full] = word[full] << 8 | u64::from(*data.add(index));
            index += 1;
        }
        r.push(word);
        r.pc = r.pc.byte_add(N + 1);
        let handler = (*(*r.vm).table)[usize::from(*r.pc.cast::<u8>())];
        jump_to!(handler, r)
    }
}
handler! {
    push [] (r) {
        r.push(limbs::small(r.operand()));
        skip!(r, 1)
    }
}
handler! {
    push_wide [] (r) {
        r.push(r.wide());
        skip!(r, 3)
    }
}
handler! {
    /// Two pushes of at most 4 bytes.
    push_push [] (r) {
        let operand = r.operand();
        r.push(limbs::small(operand & 0xffff_ffff));
        r.push(limbs::small(operand >> 32));
        skip!(r, 1)
    }
}
handler! {
    dup [const N: usize, F: Form] (r) {
        settle!(F, r, op::DUP1 + N as u8 - 1);
        r.push(r.peek(N - 1));
        next!(F, r, op::DUP1)
    }
}
handler! {
    dup_dup [] (r) {
        let operand = r.operand();
        let first = load(r.sp.byte_sub((operand >> 16) as usize));
        r.push(first);
        r.push(load(r.sp.byte_sub((operand & 0xffff) as usize)));
        skip!(r, 1)
    }
}
handler! {
    /// DUPn, PUSH.
    dup_push [] (r) {
        let operand = r.operand();
        r.push(load(r.sp.byte_sub((operand & 0xffff) as usize)));
        r.push(limbs::small(operand >> 16));
        skip!(r, 1)
    }
}
handler! {
    swap [const N: usize, F: Form] (r) {
        settle!(F, r, op::SWAP1 + N as u8 - 1);
        let (top, other) = (r.peek(0), r.peek(N));
        r.poke(N, top);
        r.poke(0, other);
        next!(F, r, op::SWAP1)
    }
}
handler! {
    /// SWAPn, POP: the top replaces word n.
    swap_pop [] (r) {
        let top = r.peek(0);
        r.drop(1);
        store(r.sp.byte_sub((r.operand() & 0xffff) as usize), top);
        skip!(r, 1)
    }
}
handler! {
    /// SWAPn, POPs. The operand's upper half is the size of the dropped words in bytes.
    swap_pops [] (r) {
        let operand = r.operand();
        store(r.sp.sub(1).byte_sub((operand & 0xffff) as usize), r.peek(0));
        r.sp = r.sp.byte_sub((operand >> 32) as usize);
        skip!(r, 1)
    }
}
handler! {
    /// SWAPn, SWAPm, POPs.
    swap_swap_pops [] (r) {
        let operand = r.operand();
        let top = r.sp.sub(1);
        let (first, second) = (top.byte_sub((operand & 0xffff) as usize), top.byte_sub((operand >> 16 & 0xffff) as usize));
        let word = load(first);
        store(first, load(top));
        store(second, word);
        r.sp = r.sp.byte_sub((operand >> 32) as usize);
        skip!(r, 1)
    }
}
handler! {
    /// SWAPn, SWAPm.
    swap_swap [] (r) {
        let operand = r.operand();
        let top = r.sp.sub(1);
        let (first, second) = (top.byte_sub((operand & 0xffff) as usize), top.byte_sub((operand >> 16 & 0xffff) as usize));
        let word = load(first);
        store(first, load(top));
        store(top, load(second));
        store(second, word);
        skip!(r, 1)
    }
}
handler! {
    /// DUPm, SWAPn. Offsets count from the height before both; the DUP's is in the upper half.
    dup_swap [] (r) {
        let operand = r.operand();
        let word = load(r.sp.byte_sub((operand >> 16 & 0xffff) as usize));
        let other = r.sp.byte_sub((operand & 0xffff) as usize);
        let top = load(other);
        store(other, word);
        r.push(top);
        skip!(r, 1)
    }
}
handler! {
    /// PUSH, SWAPn.
    push_swap [] (r) {
        let operand = r.operand();
        let other = r.sp.byte_sub((operand & 0xffff) as usize);
        let top = load(other);
        store(other, limbs::small(operand >> 16));
        r.push(top);
        skip!(r, 1)
    }
}
handler! {
    /// PUSH, DUPn. The offset counts from the height before both.
    push_dup [] (r) {
        let operand = r.operand();
        let word = load(r.sp.byte_sub((operand & 0xffff) as usize));
        r.push(limbs::small(operand >> 16));
        r.push(word);
        skip!(r, 1)
    }
}
/// Stack height check of DUPN, SWAPN and EXCHANGE (EIP-8024) in byte form.
macro_rules! settle_deep {
    ($r:ident, $need:expr) => {
        if $r.stack_bytes() < $need * 32 {
            jump_to!(halt_underflow, $r)
        }
    };
}
handler! {
    dupn [F: Form] (r) {
        settle!(F, r, op::DUPN);
        let n = if F::DECODED {
            r.operand() as usize
        } else {
            let Some(n) = decode_single(*r.pc.cast::<u8>().add(1)) else { jump_to!(halt_invalid_opcode, r) };
            settle_deep!(r, n);
            n
        };
        r.push(r.peek(n - 1));
        next!(F, r, op::DUPN)
    }
}
handler! {
    swapn [F: Form] (r) {
        settle!(F, r, op::SWAPN);
        let n = if F::DECODED {
            r.operand() as usize
        } else {
            let Some(n) = decode_single(*r.pc.cast::<u8>().add(1)) else { jump_to!(halt_invalid_opcode, r) };
            settle_deep!(r, n + 1);
            n
        };
        let (top, other) = (r.peek(0), r.peek(n));
        r.poke(n, top);
        r.poke(0, other);
        next!(F, r, op::SWAPN)
    }
}
handler! {
    exchange [F: Form] (r) {
        settle!(F, r, op::EXCHANGE);
        let (n, m) = if F::DECODED {
            ((r.operand() & 0xffff) as usize, (r.operand() >> 16) as usize)
        } else {
            let Some((n, m)) = decode_pair(*r.pc.cast::<u8>().add(1)) else { jump_to!(halt_invalid_opcode, r) };
            settle_deep!(r, m.max(n) + 1);
            (n, m)
        };
        let (first, second) = (r.peek(n), r.peek(m));
        r.poke(n, second);
        r.poke(m, first);
        next!(F, r, op::EXCHANGE)
    }
}

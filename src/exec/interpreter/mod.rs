//! Dispatch loops: what runs the top frame of an [`Evm`].
//!
//! Contract. A loop takes up the running frame at [`Frame::pc`] with its stack, memory and gas as stored, and runs it
//! until it ends or enters an inner frame ([`Exit`]). Before it leaves with [`Exit::Enter`] it has stored pc (after the
//! instruction), stack height and gas; when it is run again the inner frame's result has been pushed.
//! Everything that touches state or costs more than a constant is a method of `Evm` (`host`, `call`), shared by all loops.
//!
//! [`Frame::pc`]: super::evm::Frame::pc

use super::evm::{Evm, Exit, FrameEnd};

/// Runs the top frame and all frames that it enters, with `run` as the loop; returns how the top frame ended.
pub fn drive<'b>(evm: &mut Evm<'b>, run: fn(&mut Evm<'b>) -> Exit) -> FrameEnd {
    let floor = evm.frames.len();
    loop {
        let exit = run(evm);
        if exit == Exit::Enter {
            continue;
        }
        let end = evm.finish_frame(exit);
        if evm.frames.len() < floor {
            return end;
        }
        let index = evm.frames.len() - 1;
        let (mut left, mut spilled) = (evm.frames[index].gas.left, evm.frames[index].gas.spilled);
        evm.settle_child(&end, &mut left, &mut spilled);
        let frame = &mut evm.frames[index];
        (frame.gas.left, frame.gas.spilled) = (left, spilled);
        evm.stack[frame.stack_base + frame.stack_len] = end.word();
        frame.stack_len += 1;
    }
}

//! Batches of reads through io_uring: one queue in the kernel, no thread that blocks.
//!
//! In: a file and ranges of it. Out: their bytes, in order. `readers` gives the same results and is the reference.
//!
//! Contract of the unsafe call: the kernel writes into the buffers of a batch until it has reported each read as
//! complete. The buffers belong to the batch, are not touched until then, and are leaked if the queue fails before.
#![allow(unsafe_code)]

use super::positioned::read_exact_at;
use super::readers::ReadError;
use alloy_primitives::Bytes;
use io_uring::{IoUring, Probe, opcode, types};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};

/// Reads in flight at the same time.
const DEPTH: usize = 256;

/// Queues that no batch uses now. A batch that finds none makes a new one.
pub(super) struct Rings(Mutex<Vec<IoUring>>);

impl core::fmt::Debug for Rings {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Rings")
    }
}

impl Rings {
    /// Makes the first queue; fails where the kernel does not grant io_uring or does not have its read operation.
    pub(super) fn new() -> io::Result<Self> {
        let ring = IoUring::new(DEPTH as u32)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Read::CODE) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self(Mutex::new(vec![ring])))
    }

    /// Reads the ranges (offset, length in bytes) of a file into `out`, in order.
    pub(super) fn read(&self, file: &File, ranges: &[(u64, u32)], out: &mut [Bytes]) -> Result<(), ReadError> {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut ring = idle.map_or_else(|| IoUring::new(DEPTH as u32), Ok).map_err(|error| (0, error))?;
        let mut buffers: Vec<Vec<u8>> = ranges.iter().map(|(_, bytes)| vec![0; *bytes as usize]).collect();
        let results = match submit(&mut ring, file, ranges, &mut buffers) {
            Ok(results) => results,
            Err(error) => {
                // The kernel may still write into the buffers.
                core::mem::forget(buffers);
                return Err((0, error));
            }
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(ring);
        for (((buffer, result), (offset, _)), out) in buffers.iter_mut().zip(results).zip(ranges).zip(out) {
            let read = usize::try_from(result).map_err(|_| (*offset, io::Error::from_raw_os_error(-result)))?;
            // A read may end early, also at the end of the file.
            if read < buffer.len() {
                let rest = read_exact_at(file, offset + read as u64, &mut buffer[read..]);
                rest.map_err(|error| (*offset, error))?;
            }
            *out = core::mem::take(buffer).into();
        }
        Ok(())
    }
}

/// Reads each range into its buffer; returns what the kernel answered to each. After an error reads may be in flight.
fn submit(ring: &mut IoUring, file: &File, ranges: &[(u64, u32)], buffers: &mut [Vec<u8>]) -> io::Result<Vec<i32>> {
    let file = types::Fd(file.as_raw_fd());
    let mut results = vec![0; ranges.len()];
    let (mut next, mut done) = (0, 0);
    while done < ranges.len() {
        while next < ranges.len() && next - done < DEPTH {
            let (offset, bytes) = ranges[next];
            let read = opcode::Read::new(file, buffers[next].as_mut_ptr(), bytes).offset(offset);
            let entry = read.build().user_data(next as u64);
            // SAFETY: the buffer has `bytes` bytes; it is neither moved, read nor freed before the read is complete: this
            // function returns `Ok` only after all completions, and the caller leaks the buffers otherwise. The file is
            // borrowed for as long.
            if unsafe { ring.submission().push(&entry) }.is_err() {
                break;
            }
            next += 1;
        }
        match ring.submit_and_wait(1) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for completion in ring.completion() {
            results[completion.user_data() as usize] = completion.result();
            done += 1;
        }
    }
    Ok(results)
}

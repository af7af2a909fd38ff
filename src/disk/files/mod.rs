//! A folder of files, as the stores use it: real files, and a simulated disk for tests.
//!
//! In: names without separators, offsets, bytes. Out: bytes, or a [`DiskError`] with the name of the file.
//! What is written is durable once [`File::sync`] has returned, a created or removed name once [`Files::sync_names`]
//! has returned. Before that, a loss of power may keep any part of it.
//! Not here: what the files hold.

mod folder;
mod positioned;
mod readers;
#[cfg(target_os = "linux")]
mod ring;
#[cfg(any(test, feature = "internals"))]
pub mod simulated;
#[cfg(test)]
pub(in crate::disk) mod tests;

pub use folder::{Folder, ReadMethod};
pub(super) use folder::{LOCK, sync_folder};

use super::error::DiskError;
use alloy_primitives::Bytes;
use core::fmt::Debug;
use std::sync::Arc;

/// A folder of files.
pub trait Files: Send + Sync + Debug {
    /// Names of all files, in no particular order.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    fn list(&self) -> Result<Vec<String>, DiskError>;

    /// Creates an empty file.
    ///
    /// # Errors
    /// [`DiskError::Io`], also if the name exists.
    fn create(&self, name: &str) -> Result<Arc<dyn File>, DiskError>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// [`DiskError::Io`], also if there is no such file.
    fn open(&self, name: &str) -> Result<Arc<dyn File>, DiskError>;

    /// Removes a file. Its open handles remain usable.
    ///
    /// # Errors
    /// [`DiskError::Io`], also if there is no such file.
    fn remove(&self, name: &str) -> Result<(), DiskError>;

    /// Makes created and removed names durable.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    fn sync_names(&self) -> Result<(), DiskError>;
}

/// A file. Its methods may be called by several threads at the same time.
pub trait File: Send + Sync + Debug {
    /// The name under which it was opened.
    fn name(&self) -> &str;

    /// Length in bytes.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    fn bytes(&self) -> Result<u64, DiskError>;

    /// Cuts the file, or extends it by zeros.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    fn set_bytes(&self, bytes: u64) -> Result<(), DiskError>;

    /// Fills `out` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`DiskError::Io`]; [`DiskError::Damaged`] if the file ends before.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError>;

    /// Reads many ranges (offset, length in bytes), at the full queue depth of the device. `out` has one element per
    /// range, in order.
    ///
    /// # Errors
    /// As [`Self::read_at`].
    fn read_many(&self, ranges: &[(u64, u32)], out: &mut [Bytes]) -> Result<(), DiskError> {
        for ((offset, bytes), out) in ranges.iter().zip(out) {
            let mut buffer = vec![0; *bytes as usize];
            self.read_at(*offset, &mut buffer)?;
            *out = buffer.into();
        }
        Ok(())
    }

    /// Writes `bytes` from `offset` on; the file grows if they end behind its end.
    ///
    /// # Errors
    /// [`DiskError::Io`]. Any part of the bytes may then have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Makes the content and the length durable.
    ///
    /// # Errors
    /// [`DiskError::Io`]. Any part of what was written since the last success may then be lost, and a second call may
    /// succeed nevertheless.
    fn sync(&self) -> Result<(), DiskError>;
}

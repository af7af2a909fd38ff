//! What a store asks of the device, and how it is made to ask again.
//!
//! In: a folder; the counters of the kernel. Out: reads and bytes since a point in time; files out of
//! the page cache.

use super::sampler::process_cpu_ns;
use std::fs::File;
use std::io;
use std::path::Path;

/// Bytes of a block in `st_blocks`.
const STAT_BLOCK: u64 = 512;

/// Counters of Linux: of this process and of the device below a folder. The device's include those of other processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Reads that the device has completed.
    pub reads: u64,
    /// Bytes that this process made the device read.
    pub read_bytes: u64,
    /// Bytes that this process made the device write, or that it has left to the page cache.
    pub written_bytes: u64,
    /// Processor time of this process in nanoseconds.
    pub cpu_ns: u64,
}

impl Counters {
    /// The counters at this moment. `device`: name of the block device, for example `vda`.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn now(device: &str) -> io::Result<Self> {
        let io = std::fs::read_to_string("/proc/self/io")?;
        let value = |name: &str| {
            let line = io.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
        };
        let stat = std::fs::read_to_string(format!("/sys/class/block/{device}/stat"))?;
        let reads = stat.split_whitespace().next().and_then(|value| value.parse().ok()).unwrap_or_default();
        Ok(Self {
            reads,
            read_bytes: value("read_bytes:"),
            written_bytes: value("write_bytes:"),
            cpu_ns: Self::cpu_ns(),
        })
    }

    /// Processor time of all running threads of this process in nanoseconds; 0 where the kernel does not tell.
    pub fn cpu_ns() -> u64 {
        process_cpu_ns().unwrap_or_default()
    }

    /// What was added since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            reads: self.reads - earlier.reads,
            read_bytes: self.read_bytes - earlier.read_bytes,
            written_bytes: self.written_bytes - earlier.written_bytes,
            cpu_ns: self.cpu_ns - earlier.cpu_ns,
        }
    }
}

/// Calls `each` with every file below a folder.
fn files(folder: &Path, each: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { files(&entry.path(), each)? } else { each(&entry.path())? }
    }
    Ok(())
}

/// Writes all files below a folder to the device and drops them from the page cache. They must not be open as maps.
///
/// # Errors
/// Those of the file system.
pub fn drop_cached(folder: &Path) -> io::Result<()> {
    files(folder, &mut |path| {
        let file = File::open(path)?;
        file.sync_all()?;
        forget(&file)
    })
}

#[cfg(target_os = "linux")]
fn forget(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?)
}

#[cfg(not(target_os = "linux"))]
fn forget(_: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Bytes on disk of all files below a folder.
///
/// # Errors
/// Those of the file system.
pub fn disk_bytes(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    files(folder, &mut |path| {
        bytes += path.metadata()?.blocks() * STAT_BLOCK;
        Ok(())
    })?;
    Ok(bytes)
}

//! Real files in a folder that one process at a time may open.
//!
//! In: the path of a folder. Out: [`Files`] over it, with a lock on the file `lock` in it as long as it is open.
//! Not here: how batches of reads are spread (`readers`, `ring`).

use super::positioned::{read_exact_at, write_all_at};
use super::readers::Readers;
#[cfg(target_os = "linux")]
use super::ring::Rings;
use super::{File, Files};
use crate::disk::error::DiskError;
use alloy_primitives::Bytes;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the file that carries the lock.
pub(in crate::disk) const LOCK: &str = "lock";

/// How batches of reads reach the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadMethod {
    /// [`Self::Ring`] where the kernel grants it, otherwise [`Self::Threads`].
    #[default]
    Auto,
    /// Blocking reads on up to 32 threads.
    Threads,
    /// One queue of up to 256 reads in the kernel (io_uring, Linux only).
    Ring,
}

/// A folder of real files. Dropping it releases the lock.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    reads: Arc<Reads>,
    /// Holds the lock while it is open.
    _lock: std::fs::File,
}

#[derive(Debug)]
enum Reads {
    Threads(Readers),
    #[cfg(target_os = "linux")]
    Ring(Rings),
}

impl Reads {
    fn new(method: ReadMethod) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if method != ReadMethod::Threads {
            match Rings::new() {
                Ok(rings) => return Ok(Self::Ring(rings)),
                Err(error) if method == ReadMethod::Ring => return Err(error),
                Err(_) => {}
            }
        }
        if method == ReadMethod::Ring {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "io_uring exists on Linux only"));
        }
        Ok(Self::Threads(Readers::default()))
    }
}

impl Folder {
    /// Opens an existing folder and locks it.
    ///
    /// # Errors
    /// [`DiskError::InUse`] if another process has locked it; [`DiskError::Io`], also if `method` is
    /// [`ReadMethod::Ring`] and the kernel does not grant it.
    pub fn open(path: &Path, method: ReadMethod) -> Result<Self, DiskError> {
        let name = path.join(LOCK);
        let lock = std::fs::File::options().create(true).truncate(false).write(true).open(&name);
        let lock = lock.map_err(|error| DiskError::io("open", name.display().to_string(), &error))?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => DiskError::InUse(path.display().to_string()),
            std::fs::TryLockError::Error(error) => DiskError::io("lock", name.display().to_string(), &error),
        })?;
        let reads = Reads::new(method).map_err(|error| DiskError::io("set up io_uring for", LOCK, &error))?;
        Ok(Self { path: path.to_owned(), reads: Arc::new(reads), _lock: lock })
    }

    /// Whether batches of reads go through io_uring.
    pub fn uses_ring(&self) -> bool {
        !matches!(*self.reads, Reads::Threads(_))
    }

    fn file(&self, action: &'static str, name: &str, how: &std::fs::OpenOptions) -> Result<Arc<dyn File>, DiskError> {
        let file = how.open(self.path.join(name)).map_err(|error| DiskError::io(action, name, &error))?;
        Ok(Arc::new(RealFile { name: name.to_owned(), file: Arc::new(file), reads: Arc::clone(&self.reads) }))
    }
}

impl Files for Folder {
    fn list(&self) -> Result<Vec<String>, DiskError> {
        let fail = |error: io::Error| DiskError::io("list", self.path.display().to_string(), &error);
        let names = std::fs::read_dir(&self.path).map_err(fail)?.map(|entry| Ok(entry?.file_name()));
        let names: Vec<_> = names.collect::<io::Result<_>>().map_err(fail)?;
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    fn create(&self, name: &str) -> Result<Arc<dyn File>, DiskError> {
        self.file("create", name, std::fs::File::options().read(true).write(true).create_new(true))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn File>, DiskError> {
        self.file("open", name, std::fs::File::options().read(true).write(true))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        std::fs::remove_file(self.path.join(name)).map_err(|error| DiskError::io("remove", name, &error))
    }

    fn sync_names(&self) -> Result<(), DiskError> {
        sync_folder(&self.path).map_err(|error| DiskError::io("sync", self.path.display().to_string(), &error))
    }
}

/// Makes the names in a folder durable.
#[cfg(unix)]
pub(in crate::disk) fn sync_folder(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

/// Other systems do not open folders; their file systems keep the names in a journal.
#[cfg(not(unix))]
pub(in crate::disk) fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[derive(Debug)]
struct RealFile {
    name: String,
    file: Arc<std::fs::File>,
    reads: Arc<Reads>,
}

impl RealFile {
    fn read_error(&self, offset: u64, error: &io::Error) -> DiskError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            DiskError::damaged(&self.name, offset, "the file ends too early")
        } else {
            DiskError::io("read", &self.name, error)
        }
    }
}

impl File for RealFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn bytes(&self) -> Result<u64, DiskError> {
        let metadata = self.file.metadata().map_err(|error| DiskError::io("measure", &self.name, &error))?;
        Ok(metadata.len())
    }

    fn set_bytes(&self, bytes: u64) -> Result<(), DiskError> {
        self.file.set_len(bytes).map_err(|error| DiskError::io("set the length of", &self.name, &error))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        read_exact_at(&self.file, offset, out).map_err(|error| self.read_error(offset, &error))
    }

    fn read_many(&self, ranges: &[(u64, u32)], out: &mut [Bytes]) -> Result<(), DiskError> {
        let read = match &*self.reads {
            Reads::Threads(readers) => readers.read(&self.file, ranges, out),
            #[cfg(target_os = "linux")]
            Reads::Ring(rings) => rings.read(&self.file, ranges, out),
        };
        read.map_err(|(offset, error)| self.read_error(offset, &error))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        write_all_at(&self.file, offset, bytes).map_err(|error| DiskError::io("write", &self.name, &error))
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|error| DiskError::io("sync", &self.name, &error))
    }
}

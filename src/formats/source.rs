//! Sources of documents: files, folders, `.tar.gz` and `.tar.zst` archives; the JSON files in them
//! may be gzipped.
//!
//! In: a path. Out: one [`Document`] at a time, sorted by path in folders, in archive order
//! otherwise. Archives are streamed: at most one document is in memory here, of at most
//! [`DOCUMENT_BYTES_MAX`] bytes after decompression.
//! Not here: parsing.

use super::InputError;
use super::cost::{DOCUMENT_MEMORY_MAX, memory_max};
use flate2::read::GzDecoder;
use std::cell::Cell;
use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::{BufReader, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Archives are compressed with windows of up to 2^27 bytes, above the decoder's default limit.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Maximum bytes of one document, and of the data between two documents of an archive. The largest
/// existing bundles have a fifth of it; compressed files can grow a thousandfold. The memory of a
/// parsed document is limited separately ([`DOCUMENT_MEMORY_MAX`]).
pub(super) const DOCUMENT_BYTES_MAX: u64 = 1 << 29;

/// One JSON file.
#[derive(Clone, Debug)]
pub struct Document {
    /// Path of the file; for an entry of an archive followed by the path within the archive.
    pub name: String,
    /// The text, decompressed.
    pub bytes: Vec<u8>,
}

impl Document {
    /// Reads a document of a stream to its end.
    ///
    /// # Errors
    /// [`InputError::Io`]: it cannot be read, or exceeds the limits of length or memory.
    pub fn read(name: &str, reader: impl Read) -> Result<Self, InputError> {
        let mut read = None;
        let flow = document(name, reader, DOCUMENT_BYTES_MAX, &mut |document| {
            read = Some(document);
            ControlFlow::Continue(())
        });
        match (flow, read) {
            (Ok(_), Some(document)) => Ok(document),
            (Ok(_), None) => Err(InputError::Empty { path: name.into() }),
            (Err(error), _) => Err(InputError::Io { path: name.into(), error }),
        }
    }

    /// Upper bound of the bytes that this document takes in memory once it is parsed.
    pub fn memory_max(&self) -> u64 {
        memory_max(&self.bytes)
    }

    /// File name without folders and extensions.
    pub fn short_name(&self) -> String {
        let file = self.name.rsplit('/').next().unwrap_or(&self.name);
        file.split_once(".json").map_or(file, |(stem, _)| stem).to_owned()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Json,
    GzippedJson,
    TarGz,
    TarZst,
}

impl Kind {
    /// `None` for other extensions, and for hidden files (test releases have indices in a hidden
    /// folder).
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        if name.starts_with('.') {
            return None;
        }
        [
            (".tar.gz", Self::TarGz),
            (".tgz", Self::TarGz),
            (".tar.zst", Self::TarZst),
            (".json.gz", Self::GzippedJson),
            (".json", Self::Json),
        ]
        .into_iter()
        .find_map(|(suffix, kind)| name.ends_with(suffix).then_some(kind))
    }
}

/// Bytes allowed for the header and padding of an entry.
const ENTRY_OVERHEAD: u64 = 1 << 20;

/// Events while documents are read.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// This many more bytes of a file were read.
    Read(u64),
    /// A file in a folder is a FIFO, a socket or a device: reading it may never end, so it is skipped.
    Skipped(&'a Path),
}

/// Calls `visit` with every document below `path` until it returns `Break`. A file given directly
/// is read as JSON if its extension is unknown, and may be a FIFO; in folders and archives only
/// regular files with known extensions (`.json`, `.json.gz`, in folders also archives) are read. A
/// folder that is reached twice through links is read once.
///
/// # Errors
/// The first file that cannot be read, or [`InputError::Empty`].
pub fn each_document(
    path: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
    visit: &mut dyn FnMut(Document) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, InputError> {
    let mut documents = 0usize;
    let mut counted = |document| {
        documents += 1;
        visit(document)
    };
    let mut found = Found::new(Kind::of);
    if path.is_dir() {
        found.collect(path).map_err(|error| InputError::Io { path: path.into(), error })?;
        found.files.sort_unstable();
        found.special.sort_unstable();
    } else {
        found.files.push((path.to_owned(), Kind::of(path).unwrap_or(Kind::Json)));
    }
    found.special.iter().for_each(|path| progress(Progress::Skipped(path)));
    for (file, kind) in found.files {
        let flow = read_file(&file, kind, &mut |bytes| progress(Progress::Read(bytes)), &mut counted)
            .map_err(|error| InputError::Io { path: file, error })?;
        if flow.is_break() {
            return Ok(flow);
        }
    }
    if documents == 0 { Err(InputError::Empty { path: path.into() }) } else { Ok(ControlFlow::Continue(())) }
}

/// Bytes on disk of all files that [`each_document`] would read: the total of its
/// [`Progress::Read`] events.
pub fn total_bytes(paths: &[PathBuf]) -> u64 {
    let mut total = 0;
    for path in paths {
        let mut found = Found::new(Kind::of);
        if path.is_dir() {
            // Errors of folders are reported by `each_document`.
            let _ = found.collect(path);
        } else {
            found.files.push((path.clone(), Kind::Json));
        }
        total += found.files.iter().filter_map(|(file, _)| file.metadata().ok()).map(|meta| meta.len()).sum::<u64>();
    }
    total
}

/// Files below a folder.
pub(super) struct Found<K> {
    /// The kind of a file by its name; `None`: it is not read.
    kind_of: fn(&Path) -> Option<K>,
    /// The files to read, with their kinds.
    pub(super) files: Vec<(PathBuf, K)>,
    /// Files that are not regular: FIFOs, sockets, devices.
    special: Vec<PathBuf>,
    /// Folders already read, by device and inode, since links can be cyclic.
    folders: HashSet<(u64, u64)>,
}

impl<K> Found<K> {
    pub(super) fn new(kind_of: fn(&Path) -> Option<K>) -> Self {
        Self { kind_of, files: Vec::new(), special: Vec::new(), folders: HashSet::new() }
    }

    /// Adds the files below a folder. Hidden files and folders are left out.
    pub(super) fn collect(&mut self, folder: &Path) -> std::io::Result<()> {
        let meta = folder.metadata()?;
        if !self.folders.insert((meta.dev(), meta.ino())) {
            return Ok(());
        }
        let mut entries = folder.read_dir()?.collect::<Result<Vec<_>, _>>()?;
        // Folders before links to them, so that their files keep their own paths.
        entries.sort_by_cached_key(|entry| (entry.file_type().is_ok_and(|kind| kind.is_symlink()), entry.file_name()));
        for entry in entries {
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            // For a link, the metadata of its target.
            let meta = path.metadata();
            if meta.as_ref().is_ok_and(Metadata::is_dir) {
                self.collect(&path)?;
            } else if let Some(kind) = (self.kind_of)(&path) {
                match meta {
                    Ok(meta) if !meta.is_file() => self.special.push(path),
                    // An error of `metadata` is reported when the file is read.
                    _ => self.files.push((path, kind)),
                }
            }
        }
        Ok(())
    }
}

/// Reads a single JSON file, gzipped or not.
///
/// # Errors
/// [`InputError::Io`]: the file cannot be read, or exceeds the limits of length or memory.
pub fn read_document(path: &Path) -> Result<Document, InputError> {
    let kind = if Kind::of(path) == Some(Kind::GzippedJson) { Kind::GzippedJson } else { Kind::Json };
    let mut read = None;
    let flow = read_file(path, kind, &mut |_| (), &mut |document| {
        read = Some(document);
        ControlFlow::Continue(())
    });
    match (flow, read) {
        (Ok(_), Some(document)) => Ok(document),
        (Ok(_), None) => Err(InputError::Empty { path: path.into() }),
        (Err(error), _) => Err(InputError::Io { path: path.into(), error }),
    }
}

fn read_file(
    path: &Path,
    kind: Kind,
    progress: &mut dyn FnMut(u64),
    visit: &mut dyn FnMut(Document) -> ControlFlow<()>,
) -> std::io::Result<ControlFlow<()>> {
    let file = BufReader::new(Counted { file: File::open(path)?, progress });
    let name = path.to_string_lossy();
    let max = DOCUMENT_BYTES_MAX;
    match kind {
        Kind::Json => document(&name, file, max, visit),
        Kind::GzippedJson => document(&name, GzDecoder::new(file), max, visit),
        Kind::TarGz => archive(&name, GzDecoder::new(file), max, visit),
        Kind::TarZst => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(file)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            archive(&name, decoder, max, visit)
        }
    }
}

/// The error of a document longer than `max` bytes.
fn too_long(max: u64) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::FileTooLarge, format!("a document of more than {max} bytes"))
}

fn document(
    name: &str,
    reader: impl Read,
    bytes_max: u64,
    visit: &mut dyn FnMut(Document) -> ControlFlow<()>,
) -> std::io::Result<ControlFlow<()>> {
    let mut bytes = Vec::new();
    reader.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(too_long(bytes_max));
    }
    let memory = memory_max(&bytes);
    if memory > DOCUMENT_MEMORY_MAX {
        let mib = |bytes: u64| bytes >> 20;
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!(
                "the document {name} may take {} MiB of memory once parsed; the limit is {} MiB",
                mib(memory),
                mib(DOCUMENT_MEMORY_MAX)
            ),
        ));
    }
    Ok(visit(Document { name: name.to_owned(), bytes }))
}

/// A stream that returns an error after more than `max` bytes since `left` was last reset. The
/// `tar` crate reads the data between two documents of an archive, including file names of any
/// length, into memory.
struct Allowance<'a, R> {
    reader: R,
    left: &'a Cell<u64>,
    max: u64,
}

impl<R: Read> Read for Allowance<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64).ok_or_else(|| too_long(self.max))?;
        self.left.set(left);
        Ok(count)
    }
}

fn archive(
    name: &str,
    reader: impl Read,
    bytes_max: u64,
    visit: &mut dyn FnMut(Document) -> ControlFlow<()>,
) -> std::io::Result<ControlFlow<()>> {
    let left = Cell::new(bytes_max);
    let mut archive = tar::Archive::new(Allowance { reader, left: &left, max: bytes_max });
    for entry in archive.entries()? {
        let entry = entry?;
        left.set(bytes_max.saturating_add(ENTRY_OVERHEAD));
        let path = entry.path()?.into_owned();
        let hidden = path
            .components()
            .any(|part| matches!(part, Component::Normal(name) if name.as_encoded_bytes().starts_with(b".")));
        if hidden || !entry.header().entry_type().is_file() {
            continue;
        }
        let name = format!("{name}/{}", path.display());
        let flow = match Kind::of(&path) {
            Some(Kind::Json) => document(&name, entry, bytes_max, visit)?,
            Some(Kind::GzippedJson) => document(&name, GzDecoder::new(entry), bytes_max, visit)?,
            _ => continue,
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Reports the number of bytes read from a file.
struct Counted<'p> {
    file: File,
    progress: &'p mut dyn FnMut(u64),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        (self.progress)(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    const MAX: u64 = 1 << 16;

    fn tar_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *bytes).expect("a tar in memory");
        }
        tar.into_inner().expect("a tar in memory")
    }

    fn visited(
        read: impl FnOnce(&mut dyn FnMut(Document) -> ControlFlow<()>) -> std::io::Result<ControlFlow<()>>,
    ) -> (usize, Option<ErrorKind>) {
        let mut count = 0;
        let result = read(&mut |document| {
            assert!(document.bytes.len() as u64 <= MAX);
            count += 1;
            ControlFlow::Continue(())
        });
        (count, result.err().map(|error| error.kind()))
    }

    #[test]
    fn documents_above_the_limit_are_refused() {
        let zeros = |len: u64| std::io::repeat(b' ').take(len);
        assert_eq!(visited(|visit| document("fits", zeros(MAX), MAX, visit)), (1, None));
        assert_eq!(
            visited(|visit| document("one more", zeros(MAX + 1), MAX, visit)),
            (0, Some(ErrorKind::FileTooLarge))
        );
        assert_eq!(
            visited(|visit| document("endless", std::io::repeat(0), MAX, visit)),
            (0, Some(ErrorKind::FileTooLarge))
        );
        // A file that decompresses to a thousand times its size.
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::copy(&mut zeros(MAX * 100), &mut gz).expect("memory");
        let bomb = gz.finish().expect("memory");
        assert!((bomb.len() as u64) < MAX);
        let refused = (0, Some(ErrorKind::FileTooLarge));
        assert_eq!(visited(|visit| document("bomb", GzDecoder::new(&bomb[..]), MAX, visit)), refused);
        let inside = tar_of(&[("a.json", b"{}"), ("bomb.json.gz", &bomb)]);
        assert_eq!(visited(|visit| archive("tar", &inside[..], MAX, visit)), (1, refused.1));
    }

    #[test]
    fn archives_are_bounded_between_their_documents_too() {
        let large = vec![b' '; MAX as usize];
        let many: Vec<(String, &[u8])> = (0..40).map(|number| (format!("{number}.json"), large.as_slice())).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        // Each document is within the limit, all together exceed it.
        assert_eq!(visited(|visit| archive("many", &tar_of(&many)[..], MAX, visit)), (40, None));
        let endless = "n".repeat(3 << 20);
        let names = tar_of(&[("a.json", b"{}"), (&endless, b"{}")]);
        let (count, error) = visited(|visit| archive("names", &names[..], MAX, visit));
        assert!(count == 1 && error.is_some(), "{count} {error:?}");
    }
}

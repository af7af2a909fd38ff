//! Where documents come from: files, folders, `.tar.gz` and `.tar.zst` archives, each possibly gzipped inside.
//!
//! In: a path. Out: one [`Document`] at a time, sorted by path in folders, in archive order otherwise. Archives are
//! streamed: no more than one document is held here.

use super::InputError;
use flate2::read::GzDecoder;
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};

/// Archives are compressed with windows up to 2^27 bytes, above the decoder's own limit.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// One JSON file.
#[derive(Clone, Debug)]
pub struct Document {
    /// Path, and inside an archive the path within it.
    pub name: String,
    /// The text, decompressed.
    pub bytes: Vec<u8>,
}

impl Document {
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
    /// Nothing for other extensions, and for hidden files (indices of test releases lie in a hidden folder).
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

/// Calls `visit` with every document below `path`, until it breaks. A file named directly counts as JSON whatever its
/// extension; in folders and archives other files are passed over.
///
/// # Errors
/// The first file that cannot be read, or [`InputError::Empty`].
pub fn each_document(
    path: &Path,
    progress: &mut dyn FnMut(u64),
    visit: &mut dyn FnMut(Document) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, InputError> {
    let mut found = 0usize;
    let mut counted = |document| {
        found += 1;
        visit(document)
    };
    let mut files = Vec::new();
    if path.is_dir() {
        collect(path, &mut files).map_err(|error| InputError::Io { path: path.into(), error })?;
        files.sort_unstable();
    } else {
        files.push((path.to_owned(), Kind::of(path).unwrap_or(Kind::Json)));
    }
    for (file, kind) in files {
        let flow =
            read_file(&file, kind, progress, &mut counted).map_err(|error| InputError::Io { path: file, error })?;
        if flow.is_break() {
            return Ok(flow);
        }
    }
    if found == 0 { Err(InputError::Empty { path: path.into() }) } else { Ok(ControlFlow::Continue(())) }
}

/// Bytes on disk of everything that [`each_document`] would read: the length of its progress.
pub fn total_bytes(paths: &[PathBuf]) -> u64 {
    let mut total = 0;
    for path in paths {
        let mut files = Vec::new();
        if path.is_dir() {
            // Unreadable folders are reported when they are read.
            let _ = collect(path, &mut files);
        } else {
            files.push((path.clone(), Kind::Json));
        }
        total += files.iter().filter_map(|(file, _)| file.metadata().ok()).map(|meta| meta.len()).sum::<u64>();
    }
    total
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, Kind)>) -> std::io::Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else if let Some(kind) = Kind::of(&path) {
            files.push((path, kind));
        }
    }
    Ok(())
}

fn read_file(
    path: &Path,
    kind: Kind,
    progress: &mut dyn FnMut(u64),
    visit: &mut dyn FnMut(Document) -> ControlFlow<()>,
) -> std::io::Result<ControlFlow<()>> {
    let file = BufReader::new(Counted { file: File::open(path)?, progress });
    let name = path.to_string_lossy();
    match kind {
        Kind::Json => document(&name, file, visit),
        Kind::GzippedJson => document(&name, GzDecoder::new(file), visit),
        Kind::TarGz => archive(&name, GzDecoder::new(file), visit),
        Kind::TarZst => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(file)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            archive(&name, decoder, visit)
        }
    }
}

fn document(
    name: &str,
    mut reader: impl Read,
    visit: &mut dyn FnMut(Document) -> ControlFlow<()>,
) -> std::io::Result<ControlFlow<()>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok(visit(Document { name: name.to_owned(), bytes }))
}

fn archive(
    name: &str,
    reader: impl Read,
    visit: &mut dyn FnMut(Document) -> ControlFlow<()>,
) -> std::io::Result<ControlFlow<()>> {
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        let hidden = path
            .components()
            .any(|part| matches!(part, Component::Normal(name) if name.as_encoded_bytes().starts_with(b".")));
        if hidden || !entry.header().entry_type().is_file() {
            continue;
        }
        let name = format!("{name}/{}", path.display());
        let flow = match Kind::of(&path) {
            Some(Kind::Json) => document(&name, entry, visit)?,
            Some(Kind::GzippedJson) => document(&name, GzDecoder::new(entry), visit)?,
            _ => continue,
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Tells how many bytes of a file have been read.
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

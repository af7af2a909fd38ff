//! Writes the command's output to standard output, standard error and named files, and checks every
//! write.
//!
//! In: text and bytes. Out: the output itself, and the exit status 2 where it cannot be written.
//! A failed write (a full disk) is reported on standard error. A closed pipe (`| head -1`) ends the
//! output without a message. A named file is written under a temporary name in the same folder and
//! renamed when it is complete, so that a killed process leaves no partial file under the final
//! name.
//! Not here: what is printed (`report`).

use super::Status;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use tempfile::NamedTempFile;

/// All writes so far succeeded.
const OPEN: u8 = 0;
/// The reader closed its end of the pipe; further output is dropped.
const CLOSED: u8 = 1;
/// A write failed; further output is dropped and the exit status is 2.
const FAILED: u8 = 2;

/// The state of standard output: [`OPEN`], [`CLOSED`] or [`FAILED`].
static STDOUT: AtomicU8 = AtomicU8::new(OPEN);
/// The state of standard error as a target of data (traces, state roots). Messages are written to
/// it in any state.
static STDERR: AtomicU8 = AtomicU8::new(OPEN);

/// Prints one line on standard output.
pub fn line(text: &str) {
    write_stdout(|out| writeln!(out, "{text}"));
}

/// Prints an error on standard error, with a red mark on terminals. A failure of this write is
/// ignored, since there is no further stream to report it on.
#[expect(clippy::disallowed_methods, reason = "one of the three functions through which all output goes")]
pub fn complain(what: &dyn std::fmt::Display) {
    let mark = console::style("error:").red().bold().for_stderr();
    let _ = writeln!(io::stderr().lock(), "{mark} {what}");
}

/// Prints a note, which is not an error, on standard error.
#[expect(clippy::disallowed_methods, reason = "one of the three functions through which all output goes")]
pub fn note(what: &dyn std::fmt::Display) {
    let mark = console::style("note:").cyan().for_stderr();
    let _ = writeln!(io::stderr().lock(), "{mark} {what}");
}

/// Calls `write` with standard output, unless an earlier write failed.
#[expect(clippy::disallowed_methods, reason = "one of the three functions through which all output goes")]
fn write_stdout(write: impl FnOnce(&mut io::StdoutLock<'static>) -> io::Result<()>) {
    if STDOUT.load(Ordering::Relaxed) == OPEN
        && let Err(error) = write(&mut io::stdout().lock())
    {
        stdout_failed(&error);
    }
}

/// Records that standard output cannot be written, and reports the first error that is not a closed
/// pipe.
pub fn stdout_failed(error: &io::Error) {
    if let Some(error) = failed(&STDOUT, error) {
        complain(&format_args!("cannot write to standard output: {error}"));
    }
}

/// Records a stream's failure. Returns the error if it is the first that must be reported; a closed
/// pipe is not.
fn failed<'e>(stream: &AtomicU8, error: &'e io::Error) -> Option<&'e io::Error> {
    if error.kind() == ErrorKind::BrokenPipe {
        let _ = stream.compare_exchange(OPEN, CLOSED, Ordering::Relaxed, Ordering::Relaxed);
        return None;
    }
    (stream.swap(FAILED, Ordering::Relaxed) != FAILED).then_some(error)
}

/// Whether standard output accepts no more data, so that further work would have no output.
pub fn is_lost() -> bool {
    STDOUT.load(Ordering::Relaxed) != OPEN
}

/// Flushes standard output. The status is [`Status::Unusable`] if any write failed.
pub fn finish(status: Status) -> Status {
    write_stdout(|out| out.flush());
    let is_failed = [&STDOUT, &STDERR].into_iter().any(|stream| stream.load(Ordering::Relaxed) == FAILED);
    if is_failed { Status::Unusable } else { status }
}

/// Standard error as a target of data. A failed write is recorded for [`finish`] and not returned.
#[derive(Clone, Copy, Debug)]
pub struct StderrData;

impl Write for StderrData {
    #[expect(clippy::disallowed_methods, reason = "one of the functions through which all output goes")]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if STDERR.load(Ordering::Relaxed) == OPEN
            && let Err(error) = io::stderr().lock().write_all(bytes)
        {
            failed(&STDERR, &error);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A named file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {error}", path.display())]
pub struct OutputError {
    /// Path of the file.
    pub path: PathBuf,
    /// The operating system's error.
    pub error: io::Error,
}

/// A file that appears under its name when it is complete. Until [`Self::finish`] its bytes are in
/// a temporary file in the same folder, which is removed if this value is dropped. Special files
/// (FIFOs, devices) and `/dev/stdout` are written directly.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    writer: BufWriter<Target>,
    bytes: u64,
}

#[derive(Debug)]
enum Target {
    /// A temporary file, and the path to which it is renamed.
    Beside(NamedTempFile, PathBuf),
    /// A special file, written directly.
    Direct(File),
    /// Standard output, whose errors are recorded for [`finish`].
    Stdout,
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Beside(file, _) => file.write(bytes),
            Self::Direct(file) => file.write(bytes),
            Self::Stdout => {
                write_stdout(|out| out.write_all(bytes));
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Beside(file, _) => file.flush(),
            Self::Direct(file) => file.flush(),
            Self::Stdout => {
                write_stdout(|out| out.flush());
                Ok(())
            }
        }
    }
}

impl Target {
    fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("/dev/stdout") {
            return Ok(Self::Stdout);
        }
        if path == Path::new("/dev/stderr") {
            #[expect(clippy::disallowed_methods, reason = "the handle is duplicated, not written here")]
            return Ok(Self::Direct(File::from(io::stderr().as_fd().try_clone_to_owned()?)));
        }
        let (target, permissions) = match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => return Ok(Self::Direct(OpenOptions::new().write(true).open(path)?)),
            // A symbolic link is kept: its target is replaced.
            Ok(found) => (std::fs::canonicalize(path)?, Some(found.permissions())),
            Err(error) if error.kind() == ErrorKind::NotFound => (without_dangling_link(path), None),
            Err(error) => return Err(error),
        };
        let name = target.file_name().ok_or(ErrorKind::InvalidFilename)?;
        let prefix = format!(".{}.", name.to_string_lossy());
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".partial")
            .permissions(permissions.clone().unwrap_or_else(default_permissions))
            .tempfile_in(folder)?;
        // The process's umask applies to new files; an existing file keeps its permissions.
        if let Some(permissions) = permissions {
            file.as_file().set_permissions(permissions)?;
        }
        Ok(Self::Beside(file, target))
    }
}

/// The permissions of a new file before the process's umask is applied.
fn default_permissions() -> Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

/// The target of a symbolic link to a missing file, else the path itself.
fn without_dangling_link(path: &Path) -> PathBuf {
    match std::fs::read_link(path) {
        Ok(target) => path.parent().unwrap_or(Path::new("")).join(target),
        Err(_) => path.to_owned(),
    }
}

impl OutputFile {
    /// Opens the file for writing.
    ///
    /// # Errors
    /// The folder or the special file cannot be written.
    pub fn create(path: &Path) -> Result<Self, OutputError> {
        match Target::open(path) {
            Ok(target) => Ok(Self { path: path.to_owned(), writer: BufWriter::new(target), bytes: 0 }),
            Err(error) => Err(OutputError { path: path.to_owned(), error }),
        }
    }

    /// The path under which the complete file appears.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Wraps an I/O error with this file's path.
    pub fn fault(&self, error: io::Error) -> OutputError {
        OutputError { path: self.path.clone(), error }
    }

    /// Whether no byte was written so far.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Writes the whole content of the file and completes it.
    ///
    /// # Errors
    /// A write or the renaming failed.
    pub fn complete(mut self, content: &[u8]) -> Result<(), OutputError> {
        if let Err(error) = self.write_all(content) {
            return Err(self.fault(error));
        }
        self.finish().map(drop)
    }

    /// Flushes the buffer and renames the file to its final name; returns its length in bytes.
    ///
    /// # Errors
    /// A write or the renaming failed; an existing file under that name is then unchanged.
    pub fn finish(self) -> Result<u64, OutputError> {
        let Self { path, writer, bytes } = self;
        let finish = || {
            match writer.into_inner().map_err(io::IntoInnerError::into_error)? {
                Target::Beside(file, target) => {
                    // Some file systems report a full disk only on sync.
                    file.as_file().sync_all()?;
                    file.persist(target).map_err(|failed| failed.error)?;
                }
                Target::Direct(mut file) => file.flush()?,
                Target::Stdout => write_stdout(|out| out.flush()),
            }
            Ok(bytes)
        };
        finish().map_err(|error| OutputError { path, error })
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.writer.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_has_its_name_only_when_it_is_complete() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("some.json");
        let names = || {
            let entries = std::fs::read_dir(folder.path()).expect("readable");
            entries.map(|entry| entry.expect("an entry").file_name()).collect::<Vec<_>>()
        };
        let mut file = OutputFile::create(&path).expect("writable");
        assert!(file.is_empty());
        file.write_all(&[7; 100_000]).expect("written");
        assert!(!path.exists() && names().len() == 1);
        assert_eq!(file.finish().expect("renamed"), 100_000);
        assert_eq!(std::fs::read(&path).expect("there").len(), 100_000);
        assert_eq!(names(), ["some.json"]);

        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("permitted");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        let mut file = OutputFile::create(&link).expect("writable");
        file.write_all(b"new").expect("written");
        drop(file);
        assert_eq!(std::fs::read(&path).expect("there").len(), 100_000, "a dropped file changes nothing");
        OutputFile::create(&link).expect("writable").complete(b"new").expect("renamed");
        assert_eq!(std::fs::read(&path).expect("there"), b"new");
        assert!(std::fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o640);
        assert_eq!(names().len(), 2);
    }

    #[test]
    fn unwritable_files_are_errors() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(OutputFile::create(folder.path()).is_err());
        assert!(OutputFile::create(&folder.path().join("none/some.json")).is_err());
        let full = OutputFile::create(Path::new("/dev/full")).expect("a device").complete(b"text");
        assert!(full.is_err_and(|error| error.to_string().starts_with("cannot write /dev/full: No space left")));
    }
}

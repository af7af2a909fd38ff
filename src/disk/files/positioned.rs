//! Reads and writes at an offset, which leave the position of a file alone, so that threads can share the file.

use std::io;

/// Fills `out` with the bytes of `file` from `offset` on.
#[cfg(unix)]
pub(super) fn read_exact_at(file: &std::fs::File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

/// Writes `bytes` to `file` from `offset` on.
#[cfg(unix)]
pub(super) fn write_all_at(file: &std::fs::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Fills `out` with the bytes of `file` from `offset` on.
#[cfg(windows)]
pub(super) fn read_exact_at(file: &std::fs::File, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, out, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += read as u64;
        out = &mut out[read..];
    }
    Ok(())
}

/// Writes `bytes` to `file` from `offset` on.
#[cfg(windows)]
pub(super) fn write_all_at(file: &std::fs::File, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        offset += written as u64;
        bytes = &bytes[written..];
    }
    Ok(())
}

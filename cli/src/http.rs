//! A small HTTP/1.1 server on the standard library's sockets: keep-alive, bounded in threads, memory and time.
//!
//! In: a listening socket, TCP or Unix, and a handler of requests. Out: responses.
//! `httparse` parses heads. `tiny_http` is not used: it allocates as many bytes as a request's Content-Length says before
//! any of them has come, reads header lines of any length, and starts a thread for every connection.
//! Bounds: [`Limits`]. A head has at most 16 KiB and 64 fields; an idle connection is closed after 30 s; a body that
//! does not make progress is refused.
//! Not here: what the requests mean.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most bytes of a request's head.
const HEAD_MAX: usize = 16 << 10;
/// Most header fields of a request.
const FIELDS_MAX: usize = 64;
/// Time after which an idle connection, or one that does not read its response, is closed.
const IDLE: Duration = Duration::from_secs(30);
/// Time that a body or a head may take as a whole.
const WHOLE: Duration = Duration::from_secs(120);
/// Bodies up to this length need no room in the budget.
const SMALL: usize = 64 << 10;
/// Most time that a large body waits for room in the budget.
const ROOM_WAIT: Duration = Duration::from_secs(10);

/// Bounds of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of a body.
    pub body: usize,
    /// Most bytes of all bodies that are being read or handled.
    pub bodies: usize,
    /// Most connections; further ones are closed at once.
    pub connections: usize,
}

/// A request without its body.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Method, as it was sent.
    pub method: String,
    /// Path, without the query.
    pub path: String,
    /// Value of the field `Authorization`.
    pub authorization: Option<String>,
    length: Option<u64>,
    chunked: bool,
    keep_alive: bool,
    expects_continue: bool,
}

/// An answer to a request.
#[derive(Clone, Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// JSON with status 200.
    pub fn json(body: Vec<u8>) -> Self {
        Self { status: 200, content_type: "application/json", body }
    }

    /// Plain text.
    pub fn text(status: u16, text: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{text}\n").into_bytes() }
    }
}

/// Answers the requests of a port. Methods are called from several threads.
pub trait Service: Send + Sync + 'static {
    /// Refuses a request by its head alone, before its body is read.
    fn refuse(&self, head: &Head) -> Option<Response>;
    /// Answers a request.
    fn answer(&self, head: &Head, body: &[u8]) -> Response;
    /// Called after each response was written.
    fn answered(&self) {}
}

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(UnixListener),
}

impl Listener {
    /// Listens on a TCP address; returns it with the chosen port where port 0 was asked for.
    ///
    /// # Errors
    /// The address cannot be used.
    pub fn tcp(address: SocketAddr) -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind(address)?;
        let bound = listener.local_addr()?;
        Ok((Self::Tcp(listener), bound))
    }

    fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => listener.accept().map(|(socket, _)| Socket::Tcp(socket)),
            #[cfg(unix)]
            Self::Unix(listener) => listener.accept().map(|(socket, _)| Socket::Unix(socket)),
        }
    }
}

/// A connection.
enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Socket {
    /// Sets the times after which a read and a write fail.
    fn set_timeouts(&self, read: Duration, write: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => {
                socket.set_read_timeout(Some(read)).and_then(|()| socket.set_write_timeout(Some(write)))
            }
            #[cfg(unix)]
            Self::Unix(socket) => {
                socket.set_read_timeout(Some(read)).and_then(|()| socket.set_write_timeout(Some(write)))
            }
        }
    }

    /// Sends small packets at once.
    fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nodelay(true),
            #[cfg(unix)]
            Self::Unix(_) => Ok(()),
        }
    }

    fn end_writes(&self) {
        let _ = match self {
            Self::Tcp(socket) => socket.shutdown(Shutdown::Write),
            #[cfg(unix)]
            Self::Unix(socket) => socket.shutdown(Shutdown::Write),
        };
    }
}

impl Read for &Socket {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&mut &*socket).read(out),
            #[cfg(unix)]
            Socket::Unix(socket) => (&mut &*socket).read(out),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&mut &*socket).write(bytes),
            #[cfg(unix)]
            Socket::Unix(socket) => (&mut &*socket).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a request could not be read.
enum Unread {
    /// The connection ended, or is of no more use.
    Over,
    /// The request is refused with this status, and the connection closed.
    Refused(u16, &'static str),
}

/// A request that takes too long.
const TOO_SLOW: Unread = Unread::Refused(408, "the request takes too long");

impl From<io::Error> for Unread {
    fn from(_: io::Error) -> Self {
        Self::Over
    }
}

/// Room for bodies, in bytes.
#[derive(Debug)]
struct Budget {
    free: Mutex<usize>,
    freed: Condvar,
}

/// Bytes taken from a [`Budget`], given back when dropped.
struct Room<'a>(&'a Budget, usize);

impl Budget {
    /// Takes `bytes`, when there are as many; `None` after a while.
    fn take(&self, bytes: usize) -> Option<Room<'_>> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.freed.wait_timeout_while(free, ROOM_WAIT, |free| *free < bytes);
        let (mut free, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            return None;
        }
        *free -= bytes;
        Some(Room(self, bytes))
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += self.1;
        self.0.freed.notify_all();
    }
}

/// Counts a connection while it is open.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers the requests of a socket. The threads run until the process ends.
///
/// # Errors
/// The system refuses the thread.
pub fn serve(listener: Listener, limits: Limits, service: Arc<dyn Service>) -> io::Result<()> {
    let budget = Arc::new(Budget { free: Mutex::new(limits.bodies), freed: Condvar::new() });
    let open = Arc::new(AtomicUsize::new(0));
    std::thread::Builder::new().name("http".to_owned()).spawn(move || {
        loop {
            let Ok(stream) = listener.accept() else {
                // Out of file descriptors, for instance: connections in progress give theirs back.
                std::thread::sleep(Duration::from_millis(10));
                continue;
            };
            let counted = Open(Arc::clone(&open));
            if open.fetch_add(1, Ordering::Relaxed) >= limits.connections {
                refuse_connection(stream);
                continue;
            }
            let (service, budget) = (Arc::clone(&service), Arc::clone(&budget));
            let run = move || {
                let _counted = counted;
                converse(&stream, limits, &budget, &*service);
            };
            // Without a thread the connection is closed.
            let _ = std::thread::Builder::new().name("http-connection".to_owned()).stack_size(2 << 20).spawn(run);
        }
    })?;
    Ok(())
}

fn refuse_connection(stream: Socket) {
    let short = Duration::from_millis(100);
    let _ = stream.set_timeouts(short, short);
    let _ = write_response(&mut &stream, &Response::text(503, "too many connections"), false);
}

/// Answers the requests of a connection, one after another.
fn converse(stream: &Socket, limits: Limits, budget: &Budget, service: &dyn Service) {
    if stream.set_timeouts(IDLE, IDLE).and_then(|()| stream.set_nodelay()).is_err() {
        return;
    }
    let mut reader = BufReader::with_capacity(16 << 10, stream);
    loop {
        let response = match read_head(&mut reader) {
            Ok(head) => {
                if let Some(response) = service.refuse(&head) {
                    // The body was not read, so that the connection is of no more use.
                    let _ = write_response(&mut &*stream, &response, false);
                    return drain(&mut reader);
                }
                match read_body(&mut reader, stream, &head, limits, budget) {
                    Ok((body, _room)) => {
                        let response = service.answer(&head, &body);
                        drop(body);
                        let written = write_response(&mut &*stream, &response, head.keep_alive);
                        service.answered();
                        if written.is_err() || !head.keep_alive {
                            return;
                        }
                        continue;
                    }
                    Err(Unread::Over) => return,
                    Err(Unread::Refused(status, why)) => Response::text(status, why),
                }
            }
            Err(Unread::Over) => return,
            Err(Unread::Refused(status, why)) => Response::text(status, why),
        };
        let _ = write_response(&mut &*stream, &response, false);
        return drain(&mut reader);
    }
}

/// Reads some of what the peer still sends, so that it sees the response and not a reset connection.
fn drain(reader: &mut BufReader<&Socket>) {
    reader.get_ref().end_writes();
    let _ = reader.get_ref().set_timeouts(Duration::from_millis(200), IDLE);
    let mut buffer = [0; 16 << 10];
    for _ in 0..256 {
        if !matches!(reader.read(&mut buffer), Ok(1..)) {
            return;
        }
    }
}

/// Reads up to the empty line that ends the head.
fn read_head(reader: &mut BufReader<&Socket>) -> Result<Head, Unread> {
    let mut bytes = Vec::with_capacity(1024);
    let start = Instant::now();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if reader.read(&mut byte)? == 0 {
            return Err(Unread::Over);
        }
        // Empty lines before a request are allowed (RFC 9112, 2.2).
        if bytes.is_empty() && matches!(byte[0], b'\r' | b'\n') {
            continue;
        }
        bytes.push(byte[0]);
        if bytes.len() > HEAD_MAX {
            return Err(Unread::Refused(431, "the header fields are too long"));
        }
        if start.elapsed() > WHOLE {
            return Err(TOO_SLOW);
        }
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(&bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Unread::Refused(431, "too many header fields")),
        _ => return Err(Unread::Refused(400, "not an HTTP request")),
    }
    let path = request.path.unwrap_or_default();
    let mut head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        path: path.split('?').next().unwrap_or_default().to_owned(),
        keep_alive: request.version == Some(1),
        ..Head::default()
    };
    for field in request.headers.iter() {
        let value =
            core::str::from_utf8(field.value).map_err(|_| Unread::Refused(400, "a header field is not text"))?;
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let has = |word: &str| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word));
        if is("content-length") {
            let length = value.trim().parse().map_err(|_| Unread::Refused(400, "Content-Length is not a number"))?;
            if head.length.is_some_and(|other| other != length) {
                return Err(Unread::Refused(400, "two different Content-Lengths"));
            }
            head.length = Some(length);
        } else if is("transfer-encoding") {
            if !value.trim().eq_ignore_ascii_case("chunked") {
                return Err(Unread::Refused(501, "this transfer encoding is not supported"));
            }
            head.chunked = true;
        } else if is("connection") {
            head.keep_alive = !has("close") && (head.keep_alive || has("keep-alive"));
        } else if is("expect") {
            head.expects_continue = has("100-continue");
        } else if is("authorization") {
            head.authorization = Some(value.trim().to_owned());
        }
    }
    if head.chunked && head.length.is_some() {
        return Err(Unread::Refused(400, "both Content-Length and a transfer encoding"));
    }
    Ok(head)
}

/// Reads the body of a request.
fn read_body<'b>(
    reader: &mut BufReader<&Socket>,
    mut stream: &Socket,
    head: &Head,
    limits: Limits,
    budget: &'b Budget,
) -> Result<(Vec<u8>, Option<Room<'b>>), Unread> {
    const TOO_LONG: Unread = Unread::Refused(413, "the body is too long");
    let length = match (head.length, head.chunked) {
        (None, false) => return Ok((Vec::new(), None)),
        // The length is known at the end.
        (None, true) => limits.body,
        (Some(length), _) => usize::try_from(length).ok().filter(|length| *length <= limits.body).ok_or(TOO_LONG)?,
    };
    let busy = Unread::Refused(503, "too many large requests at once");
    let room = if length <= SMALL { None } else { Some(budget.take(length.min(limits.bodies)).ok_or(busy)?) };
    if head.expects_continue {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let deadline = Instant::now() + WHOLE;
    let mut body = Vec::new();
    if !head.chunked {
        read_exactly(reader, length, deadline, &mut body)?;
        return Ok((body, room));
    }
    loop {
        let line = read_line(reader, deadline)?;
        let Ok(httparse::Status::Complete((_, size))) = httparse::parse_chunk_size(&line) else {
            return Err(Unread::Refused(400, "malformed chunk"));
        };
        let size = usize::try_from(size).ok().filter(|size| body.len().saturating_add(*size) <= limits.body);
        let size = size.ok_or(TOO_LONG)?;
        if size == 0 {
            // Trailers end with an empty line.
            for _ in 0..FIELDS_MAX {
                if read_line(reader, deadline)?.len() <= 2 {
                    return Ok((body, room));
                }
            }
            return Err(Unread::Refused(431, "too many trailers"));
        }
        read_exactly(reader, size, deadline, &mut body)?;
        if read_line(reader, deadline)?.len() != 2 {
            return Err(Unread::Refused(400, "malformed chunk"));
        }
    }
}

/// Reads a short line with its end.
fn read_line(reader: &mut BufReader<&Socket>, deadline: Instant) -> Result<Vec<u8>, Unread> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        reader.read_exact(&mut byte)?;
        line.push(byte[0]);
        if Instant::now() > deadline {
            return Err(TOO_SLOW);
        }
        if line.len() > 1024 {
            return Err(Unread::Refused(400, "malformed chunk"));
        }
    }
    Ok(line)
}

/// Appends `length` bytes. Memory grows with what has arrived, not with what was announced.
fn read_exactly(
    reader: &mut BufReader<&Socket>,
    length: usize,
    deadline: Instant,
    out: &mut Vec<u8>,
) -> Result<(), Unread> {
    let mut buffer = vec![0; length.min(64 << 10)];
    let end = out.len() + length;
    while out.len() < end {
        let most = buffer.len().min(end - out.len());
        let read = reader.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(Unread::Over);
        }
        out.extend_from_slice(&buffer[..read]);
        if Instant::now() > deadline {
            return Err(TOO_SLOW);
        }
    }
    Ok(())
}

fn write_response(out: &mut impl Write, response: &Response, keep_alive: bool) -> io::Result<()> {
    let reason = match response.status {
        200 => "OK",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Bad Request",
    };
    let mut text = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {}\r\n\r\n",
        response.status,
        response.content_type,
        response.body.len(),
        if keep_alive { "keep-alive" } else { "close" },
    )
    .into_bytes();
    if response.body.len() <= SMALL {
        // One packet.
        text.extend_from_slice(&response.body);
        return out.write_all(&text);
    }
    out.write_all(&text)?;
    out.write_all(&response.body)
}

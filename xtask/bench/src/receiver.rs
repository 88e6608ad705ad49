//! An OTLP receiver over HTTP that takes everything and keeps nothing: with it the tracer's own
//! cost is measured, and not a collector's.

use std::{
    io::{self, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use anyhow::{Context as _, Result};

/// An answer without a message: all spans were taken.
const TAKEN: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";

/// Says where it listens, and serves until its input ends.
pub(crate) fn run() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("the receiver's port")?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    let accept = move || {
        for stream in listener.incoming().flatten() {
            let serve = move || drop(serve(stream));
            // One that cannot be served is closed.
            drop(thread::Builder::new().name("connection".into()).spawn(serve));
        }
    };
    thread::Builder::new().name("listener".into()).spawn(accept)?;
    io::stdin().read_to_end(&mut Vec::new())?;
    // Waits for no connection.
    std::process::exit(0)
}

/// Takes one request after the other.
fn serve(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::with_capacity(1 << 16, stream);
    let mut sink = io::sink();
    while let Some(length) = head(&mut requests)? {
        io::copy(&mut requests.by_ref().take(length), &mut sink)?;
        answers.write_all(TAKEN)?;
    }
    Ok(())
}

/// Reads the head of a request; the length of its body, or `None` at the end.
fn head(from: &mut impl io::BufRead) -> io::Result<Option<u64>> {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            None if line.trim().is_empty() => return Ok(Some(length)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_the_length_of_the_body() {
        let mut request: &[u8] =
            b"POST /v1/traces HTTP/1.1\r\nhost: a:1\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(head(&mut request).unwrap(), Some(3));
        assert_eq!(request, b"abc");
        assert_eq!(head(&mut &b""[..]).unwrap(), None);
        assert!(head(&mut &b"Content-Length: x\r\n\r\n"[..]).is_err());
    }
}

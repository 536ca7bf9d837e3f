//! A connection to a bus, or to a peer without one: authentication, calls, the wait for answers and signals.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

use super::address::Address;
use super::message::{self, Call, FIXED, Kind, Message};
use super::value::Value;

/// How long an answer may take, as in libdbus.
const REPLY_LIMIT: Duration = Duration::from_secs(25);
/// How many messages may wait to be asked for. More means that somebody floods us.
const MAX_WAITING: usize = 4096;
/// The longest line of the authentication.
const MAX_LINE: usize = 1024;

/// Why there was no answer, or not the one hoped for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The socket cannot be reached, or broke.
    #[error("dbus: {0}")]
    Io(#[from] io::Error),
    /// The other side does not let us in.
    #[error("dbus: authentication failed: {0:?}")]
    Refused(String),
    /// The other side sends what is not D-Bus.
    #[error("dbus: malformed message")]
    Malformed,
    /// The call was answered with an error; the text is the other side's.
    #[error("{text}")]
    Method {
        /// Its name (`org.freedesktop.systemd1.UnitExists`).
        name: String,
        /// Its message.
        text: String,
    },
}

impl BusError {
    /// Whether this is the method error of that name.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Method { name, .. } if name == wanted)
    }
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    serial: u32,
    /// What came while something else was waited for.
    waiting: VecDeque<Message>,
}

impl Connection {
    /// Connects to the first address that answers, and says who we are.
    ///
    /// The identity is left to the socket's credentials: a number of our own would be wrong in a user namespace.
    ///
    /// # Errors
    /// No address answers, or the other side refuses us.
    pub fn open(addresses: &[Address]) -> Result<Self, BusError> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no address of a bus");
        for address in addresses {
            let stream = match address {
                Address::Path(path) => UnixStream::connect(path),
                Address::Abstract(name) => {
                    SocketAddr::from_abstract_name(name).and_then(|name| UnixStream::connect_addr(&name))
                }
            };
            match stream {
                Ok(stream) => {
                    let mut connection = Self {
                        stream,
                        serial: 0,
                        waiting: VecDeque::new(),
                    };
                    connection.authenticate()?;
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    fn authenticate(&mut self) -> Result<(), BusError> {
        self.stream.set_write_timeout(Some(REPLY_LIMIT))?;
        self.stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\n")?;
        let deadline = Instant::now() + REPLY_LIMIT;
        let first = self.line(deadline)?;
        // A peer may take the credentials at once, or ask for the (empty) identity first.
        let answer = if first == "DATA" { self.line(deadline)? } else { first };
        if answer != "OK" && !answer.starts_with("OK ") {
            return Err(BusError::Refused(answer));
        }
        Ok(self.stream.write_all(b"BEGIN\r\n")?)
    }

    /// One line, without its end. Read byte by byte: nothing of what follows may be taken away.
    fn line(&mut self, deadline: Instant) -> Result<String, BusError> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.read(&mut byte, deadline)?;
            line.extend(byte);
            if line.len() > MAX_LINE {
                return Err(BusError::Malformed);
            }
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).map_err(|_| BusError::Malformed)
    }

    fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            let rest = buffer.get_mut(filled..).unwrap_or_default();
            match self.stream.read(rest) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self, deadline: Instant) -> Result<Message, BusError> {
        let mut fixed = [0; FIXED];
        self.read(&mut fixed, deadline)?;
        let length = message::length(&fixed).ok_or(BusError::Malformed)?;
        let mut bytes = vec![0; length];
        let (head, rest) = bytes.split_at_mut(FIXED);
        head.copy_from_slice(&fixed);
        self.read(rest, deadline)?;
        message::parse(&bytes).ok_or(BusError::Malformed)
    }

    /// Sends a call; its number is for [`Self::answer`]. Several may be under way.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(
        &mut self,
        destination: &str,
        path: &str,
        interface: &str,
        member: &str,
        body: &[Value],
    ) -> Result<u32, BusError> {
        self.serial += 1;
        let call = Call {
            destination,
            path,
            interface,
            member,
            body,
        };
        self.stream.write_all(&call.encode(self.serial))?;
        Ok(self.serial)
    }

    /// Waits for the answer to a call.
    ///
    /// # Errors
    /// [`BusError::Method`] when the answer is an error; a connection that breaks or stays silent.
    pub fn answer(&mut self, serial: u32) -> Result<Message, BusError> {
        let answer = self.wait_for(REPLY_LIMIT, |message| message.reply_to == Some(serial))?;
        if answer.kind != Kind::Error {
            return Ok(answer);
        }
        let text = answer.body.first().and_then(Value::as_str).unwrap_or(&answer.error);
        Err(BusError::Method {
            text: text.to_owned(),
            name: answer.error,
        })
    }

    /// Waits for the first message, of those that came already or come in time, that is wanted. Others are kept.
    ///
    /// # Errors
    /// A connection that breaks or stays silent.
    pub fn wait_for(&mut self, limit: Duration, wanted: impl Fn(&Message) -> bool) -> Result<Message, BusError> {
        if let Some(at) = self.waiting.iter().position(&wanted)
            && let Some(message) = self.waiting.remove(at)
        {
            return Ok(message);
        }
        let deadline = Instant::now() + limit;
        loop {
            let message = self.receive(deadline)?;
            if wanted(&message) {
                return Ok(message);
            }
            if self.waiting.len() == MAX_WAITING {
                return Err(BusError::Malformed);
            }
            self.waiting.push_back(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A peer that says `lines`, then answers every call with what it was sent last.
    fn peer(lines: &'static str, answers: Vec<Vec<u8>>) -> (tempfile::TempDir, Address) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bus");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(lines.as_bytes()).unwrap();
            for answer in answers {
                let _ = stream.write_all(&answer);
            }
            // Holds the connection until the client has gone.
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        (directory, Address::Path(path))
    }

    /// A message of this kind with the given fields, as a peer would send it.
    fn message(kind: u8, fields: &[(u8, Value)]) -> Vec<u8> {
        let mut writer = super::super::wire::Writer::default();
        writer.bytes.extend([b'l', kind, 0, 1]);
        writer.u32(0);
        writer.u32(99);
        let fields = fields
            .iter()
            .map(|(code, value)| Value::Struct(vec![Value::Byte(*code), Value::Variant(Box::new(value.clone()))]));
        writer.value(&Value::Array("(yv)".to_owned(), fields.collect()));
        writer.pad(8);
        writer.bytes
    }

    #[test]
    fn answers_are_told_from_signals_and_errors() {
        let answers = vec![
            message(4, &[(3, Value::str("JobRemoved"))]),
            message(3, &[(5, Value::U32(1)), (4, Value::str("a.b.NoSuchUnit"))]),
            message(2, &[(5, Value::U32(2))]),
        ];
        let (_directory, address) = peer("DATA\r\nOK 0123\r\n", answers);
        let mut connection = Connection::open(&[Address::Path("/nonexistent/bus".into()), address]).unwrap();
        let first = connection.send("d.d", "/", "i.i", "M", &[]).unwrap();
        let second = connection.send("d.d", "/", "i.i", "M", &[]).unwrap();
        assert!(connection.answer(second).is_ok());
        assert!(connection.answer(first).unwrap_err().is("a.b.NoSuchUnit"));
        let signal = connection.wait_for(Duration::ZERO, |message| message.kind == Kind::Signal);
        assert_eq!(signal.unwrap().member, "JobRemoved");
    }

    #[test]
    fn a_refusal_and_garbage_are_errors() {
        let (_directory, address) = peer("REJECTED EXTERNAL\r\n", vec![]);
        assert!(matches!(Connection::open(&[address]), Err(BusError::Refused(_))));
        let (_directory, address) = peer("OK 0\r\n", vec![vec![0xff; 64]]);
        let mut connection = Connection::open(&[address]).unwrap();
        let call = connection.send("d.d", "/", "i.i", "M", &[]).unwrap();
        assert!(matches!(connection.answer(call), Err(BusError::Malformed)));
    }
}

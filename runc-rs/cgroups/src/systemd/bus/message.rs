//! Messages: a header and a body of values (D-Bus specification, "Message Protocol").

use super::value::{Value, signature};
use super::wire::{Reader, Writer};

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Calls a method.
    Call,
    /// Answers a call.
    Return,
    /// Refuses a call.
    Error,
    /// Tells of an event.
    Signal,
}

/// The bytes of a header before its fields.
pub(super) const FIXED: usize = 16;
/// The most bytes that a message for us may have. What systemd says is a few hundred.
const MAX_MESSAGE: usize = 4 << 20;

/// A received message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Which of our calls it answers.
    pub reply_to: Option<u32>,
    /// The method or signal.
    pub member: String,
    /// The name of an error.
    pub error: String,
    /// Who sent it, by its unique name; empty on a connection without a bus.
    pub sender: String,
    /// The arguments.
    pub body: Vec<Value>,
}

/// A method call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) body: &'a [Value],
}

impl Call<'_> {
    /// The call's bytes.
    pub(super) fn encode(&self, serial: u32) -> Vec<u8> {
        let mut body = Writer::default();
        self.body.iter().for_each(|value| body.value(value));
        let mut writer = Writer::default();
        // Little endian, method call, no flags, version 1.
        writer.bytes.extend([b'l', 1, 0, 1]);
        writer.u32(body.bytes.len() as u32);
        writer.u32(serial);
        let field = |code: u8, value: Value| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
        let mut fields = vec![
            field(1, Value::Path(self.path.to_owned())),
            field(2, Value::str(self.interface)),
            field(3, Value::str(self.member)),
            field(6, Value::str(self.destination)),
        ];
        if !self.body.is_empty() {
            fields.push(field(8, Value::Signature(signature(self.body))));
        }
        writer.value(&Value::Array("(yv)".to_owned(), fields));
        writer.pad(8);
        writer.bytes.extend(body.bytes);
        writer.bytes
    }
}

/// The length in bytes of the whole message that begins with these [`FIXED`] bytes; `None` when they are no header, or the message is
/// too long for us.
pub(super) fn length(fixed: &[u8; FIXED]) -> Option<usize> {
    let mut reader = Reader::new(fixed.get(4..)?, big_endian(fixed[0])?);
    let body = reader.u32()? as usize;
    let _serial = reader.u32()?;
    let fields = reader.u32()? as usize;
    let length = FIXED
        .checked_add(fields)?
        .checked_next_multiple_of(8)?
        .checked_add(body)?;
    (length <= MAX_MESSAGE).then_some(length)
}

fn big_endian(mark: u8) -> Option<bool> {
    match mark {
        b'l' => Some(false),
        b'B' => Some(true),
        _ => None,
    }
}

/// Reads one whole message. `None` when it is malformed, or of a kind that is not known.
pub fn parse(bytes: &[u8]) -> Option<Message> {
    let fixed: &[u8; FIXED] = bytes.get(..FIXED)?.try_into().ok()?;
    if length(fixed)? != bytes.len() {
        return None;
    }
    let big_endian = big_endian(fixed[0])?;
    let kind = match fixed[1] {
        1 => Kind::Call,
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => return None,
    };
    let mut reader = Reader::new(bytes, big_endian);
    // The fields are an array of code and value, read with the twelve bytes before it.
    let header = reader.values("yyyyuua(yv)")?;
    reader.pad(8)?;
    let mut message = Message {
        kind,
        reply_to: None,
        member: String::new(),
        error: String::new(),
        sender: String::new(),
        body: Vec::new(),
    };
    let mut body = String::new();
    let Some(Value::Array(_, fields)) = header.into_iter().next_back() else {
        return None;
    };
    for field in fields {
        let Value::Struct(pair) = field else { return None };
        let [Value::Byte(code), Value::Variant(value)] = pair.as_slice() else {
            return None;
        };
        let text = || value.as_str().map(str::to_owned);
        match code {
            3 => message.member = text()?,
            4 => message.error = text()?,
            5 => {
                let Value::U32(serial) = **value else { return None };
                message.reply_to = Some(serial);
            }
            7 => message.sender = text()?,
            8 => body = text()?,
            _ => {}
        }
    }
    message.body = reader.values(&body)?;
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_reads_back() {
        let body = [Value::str("x.scope"), Value::str("replace")];
        let call = Call {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member: "StopUnit",
            body: &body,
        };
        let bytes = call.encode(7);
        let message = parse(&bytes).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (Kind::Call, "StopUnit"));
        assert_eq!(message.body, body);
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), None, "{end} bytes");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        proptest::proptest!(|(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200))| {
            let _ = parse(&bytes);
        });
    }

    #[test]
    fn no_change_of_a_byte_makes_it_panic() {
        let body = [Value::Array(
            "(sv)".into(),
            vec![Value::Struct(vec![
                Value::str("PIDs"),
                Value::Variant(Box::new(Value::Array("u".into(), vec![Value::U32(1)]))),
            ])],
        )];
        let call = Call {
            destination: "d.d",
            path: "/",
            interface: "i.i",
            member: "M",
            body: &body,
        };
        let good = call.encode(1);
        proptest::proptest!(|(at in 0..good.len(), value in proptest::num::u8::ANY)| {
            let mut bytes = good.clone();
            bytes[at] = value;
            let _ = parse(&bytes);
        });
    }
}

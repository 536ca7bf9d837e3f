//! The wire format of protocol buffers, as far as CRIU's messages need it.

/// A message being written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }

    /// An integer, boolean or enumeration.
    pub(crate) fn number(&mut self, field: u32, value: u64) -> &mut Self {
        self.varint(u64::from(field) << 3);
        self.varint(value);
        self
    }

    /// A signed integer (`int32`): negative ones take ten bytes.
    pub(crate) fn signed(&mut self, field: u32, value: i32) -> &mut Self {
        self.number(field, i64::from(value).cast_unsigned())
    }

    /// A boolean.
    pub(crate) fn flag(&mut self, field: u32, value: bool) -> &mut Self {
        self.number(field, u64::from(value))
    }

    /// A string or bytes.
    pub(crate) fn bytes(&mut self, field: u32, value: impl AsRef<[u8]>) -> &mut Self {
        let value = value.as_ref();
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A message within this one.
    pub(crate) fn message(&mut self, field: u32, value: &Self) -> &mut Self {
        self.bytes(field, &value.0)
    }

    /// What has been written.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// An integer, boolean or enumeration.
    Number(u64),
    /// A string, bytes or message.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// As a number; 0 when it is none.
    pub(crate) fn number(self) -> u64 {
        if let Self::Number(number) = self { number } else { 0 }
    }

    /// As a process id or an error number.
    pub(crate) fn signed(self) -> i32 {
        (self.number() & 0xffff_ffff) as u32 as i32
    }

    /// As bytes; none when it is a number.
    pub(crate) fn bytes(self) -> &'a [u8] {
        if let Self::Bytes(bytes) = self { bytes } else { &[] }
    }
}

/// Reads a message's fields in their order. `None` when it is cut off or no protocol buffer. Fixed-width fields are passed over.
pub(crate) fn fields(mut message: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        match key & 7 {
            0 => fields.push((key >> 3, Value::Number(take_varint(&mut message)?))),
            1 => drop(take(&mut message, 8)?),
            2 => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                fields.push((key >> 3, Value::Bytes(take(&mut message, length)?)));
            }
            5 => drop(take(&mut message, 4)?),
            _ => return None,
        }
    }
    Some(fields)
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(taken)
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_format_s_documentation() {
        let mut message = Writer::default();
        message.number(1, 150);
        assert_eq!(message.as_bytes(), [0x08, 0x96, 0x01]);
        let mut message = Writer::default();
        message.bytes(2, "testing");
        assert_eq!(message.as_bytes(), b"\x12\x07testing");
        let mut inner = Writer::default();
        inner.number(1, 150);
        let mut message = Writer::default();
        message.message(3, &inner);
        assert_eq!(message.as_bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
    }

    #[test]
    fn what_was_written_is_read() {
        let mut message = Writer::default();
        message.signed(2, -1).flag(3, true).bytes(40, "x").number(9, u64::MAX);
        let fields = fields(message.as_bytes()).unwrap();
        assert_eq!(fields[0].1.signed(), -1);
        assert_eq!(fields[1], (3, Value::Number(1)));
        assert_eq!(fields[2], (40, Value::Bytes(b"x")));
        assert_eq!(fields[3].1.number(), u64::MAX);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            &b"\x08"[..],
            b"\x0a\x05abc",
            b"\x0b",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(fields(bad).is_none(), "{bad:?}");
        }
        assert_eq!(
            fields(b"\x0d\x01\x02\x03\x04\x08\x01").unwrap(),
            [(1, Value::Number(1))]
        );
    }
}

//! How D-Bus values lie in bytes (D-Bus specification, "Marshaling"). We write little endian and read both.

use super::value::Value;

/// How deep values may nest: the specification allows 32 arrays and 32 structures.
const MAX_DEPTH: usize = 64;

/// Bytes of a message or of its body, which begin at a multiple of eight.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

/// The alignment of a type, by the first letter of its signature.
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'y' | b'g' | b'v') => 1,
        Some(b'n' | b'q') => 2,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 4,
    }
}

impl Writer {
    pub(super) fn pad(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.pad(N);
        self.bytes.extend(bytes);
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.put(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        // A message is far below 4 GiB: the sender checks its size.
        self.u32(text.len() as u32);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.bytes.push(signature.len() as u8);
        self.bytes.extend(signature.as_bytes());
        self.bytes.push(0);
    }

    pub(super) fn value(&mut self, value: &Value) {
        match value {
            Value::Byte(number) => self.bytes.push(*number),
            Value::Bool(flag) => self.u32(u32::from(*flag)),
            Value::I16(number) => self.put(number.to_le_bytes()),
            Value::U16(number) => self.put(number.to_le_bytes()),
            Value::I32(number) => self.put(number.to_le_bytes()),
            Value::U32(number) => self.u32(*number),
            Value::I64(number) => self.put(number.to_le_bytes()),
            Value::U64(number) => self.put(number.to_le_bytes()),
            Value::Double(number) => self.put(number.to_le_bytes()),
            Value::Str(text) | Value::Path(text) => self.text(text),
            Value::Signature(signature) => self.signature(signature),
            Value::Array(element, values) => self.array(element, values),
            Value::Struct(fields) => {
                self.pad(8);
                fields.iter().for_each(|field| self.value(field));
            }
            Value::Variant(inner) => {
                self.signature(&inner.signature());
                self.value(inner);
            }
        }
    }

    fn array(&mut self, element: &str, values: &[Value]) {
        self.u32(0);
        let length_at = self.bytes.len() - 4;
        // The padding before the first element does not count.
        self.pad(alignment(element));
        let start = self.bytes.len();
        values.iter().for_each(|value| self.value(value));
        let length = (self.bytes.len() - start) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// Reads values out of bytes that somebody else wrote. Everything is checked; `None` is "malformed".
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], big_endian: bool) -> Self {
        Self {
            bytes,
            at: 0,
            big_endian,
        }
    }

    pub(super) fn pad(&mut self, to: usize) -> Option<()> {
        let end = self.at.next_multiple_of(to);
        (end <= self.bytes.len()).then(|| self.at = end)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn array_of<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.pad(N)?;
        let mut bytes: [u8; N] = self.take(N)?.try_into().ok()?;
        if self.big_endian {
            bytes.reverse();
        }
        Some(bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array_of().map(u32::from_le_bytes)
    }

    fn text(&mut self, length: usize) -> Option<String> {
        let text = std::str::from_utf8(self.take(length)?).ok()?.to_owned();
        (self.take(1)? == [0]).then_some(text)
    }

    fn signature(&mut self) -> Option<String> {
        let length = self.take(1)?.first().copied()?;
        self.text(usize::from(length))
    }

    /// The values of a signature, one after the other.
    pub(super) fn values(&mut self, mut signature: &str) -> Option<Vec<Value>> {
        self.list(&mut signature, 0)
    }

    fn list(&mut self, signature: &mut &str, depth: usize) -> Option<Vec<Value>> {
        let mut values = Vec::new();
        while !signature.is_empty() {
            let (first, rest) = split_first(signature, depth)?;
            values.push(self.value(first, depth)?);
            *signature = rest;
        }
        Some(values)
    }

    fn value(&mut self, signature: &str, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        Some(match signature.as_bytes().first()? {
            b'y' => Value::Byte(self.take(1)?.first().copied()?),
            b'b' => Value::Bool(self.u32()? == 1),
            b'n' => Value::I16(self.array_of().map(i16::from_le_bytes)?),
            b'q' => Value::U16(self.array_of().map(u16::from_le_bytes)?),
            b'i' => Value::I32(self.array_of().map(i32::from_le_bytes)?),
            b'u' | b'h' => Value::U32(self.u32()?),
            b'x' => Value::I64(self.array_of().map(i64::from_le_bytes)?),
            b't' => Value::U64(self.array_of().map(u64::from_le_bytes)?),
            b'd' => Value::Double(self.array_of().map(f64::from_le_bytes)?),
            b's' | b'o' => {
                let length = self.u32()? as usize;
                let text = self.text(length)?;
                if signature == "o" {
                    Value::Path(text)
                } else {
                    Value::Str(text)
                }
            }
            b'g' => Value::Signature(self.signature()?),
            b'v' => {
                let inner = self.signature()?;
                let (first, rest) = split_first(&inner, depth)?;
                if !rest.is_empty() {
                    return None;
                }
                Value::Variant(Box::new(self.value(first, depth + 1)?))
            }
            b'a' => self.array(signature.get(1..)?, depth)?,
            b'(' | b'{' => {
                self.pad(8)?;
                let mut fields = signature.get(1..signature.len() - 1)?;
                Value::Struct(self.list(&mut fields, depth + 1)?)
            }
            _ => return None,
        })
    }

    fn array(&mut self, element: &str, depth: usize) -> Option<Value> {
        let length = self.u32()? as usize;
        self.pad(alignment(element))?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        let mut values = Vec::new();
        while self.at < end {
            let before = self.at;
            values.push(self.value(element, depth + 1)?);
            // An element of no bytes (an empty structure is malformed, too) would go on for ever.
            if self.at == before {
                return None;
            }
        }
        (self.at == end).then(|| Value::Array(element.to_owned(), values))
    }
}

/// Splits a signature after its first complete type.
pub(super) fn split_first(signature: &str, depth: usize) -> Option<(&str, &str)> {
    let end = complete(signature.as_bytes(), depth)?;
    Some((signature.get(..end)?, signature.get(end..)?))
}

/// The length of the first complete type.
fn complete(signature: &[u8], depth: usize) -> Option<usize> {
    if depth > MAX_DEPTH {
        return None;
    }
    match signature.first()? {
        b'a' => Some(1 + complete(signature.get(1..)?, depth + 1)?),
        open @ (b'(' | b'{') => {
            let close = if *open == b'(' { b')' } else { b'}' };
            let mut end = 1;
            while *signature.get(end)? != close {
                end += complete(signature.get(end..)?, depth + 1)?;
            }
            (end > 1).then_some(end + 1)
        }
        b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'v' | b'h' => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(values: &[Value]) -> Option<Vec<Value>> {
        let mut writer = Writer::default();
        values.iter().for_each(|value| writer.value(value));
        Reader::new(&writer.bytes, false).values(&super::super::value::signature(values))
    }

    #[test]
    fn what_is_written_is_read() {
        let values = vec![
            Value::Byte(7),
            Value::str("a text"),
            Value::Array(
                "(ss)".into(),
                vec![Value::Struct(vec![Value::str("/dev/null"), Value::str("rwm")])],
            ),
            Value::Array("(ss)".into(), vec![]),
            Value::Bool(true),
            Value::Variant(Box::new(Value::bytes(&[1, 2, 3]))),
            Value::U64(u64::MAX),
            Value::I16(-2),
            Value::Double(1.5),
            Value::Path("/x".into()),
            Value::Signature("a(sv)".into()),
        ];
        assert_eq!(round(&values), Some(values));
    }

    #[test]
    fn an_array_of_structures_is_laid_out_as_the_specification_has_it() {
        let mut writer = Writer::default();
        writer.value(&Value::Array("t".into(), vec![Value::U64(1)]));
        assert_eq!(writer.bytes, [8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn malformed_bytes_are_refused() {
        assert_eq!(Reader::new(&[255, 255, 255, 255], false).values("s"), None);
        assert_eq!(Reader::new(&[9, 0, 0, 0, 1], false).values("ay"), None);
        assert_eq!(Reader::new(&[1, b'(', 0], false).values("v"), None);
        assert_eq!(Reader::new(&[0; 8], false).values("a()"), None);
        let nested = "a".repeat(200) + "y";
        assert_eq!(Reader::new(&[0; 8], false).values(&nested), None);
    }
}

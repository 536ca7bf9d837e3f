//! Netlink attributes: an encoder for nested ones, and a reader.

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// `NLA_TYPE_MASK`.
const TYPE_MASK: u16 = 0x3fff;

/// Appends attributes to a message under construction.
#[derive(Debug, Default)]
pub(crate) struct Attrs(Vec<u8>);

impl Attrs {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Raw bytes, padded to the next multiple of four.
    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // An attribute's length field has 16 bits; nothing this crate sends comes near (the longest list is split).
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// A string with its terminating zero.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// A number in network byte order, as nftables wants all of its numbers.
    pub(crate) fn be32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A nested list.
    pub(crate) fn nest(self, kind: u16, inner: Self) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The attributes in `bytes`: kind without flags, and value. Ends at the first that is not whole.
pub(crate) fn read(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of `kind` in `bytes`.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    read(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let attrs = Attrs::new()
            .text(1, "abc")
            .nest(2, Attrs::new().be32(7, 0x0102_0304))
            .bytes(3, &[9]);
        let read: Vec<_> = read(attrs.as_bytes()).collect();
        assert_eq!(read[0], (1, &b"abc\0"[..]));
        assert_eq!(find(read[1].1, 7), Some(&[1, 2, 3, 4][..]));
        assert_eq!(read[2], (3, &[9][..]));
        assert_eq!(attrs.as_bytes().len(), 8 + 12 + 8);
    }

    #[test]
    fn torn_attributes_end_the_list() {
        assert_eq!(read(&[8, 0, 1, 0, 1, 2]).count(), 0);
        assert_eq!(read(&[3, 0, 1, 0]).count(), 0);
    }
}

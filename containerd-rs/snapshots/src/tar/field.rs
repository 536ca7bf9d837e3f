//! Numbers in headers: octal text, or the bits themselves (GNU's base 256).
//!
//! The fields are read here, and not by the `tar` crate, because there are writers that leave fields empty, which means zero.

use std::ops::Range;

pub(crate) const MODE: Range<usize> = 100..108;
pub(crate) const UID: Range<usize> = 108..116;
pub(crate) const GID: Range<usize> = 116..124;
pub(crate) const SIZE: Range<usize> = 124..136;
pub(crate) const MTIME: Range<usize> = 136..148;
pub(crate) const CHECKSUM: Range<usize> = 148..156;
pub(crate) const DEVICE_MAJOR: Range<usize> = 329..337;
pub(crate) const DEVICE_MINOR: Range<usize> = 337..345;

/// A number that may be negative (only times are). `None` when it is none, or does not fit.
pub(crate) fn signed(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 == 0 {
        return octal(field);
    }
    // The second bit is the sign, in two's complement.
    let start = if first & 0x40 == 0 {
        i128::from(first & 0x3f)
    } else {
        i128::from(first.cast_signed())
    };
    let value = rest.iter().fold(start, |value, byte| (value << 8) | i128::from(*byte));
    i64::try_from(value).ok()
}

/// A number that is none when negative.
pub(crate) fn unsigned(field: &[u8]) -> Option<u64> {
    u64::try_from(signed(field)?).ok()
}

fn octal(field: &[u8]) -> Option<i64> {
    let blank = |b: &u8| matches!(b, b' ' | 0);
    let start = field.iter().position(|b| !blank(b)).unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0i64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value.checked_mul(8)?.checked_add(i64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_all_their_forms() {
        assert_eq!(signed(b"0000644\0"), Some(0o644));
        assert_eq!(signed(b"   644 \0"), Some(0o644));
        assert_eq!(signed(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(signed(b"777777777777"), Some(0o777_777_777_777));
        assert_eq!(signed(b"\x80\0\0\0\0\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(signed(&[0xff; 12]), Some(-1));
        assert_eq!(unsigned(&[0xff; 8]), None);
        assert_eq!(unsigned(b"\x80\0\0\x01\0\0\0\0\0\0\0\0"), None);
        for bad in [&b"0008\0"[..], b"-1\0", b"0x1\0", b""] {
            assert_eq!(signed(bad), None, "{}", bad.escape_ascii());
        }
    }
}

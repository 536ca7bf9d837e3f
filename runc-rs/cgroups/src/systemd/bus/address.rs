//! Where a bus listens (D-Bus specification, "Server Addresses").

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One address that we can connect to: a unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket in the filesystem.
    Path(PathBuf),
    /// A socket in Linux' abstract namespace, without the leading zero.
    Abstract(Vec<u8>),
}

/// The unix sockets of an address list (`unix:path=/run/x,guid=..;unix:abstract=y`); other transports are left out, and so are
/// malformed entries.
pub fn parse(list: &str) -> Vec<Address> {
    list.split(';').filter_map(one).collect()
}

fn one(entry: &str) -> Option<Address> {
    let pairs = entry.strip_prefix("unix:")?;
    pairs.split(',').find_map(|pair| match pair.split_once('=')? {
        ("path", value) => Some(Address::Path(OsString::from_vec(unescape(value)?).into())),
        ("abstract", value) => unescape(value).map(Address::Abstract),
        _ => None,
    })
}

/// Undoes `%20`.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_escapes_and_other_transports() {
        let list = "tcp:host=x;unix:path=/run/user/1000/b%20s,guid=0123;unix:guid=1,abstract=/tmp/x;unix:path=%zz;";
        let expected = [
            Address::Path("/run/user/1000/b s".into()),
            Address::Abstract(b"/tmp/x".to_vec()),
        ];
        assert_eq!(parse(list), expected);
    }
}

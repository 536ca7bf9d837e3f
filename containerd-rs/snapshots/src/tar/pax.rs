//! PAX extended headers: records of `LENGTH KEY=VALUE\n`, where LENGTH counts all of it.

use containerd_rs_core::{Error, Result};

/// What the records of one member say.
#[derive(Debug, Default)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<(i64, u32)>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// A sparse file, in one of GNU's three ways.
    pub(crate) sparse: Option<PaxSparse>,
}

/// What GNU tar's records say of a sparse file (formats 0.0, 0.1 and 1.0).
#[derive(Debug, Default)]
pub(crate) struct PaxSparse {
    /// The name; `path` is one for readers that do not know.
    pub(crate) name: Option<Vec<u8>>,
    /// The size of the file with its holes.
    pub(crate) size: u64,
    /// Offsets and lengths in turn; empty in format 1.0, where they stand before the data.
    pub(crate) map: Vec<u64>,
    /// Format 1.0.
    pub(crate) in_data: bool,
}

/// The largest number of entries of a map, offsets and lengths.
pub(crate) const MAX_MAP: usize = 1 << 17;

const XATTR: &[u8] = b"SCHILY.xattr.";

fn bad(what: &str) -> Error {
    Error::InvalidArgument(format!("archive/tar: invalid tar header: PAX record: {what}"))
}

/// Reads the records. A later record of a key counts, as POSIX says.
pub(crate) fn parse(mut data: &[u8]) -> Result<Pax> {
    let mut pax = Pax::default();
    // Some writers fill up with NULs.
    while !data.is_empty() && data[0] != 0 {
        let space = data
            .iter()
            .take(20)
            .position(|b| *b == b' ')
            .ok_or_else(|| bad("no length"))?;
        let length: usize = number(&data[..space])?;
        let record = data.get(space + 1..length).ok_or_else(|| bad("length"))?;
        let (&last, record) = record.split_last().ok_or_else(|| bad("empty"))?;
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(|| bad("no ="))?;
        if last != b'\n' || equals == 0 {
            return Err(bad("form"));
        }
        pax.set(&record[..equals], &record[equals + 1..])?;
        data = &data[length..];
    }
    Ok(pax)
}

impl Pax {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            // An empty value takes back what the header says; for a name there is nothing else.
            b"path" => self.path = text(value)?,
            b"linkpath" => self.link = text(value)?,
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            _ => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    return self.sparse.get_or_insert_default().set(key, value);
                }
                if let Some(name) = key.strip_prefix(XATTR) {
                    if name.is_empty() || name.contains(&0) {
                        return Err(bad("name of an attribute"));
                    }
                    self.xattrs.retain(|(other, _)| other != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

impl PaxSparse {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"name" => self.name = text(value)?,
            b"size" | b"realsize" => self.size = number(value)?,
            b"major" => self.in_data = number::<u64>(value)? == 1,
            b"offset" | b"numbytes" => self.map.push(number(value)?),
            b"map" => self.map = value.split(|b| *b == b',').map(number).collect::<Result<_>>()?,
            _ => {}
        }
        if self.map.len() > MAX_MAP {
            Err(bad("too many pieces"))
        } else {
            Ok(())
        }
    }
}

fn text(value: &[u8]) -> Result<Option<Vec<u8>>> {
    if value.contains(&0) {
        return Err(bad("a NUL in a name"));
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

pub(crate) fn number<T: std::str::FromStr>(digits: &[u8]) -> Result<T> {
    // `parse` would take a sign too.
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let value = std::str::from_utf8(digits)
        .ok()
        .filter(|_| plain)
        .and_then(|text| text.parse().ok());
    value.ok_or_else(|| bad("a number"))
}

/// Seconds with a fraction, maybe before 1970.
fn time(value: &[u8]) -> Result<(i64, u32)> {
    let (negative, value) = value.strip_prefix(b"-").map_or((false, value), |rest| (true, rest));
    let (whole, fraction) = match value.iter().position(|b| *b == b'.') {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &b""[..]),
    };
    let seconds: i64 = number(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(bad("a time"));
    }
    let nanos = (0..9).fold(0, |nanos, i| {
        nanos * 10 + u32::from(fraction.get(i).map_or(0, |digit| digit - b'0'))
    });
    Ok(match (negative, nanos) {
        (false, nanos) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, nanos) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

/// Appends one record.
pub(crate) fn write(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // Space, equals sign and newline; then the digits of the length count too.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_go_there_and_back() {
        let mut records = Vec::new();
        let long = vec![b'n'; 90];
        for (key, value) in [
            (&b"path"[..], &long[..]),
            (b"size", b"7"),
            (b"mtime", b"-1.25"),
            (b"uid", b"4000000000"),
        ] {
            write(&mut records, key, value);
        }
        write(&mut records, b"SCHILY.xattr.user.a", b"\0=\n");
        let pax = parse(&records).unwrap();
        assert_eq!(
            (pax.path, pax.size, pax.uid),
            (Some(long), Some(7), Some(4_000_000_000))
        );
        assert_eq!(pax.mtime, Some((-2, 750_000_000)));
        assert_eq!(pax.xattrs, [(b"user.a".to_vec(), b"\0=\n".to_vec())]);
    }

    #[test]
    fn lengths_at_the_edge_of_a_digit_are_right() {
        for n in 0..300 {
            let mut records = Vec::new();
            write(&mut records, b"path", &vec![b'x'; n + 1]);
            assert_eq!(parse(&records).unwrap().path.map(|path| path.len()), Some(n + 1), "{n}");
        }
    }

    #[test]
    fn broken_records_are_refused() {
        let cases = [
            &b"x"[..],
            b"5 a=b",
            b"99 a=b\n",
            b"6 a=b\nx",
            b"0 a=b\n",
            b"10 size=-1\n",
            b"10 size=1x\n",
            b"12 path=a\0b\n",
            b"18446744073709551616 a=b\n",
            b"5 =b\n",
        ];
        for case in cases {
            assert!(parse(case).is_err(), "{}", case.escape_ascii());
        }
    }
}

//! A tar reader that trusts nothing: bounded names, checked sums, and the size of PAX before that of the header.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

/// Largest PAX or GNU extension of one member, in bytes.
const EXTENSION_LIMIT: u64 = 1024 * 1024;
/// Most members of an archive.
const MEMBER_LIMIT: u64 = 1_000_000;
/// The unit of tar.
const BLOCK: usize = 512;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file with data.
    File,
    /// A symbolic link: its target, relative to the member's directory.
    Symlink(String),
    /// A hard link: the name of another member.
    Hardlink(String),
    /// Directories and all else that has no data for us.
    Other,
}

/// One member's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// As the archive has it: hostile.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
}

/// Reads members in order. Between two headers, [`Read`] gives the data of the member.
pub(crate) struct TarReader<R> {
    source: R,
    /// Data of the present member not yet read.
    left: u64,
    /// Zeros after it.
    padding: u64,
    members: u64,
}

/// Names and size that an extension header gives to the member after it.
#[derive(Default)]
struct Extension {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

fn broken() -> io::Error {
    invalid("archive/tar: invalid tar header")
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            left: 0,
            padding: 0,
            members: 0,
        }
    }

    /// The next member; nothing at the end of the archive.
    pub(crate) fn next(&mut self) -> io::Result<Option<Member>> {
        self.skip_rest()?;
        let mut extension = Extension::default();
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            self.members += 1;
            if self.members > MEMBER_LIMIT {
                return Err(invalid("archive has too many members"));
            }
            let size = header.entry_size().map_err(|_| broken())?;
            match header.entry_type() {
                EntryType::XHeader => {
                    let bytes = self.extension(size)?;
                    read_pax(&bytes, &mut extension)?;
                }
                EntryType::XGlobalHeader => {
                    self.extension(size)?;
                }
                EntryType::GNULongName => extension.name = Some(gnu_text(&self.extension(size)?)),
                EntryType::GNULongLink => extension.link = Some(gnu_text(&self.extension(size)?)),
                kind => return self.member(&header, kind, size, extension).map(Some),
            }
        }
    }

    fn member(&mut self, header: &Header, kind: EntryType, size: u64, extension: Extension) -> io::Result<Member> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let name = extension.name.unwrap_or_else(|| text(&header.path_bytes()));
        let link = extension
            .link
            .or_else(|| header.link_name_bytes().map(|b| text(&b)))
            .unwrap_or_default();
        let size = extension.size.unwrap_or(size);
        let kind = match kind {
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Symlink => Kind::Symlink(link),
            EntryType::Link => Kind::Hardlink(link),
            EntryType::GNUSparse => return Err(invalid("archive/tar: sparse members are not supported here")),
            _ => Kind::Other,
        };
        // Only what carries data has any, whatever its header says.
        let has_data = kind == Kind::File || (kind == Kind::Other && header.entry_type() != EntryType::Directory);
        let size = if has_data { size } else { 0 };
        self.expect(size)?;
        Ok(Member { name, kind, size })
    }

    /// Sets up for the data of a member.
    fn expect(&mut self, size: u64) -> io::Result<()> {
        if size > i64::MAX as u64 {
            return Err(broken());
        }
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        Ok(())
    }

    /// Reads the data of an extension header.
    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > EXTENSION_LIMIT {
            return Err(broken());
        }
        self.expect(size)?;
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        self.skip_rest()?;
        Ok(bytes)
    }

    /// The next header block; nothing at a block of zeros or the end of the source.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut block = [0u8; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => filled += n,
            }
        }
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(at, b)| if (148..156).contains(&at) { 32 } else { u32::from(*b) })
            .sum();
        let header = Header::from_byte_slice(&block).clone();
        match header.cksum() {
            Ok(told) if told == sum => Ok(Some(blank_size_is_zero(header))),
            _ => Err(broken()),
        }
    }

    /// Drops what of the present member was not read.
    fn skip_rest(&mut self) -> io::Result<()> {
        let mut rest = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        let mut sink = [0u8; 8192];
        while rest > 0 {
            let want = usize::try_from(rest).unwrap_or(usize::MAX).min(sink.len());
            match self.source.read(&mut sink[..want])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => rest -= n as u64,
            }
        }
        Ok(())
    }

    /// Reads the source to its end, so that a checksum after the archive is looked at too.
    pub(crate) fn drain(mut self) -> io::Result<()> {
        let mut sink = [0u8; 8192];
        while self.source.read(&mut sink)? > 0 {}
        Ok(())
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        if want == 0 {
            return Ok(0);
        }
        match self.source.read(&mut out[..want])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.left -= n as u64;
                Ok(n)
            }
        }
    }
}

/// A size that its writer left blank is zero, as Go's reader has it.
fn blank_size_is_zero(mut header: Header) -> Header {
    let field = &mut header.as_mut_bytes()[124..136];
    if field.iter().all(|b| matches!(b, 0 | b' ')) {
        field[0] = b'0';
    }
    header
}

fn read_pax(bytes: &[u8], into: &mut Extension) -> io::Result<()> {
    for record in PaxExtensions::new(bytes) {
        let record = record.map_err(|_| broken())?;
        let (Ok(key), Ok(value)) = (record.key(), record.value()) else {
            continue;
        };
        match key {
            "path" => into.name = Some(value.to_owned()),
            "linkpath" => into.link = Some(value.to_owned()),
            "size" => into.size = Some(value.parse().map_err(|_| broken())?),
            key if key.starts_with("GNU.sparse.") => {
                return Err(invalid("archive/tar: sparse members are not supported here"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn gnu_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, data) in members {
            let mut header = Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *data).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut reader = TarReader::new(bytes);
        let mut all = Vec::new();
        while let Some(member) = reader.next()? {
            let mut data = Vec::new();
            reader.read_to_end(&mut data)?;
            all.push((member.name, data));
        }
        Ok(all)
    }

    #[test]
    fn reads_what_was_written_with_long_names_too() {
        let long = "d/".repeat(90) + "x";
        let got = read(&archive(&[("a", b"1"), (&long, b"22"), ("empty", b"")])).unwrap();
        assert_eq!(
            got,
            vec![
                ("a".into(), b"1".to_vec()),
                (long, b"22".to_vec()),
                ("empty".into(), vec![])
            ]
        );
    }

    #[test]
    fn broken_archives_are_errors_and_not_ends() {
        let whole = archive(&[("a", &[7; 2000])]);
        for cut in [1, 100, 511, 513, 1000, 2400] {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut flipped = whole.clone();
        flipped[3] ^= 1;
        assert_eq!(
            read(&flipped).unwrap_err().to_string(),
            "archive/tar: invalid tar header"
        );
        assert!(read(b"this is no archive, just some text that goes on and on").is_err());
    }

    /// The header says nothing, PAX says how long: a reader that believes the header sees headers inside the data.
    #[test]
    fn the_size_of_pax_counts() {
        let mut builder = tar::Builder::new(Vec::new());
        let inner = archive(&[("smuggled", b"x")]);
        builder
            .append_pax_extensions([("size", inner.len().to_string().as_bytes())])
            .unwrap();
        let mut header = Header::new_ustar();
        header.set_path("outer").unwrap();
        header.set_size(0);
        header.set_cksum();
        let mut bytes = builder.into_inner().unwrap();
        bytes.truncate(bytes.len() - 1024);
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&inner);
        bytes.extend_from_slice(&[0; 1024]);
        let got = read(&bytes).unwrap();
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].0.as_str(), got[0].1.len()), ("outer", inner.len()));
    }

    #[test]
    fn a_blank_size_is_none() {
        let mut header = Header::new_gnu();
        header.set_path("d").unwrap();
        header.set_entry_type(EntryType::Directory);
        header.set_cksum();
        let got = read(header.as_bytes()).unwrap();
        assert_eq!(got, vec![("d".to_owned(), vec![])]);
    }

    #[test]
    fn a_name_of_gigabytes_is_refused() {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(8 << 30);
        header.set_cksum();
        let mut reader = TarReader::new(io::Read::chain(&header.as_bytes()[..], io::repeat(b'a')));
        assert!(reader.next().is_err());
    }
}

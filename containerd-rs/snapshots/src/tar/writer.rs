//! Writing: PAX archives that are the same for the same files.

use std::io::{self, Write};

use tar::{EntryType, Header};

use super::entry::{Entry, Kind};
use super::pax;

/// The largest number of an octal field with seven digits.
const OCTAL_7: u64 = 0o7_777_777;
/// The largest number of an octal field with eleven digits.
const OCTAL_11: u64 = 0o77_777_777_777;

/// A writer of members.
pub(crate) struct TarWriter<W> {
    sink: W,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(sink: W) -> Self {
        TarWriter { sink }
    }

    /// Writes a member's header. Of a file, exactly `size` bytes of data must follow ([`TarWriter::data`]), then
    /// [`TarWriter::pad`].
    pub(crate) fn header(&mut self, entry: &Entry) -> io::Result<()> {
        let mut records = Vec::new();
        let mut header = Header::new_ustar();
        header.set_entry_type(match entry.kind {
            Kind::File => EntryType::Regular,
            Kind::HardLink => EntryType::Link,
            Kind::Symlink => EntryType::Symlink,
            Kind::Directory => EntryType::Directory,
            Kind::CharDevice => EntryType::Char,
            Kind::BlockDevice => EntryType::Block,
            Kind::Fifo => EntryType::Fifo,
        });
        header.set_mode(entry.mode);
        set_name(&mut header, &entry.path, &mut records);
        if matches!(entry.kind, Kind::HardLink | Kind::Symlink) {
            set_link(&mut header, &entry.link, &mut records);
        }
        let mut number = |key: &[u8], value: u64, max: u64| {
            if value > max {
                pax::write(&mut records, key, value.to_string().as_bytes());
            }
            if value > max { 0 } else { value }
        };
        header.set_uid(number(b"uid", u64::from(entry.uid), OCTAL_7));
        header.set_gid(number(b"gid", u64::from(entry.gid), OCTAL_7));
        header.set_size(number(
            b"size",
            if entry.kind == Kind::File { entry.size } else { 0 },
            OCTAL_11,
        ));
        match u64::try_from(entry.mtime.0) {
            Ok(seconds) => header.set_mtime(number(b"mtime", seconds, OCTAL_11)),
            Err(_) => pax::write(&mut records, b"mtime", entry.mtime.0.to_string().as_bytes()),
        }
        if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
            header.set_device_major(entry.device.0)?;
            header.set_device_minor(entry.device.1)?;
        }
        for (name, value) in &entry.xattrs {
            pax::write(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        if !records.is_empty() {
            self.extended(&records)?;
        }
        header.set_cksum();
        self.sink.write_all(header.as_bytes())
    }

    fn extended(&mut self, records: &[u8]) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_path("PaxHeaders.0/x")?;
        header.set_mode(0o644);
        header.set_size(records.len() as u64);
        header.set_cksum();
        self.sink.write_all(header.as_bytes())?;
        self.sink.write_all(records)?;
        self.pad(records.len() as u64)
    }

    /// Writes data of the member.
    pub(crate) fn data(&mut self, data: &[u8]) -> io::Result<()> {
        self.sink.write_all(data)
    }

    /// Fills the last block of data of a size.
    pub(crate) fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = usize::try_from(size.wrapping_neg() % 512).unwrap_or(0);
        self.sink.write_all(&[0; 512][..rest])
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.sink.write_all(&[0; 1024])?;
        Ok(self.sink)
    }
}

/// Puts a name into the header, and into a record when it does not fit or is not plain ASCII.
fn set_name(header: &mut Header, name: &[u8], records: &mut Vec<u8>) {
    let fits = name.is_ascii() && header.as_ustar_mut().is_some_and(|ustar| put(&mut ustar.name, name));
    if !fits {
        pax::write(records, b"path", name);
        if let Some(ustar) = header.as_ustar_mut() {
            put(&mut ustar.name, &ascii(name));
        }
    }
}

fn set_link(header: &mut Header, link: &[u8], records: &mut Vec<u8>) {
    let fits = link.is_ascii()
        && header
            .as_ustar_mut()
            .is_some_and(|ustar| put(&mut ustar.linkname, link));
    if !fits {
        pax::write(records, b"linkpath", link);
        if let Some(ustar) = header.as_ustar_mut() {
            put(&mut ustar.linkname, &ascii(link));
        }
    }
}

/// What readers without PAX see.
fn ascii(name: &[u8]) -> Vec<u8> {
    name.iter().filter(|b| b.is_ascii()).take(99).copied().collect()
}

fn put(field: &mut [u8], value: &[u8]) -> bool {
    let fits = value.len() <= field.len();
    if fits {
        field.fill(0);
        field[..value.len()].copy_from_slice(value);
    }
    fits
}

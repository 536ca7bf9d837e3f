//! The mounts of the calling process's namespace (`/proc/self/mountinfo`, proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount, as far as anybody here asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// What of the filesystem is mounted: `/` for all of it.
    pub(super) root: String,
    pub(super) mountpoint: PathBuf,
    pub(super) fstype: String,
}

/// All mounts, in the kernel's order.
pub(super) fn own() -> io::Result<Vec<Entry>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    Ok(table.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// `ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [TAG]... - TYPE SOURCE SUPEROPTIONS`
fn parse(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = String::from_utf8_lossy(fields.nth(3)?).into_owned();
    let mountpoint = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
    let fstype = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(Entry {
        root,
        mountpoint,
        fstype: String::from_utf8_lossy(fstype).into_owned(),
    })
}

/// Space, tab, newline and backslash are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|_| byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        text.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mountpoint_with_a_space_is_read_as_it_is() {
        let line = br"36 35 98:0 /root /mnt/a\040b\134c rw,noatime master:1 shared:2 - ext4 /dev/x rw";
        let entry = parse(line).unwrap();
        assert_eq!(entry.mountpoint, PathBuf::from("/mnt/a b\\c"));
        assert_eq!((entry.root.as_str(), entry.fstype.as_str()), ("/root", "ext4"));
        assert_eq!(parse(b""), None);
        assert_eq!(unescape(br"\9x\04"), br"\9x\04");
    }
}

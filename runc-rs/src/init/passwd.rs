//! The home directory of a user, from the container's own `/etc/passwd`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use rustix::fs::{self, CWD, Mode, OFlags};

/// How much of the file is read: the image may bring any size.
const LIMIT: u64 = 4 << 20;

/// The home directory of `uid`, `/` when the file does not say.
pub(crate) fn home(uid: u32) -> String {
    // A fifo or device in its place would block or never end.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(file) = fs::openat(CWD, c"/etc/passwd", flags, Mode::empty()).map(File::from) else {
        return "/".into();
    };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return "/".into();
    }
    find(BufReader::new(file.take(LIMIT)), uid).unwrap_or_else(|| "/".into())
}

fn find(reader: impl BufRead, uid: u32) -> Option<String> {
    for line in reader.split(b'\n') {
        let line = line.ok()?;
        let line = String::from_utf8_lossy(&line);
        let mut fields = line.trim_end_matches('\r').split(':');
        let (_, _, id, _, _, home) = (
            fields.next()?,
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
        );
        if id.and_then(|id| id.parse::<u32>().ok()) == Some(uid) {
            return home
                .filter(|home| !home.is_empty() && !home.contains('\0'))
                .map(str::to_owned);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_with_the_id_counts() {
        let file = b"root:x:0:0:root:/root:/bin/sh\nbroken\n\nnginx:x:101:101::/var/cache/nginx:/bin/false\n";
        assert_eq!(find(&file[..], 101).as_deref(), Some("/var/cache/nginx"));
        assert_eq!(find(&file[..], 0).as_deref(), Some("/root"));
        assert_eq!(find(&file[..], 5), None);
    }
}

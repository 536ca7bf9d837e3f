//! Random identifiers.

use rustix::rand::{GetRandomFlags, getrandom};

use crate::addr::MacAddr;
use crate::error::{Error, Result};

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match getrandom(&mut *rest, GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                return Err(Error::Io {
                    what: "read",
                    path: "getrandom".into(),
                    source: errno.into(),
                });
            }
        }
    }
    Ok(bytes)
}

/// A new id: 64 hex digits.
pub(crate) fn new_id() -> Result<String> {
    Ok(random::<32>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A random unicast, locally administered hardware address, beginning as Docker's do.
pub(crate) fn new_mac() -> Result<MacAddr> {
    let [a, b, c, d] = random()?;
    Ok(MacAddr([0x02, 0x42, a, b, c, d]))
}

//! CRIU's messages (`images/rpc.proto` of CRIU 3.x and 4.x).

use super::wire::{Value, Writer, fields};

/// Field numbers of `criu_opts`.
pub(crate) mod opts {
    pub(crate) const IMAGES_DIR_FD: u32 = 1;
    pub(crate) const PID: u32 = 2;
    pub(crate) const LEAVE_RUNNING: u32 = 3;
    pub(crate) const EXT_UNIX_SK: u32 = 4;
    pub(crate) const TCP_ESTABLISHED: u32 = 5;
    pub(crate) const EVASIVE_DEVICES: u32 = 6;
    pub(crate) const SHELL_JOB: u32 = 7;
    pub(crate) const FILE_LOCKS: u32 = 8;
    pub(crate) const LOG_LEVEL: u32 = 9;
    pub(crate) const LOG_FILE: u32 = 10;
    pub(crate) const PAGE_SERVER: u32 = 11;
    pub(crate) const NOTIFY_SCRIPTS: u32 = 12;
    pub(crate) const ROOT: u32 = 13;
    pub(crate) const PARENT_IMG: u32 = 14;
    pub(crate) const TRACK_MEM: u32 = 15;
    pub(crate) const AUTO_DEDUP: u32 = 16;
    pub(crate) const WORK_DIR_FD: u32 = 17;
    pub(crate) const LINK_REMAP: u32 = 18;
    pub(crate) const EXT_MNT: u32 = 23;
    pub(crate) const MANAGE_CGROUPS: u32 = 24;
    pub(crate) const CGROUP_ROOT: u32 = 25;
    pub(crate) const RST_SIBLING: u32 = 26;
    pub(crate) const INHERIT_FD: u32 = 27;
    pub(crate) const MANAGE_CGROUPS_MODE: u32 = 34;
    pub(crate) const EXTERNAL: u32 = 37;
    pub(crate) const EMPTY_NS: u32 = 38;
    pub(crate) const JOIN_NS: u32 = 39;
    pub(crate) const FREEZE_CGROUP: u32 = 44;
    pub(crate) const TCP_SKIP_IN_FLIGHT: u32 = 46;
    pub(crate) const LAZY_PAGES: u32 = 48;
    pub(crate) const ORPHAN_PTS_MASTER: u32 = 50;
    pub(crate) const CONFIG_FILE: u32 = 51;
    pub(crate) const LSM_PROFILE: u32 = 53;
    pub(crate) const LSM_MOUNT_CONTEXT: u32 = 63;
}

/// `criu_req_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

impl Kind {
    /// CRIU's name for the number of a type.
    pub(crate) fn name(number: u64) -> String {
        match number {
            0 => "EMPTY".into(),
            1 => "DUMP".into(),
            2 => "RESTORE".into(),
            4 => "PRE_DUMP".into(),
            6 => "NOTIFY".into(),
            9 => "FEATURE_CHECK".into(),
            10 => "VERSION".into(),
            other => other.to_string(),
        }
    }
}

/// `criu_req` with options.
pub(crate) fn request(kind: Kind, options: Option<&Writer>) -> Writer {
    let mut message = Writer::default();
    message.number(1, kind as u64);
    if let Some(options) = options {
        message.message(2, options);
    }
    message
}

/// `criu_req` that answers a notification.
pub(crate) fn notified(success: bool) -> Writer {
    let mut message = request(Kind::Notify, None);
    message.flag(3, success);
    message
}

/// `criu_req` that asks whether CRIU can do what is named: memory tracking, lazy pages.
pub(crate) fn feature_check(mem_track: bool, lazy_pages: bool) -> Writer {
    let mut features = Writer::default();
    if mem_track {
        features.flag(1, true);
    }
    if lazy_pages {
        features.flag(2, true);
    }
    let mut message = request(Kind::FeatureCheck, None);
    message.message(5, &features);
    message
}

/// A message of a key and a value: `ext_mount_map`, `join_namespace`, `cgroup_root`.
pub(crate) fn pair(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Writer {
    let mut message = Writer::default();
    message.bytes(1, key).bytes(2, value);
    message
}

/// `inherit_fd`.
pub(crate) fn inherit_fd(key: &str, fd: i32) -> Writer {
    let mut message = Writer::default();
    message.bytes(1, key).signed(2, fd);
    message
}

/// `criu_resp`, as far as it is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Response {
    /// `criu_req_type`.
    pub(crate) kind: u64,
    pub(crate) success: bool,
    /// `notify.script` and `notify.pid`.
    pub(crate) notify: Option<(String, i32)>,
    pub(crate) errno: i32,
    /// Memory tracking, lazy pages.
    pub(crate) features: (bool, bool),
    /// As runc counts: 31701 is 3.17.1.
    pub(crate) version: u64,
}

impl Response {
    /// `None` for what is no `criu_resp`.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let mut response = Self::default();
        for (number, value) in fields(message)? {
            match number {
                1 => response.kind = value.number(),
                2 => response.success = value.number() != 0,
                5 => response.notify = Some(notify(value)?),
                7 => response.errno = value.signed(),
                8 => {
                    for (number, value) in fields(value.bytes())? {
                        match number {
                            1 => response.features.0 = value.number() != 0,
                            2 => response.features.1 = value.number() != 0,
                            _ => {}
                        }
                    }
                }
                10 => response.version = version(value)?,
                _ => {}
            }
        }
        Some(response)
    }
}

fn notify(value: Value<'_>) -> Option<(String, i32)> {
    let mut notify = (String::new(), 0);
    for (number, value) in fields(value.bytes())? {
        match number {
            1 => notify.0 = String::from_utf8_lossy(value.bytes()).into_owned(),
            2 => notify.1 = value.signed(),
            _ => {}
        }
    }
    Some(notify)
}

fn version(value: Value<'_>) -> Option<u64> {
    let mut version = 0;
    for (number, value) in fields(value.bytes())? {
        let place = match number {
            1 => 10_000,
            2 => 100,
            4 => 1,
            _ => 0,
        };
        version += value.number().min(99) * place;
    }
    Some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_understood() {
        // What CRIU 3.17.1 says to a question for its version, and a notification.
        let mut version = Writer::default();
        version.number(1, 3).number(2, 17).bytes(3, "0").number(4, 1);
        let mut message = Writer::default();
        message.number(1, 10).flag(2, true).message(10, &version);
        let response = Response::parse(message.as_bytes()).unwrap();
        assert!(response.success);
        assert_eq!((response.kind, response.version), (10, 31_701));
        let mut message = Writer::default();
        let mut inner = Writer::default();
        inner.bytes(1, "post-restore").signed(2, 77);
        message.number(1, 6).flag(2, true).message(5, &inner);
        let response = Response::parse(message.as_bytes()).unwrap();
        assert_eq!(response.notify, Some(("post-restore".into(), 77)));
        assert!(Response::parse(b"\x0a").is_none());
    }
}

//! What `/proc/PID/stat` says of a process: whether it lives, and since when. The start time tells a process from a later one
//! that got the same number.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A process as `/proc` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessInfo {
    /// Ticks after boot at which it started (field 22).
    pub(crate) start_time: u64,
    /// It has ended: a zombie, or dead.
    pub(crate) ended: bool,
}

/// Reads it; `None` when there is no such process.
pub(crate) fn read(pid: i32) -> Option<ProcessInfo> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(stat: &str) -> Option<ProcessInfo> {
    // The name in parentheses may hold anything, also ") ": the last one ends it.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(ProcessInfo {
        start_time,
        ended: matches!(state, "Z" | "X" | "x"),
    })
}

/// A pidfd of the process that has this number and start time, when it still lives.
pub(crate) fn open(pid: i32, start_time: u64) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(pid).filter(|_| pid > 0)?, PidfdFlags::empty()).ok()?;
    // Read after opening: what is read now is the process that the descriptor stands for, or its number is free again.
    let info = read(pid)?;
    (info.start_time == start_time && !info.ended).then_some(pidfd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_does_not_confuse() {
        let stat = "12 (a) Z 1 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(
            parse(stat),
            Some(ProcessInfo {
                start_time: 4242,
                ended: false
            })
        );
    }

    #[test]
    fn this_process_lives_since_its_start() {
        let pid = std::process::id().cast_signed();
        let info = read(pid).unwrap();
        assert!(!info.ended);
        assert!(open(pid, info.start_time).is_some());
        assert!(open(pid, info.start_time + 1).is_none());
    }
}

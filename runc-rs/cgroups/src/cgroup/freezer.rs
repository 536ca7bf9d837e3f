//! Freezing, thawing, and killing with the one's help.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Cgroup;
use crate::dir::{Dir, children};
use crate::error::{Error, Result};
use crate::sys;

/// Whether a cgroup is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreezerState {
    /// Its processes run.
    Thawed,
    /// Its processes stand still (or are about to).
    Frozen,
}

/// How long processes may take to freeze: one in an uninterruptible wait delays its group.
const FREEZE_LIMIT: Duration = Duration::from_secs(5);

/// The directory and file that freeze: v1's own controller, else cgroup2.
fn place(cgroup: &Cgroup) -> Result<(&Path, bool)> {
    if let Some(v1) = cgroup.paths.get("freezer") {
        return Ok((v1, true));
    }
    let none = || Error::NoController {
        controller: "freezer".to_owned(),
    };
    cgroup.unified().map(|p| (p, false)).ok_or_else(none)
}

pub(super) fn state(cgroup: &Cgroup) -> Result<FreezerState> {
    let (path, v1) = place(cgroup)?;
    let file = if v1 { "freezer.state" } else { "cgroup.freeze" };
    let text = match Dir::open(path).and_then(|d| d.read(file)) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => return Ok(FreezerState::Thawed),
        other => other?,
    };
    match text.trim() {
        "THAWED" | "0" => Ok(FreezerState::Thawed),
        "FROZEN" | "FREEZING" | "1" => Ok(FreezerState::Frozen),
        other => Err(Error::Parse {
            path: path.join(file),
            content: other.to_owned(),
        }),
    }
}

pub(super) fn freeze(cgroup: &Cgroup) -> Result<()> {
    let (path, v1) = place(cgroup)?;
    let dir = Dir::open(path)?;
    let last = if v1 { freeze_v1(&dir)? } else { freeze_v2(&dir)? };
    match last {
        None => Ok(()),
        Some(state) => {
            thaw(cgroup)?;
            Err(Error::Freezer {
                want: "freeze",
                path: path.to_owned(),
                state,
            })
        }
    }
}

pub(super) fn thaw(cgroup: &Cgroup) -> Result<()> {
    let (path, v1) = place(cgroup)?;
    let dir = Dir::open(path)?;
    if v1 {
        dir.write("freezer.state", "THAWED")
    } else {
        dir.write("cgroup.freeze", "0")
    }
}

/// Thaws the cgroup and every cgroup beneath it.
pub(super) fn thaw_all(cgroup: &Cgroup) -> Result<()> {
    let (path, v1) = match place(cgroup) {
        Err(Error::NoController { .. }) => return Ok(()),
        place => place?,
    };
    let (file, value) = if v1 {
        ("freezer.state", "THAWED")
    } else {
        ("cgroup.freeze", "0")
    };
    let gone = |e: &Error| matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV));
    let mut open = vec![path.to_owned()];
    while let Some(directory) = open.pop() {
        match Dir::open(&directory).and_then(|d| d.write(file, value)) {
            Err(e) if gone(&e) => continue,
            other => other?,
        }
        match children(&directory) {
            Err(e) if gone(&e) => {}
            below => open.extend(below?),
        }
    }
    Ok(())
}

/// Freezes by v1; the state at the last look when it was not to be had.
///
/// A group whose processes fork all the time can stay FREEZING for ever: the new ones are frozen only at the next write. Thawing
/// for a moment now and then lets a process that waits for a frozen one get on.
fn freeze_v1(dir: &Dir) -> Result<Option<String>> {
    let start = Instant::now();
    let mut state = String::new();
    let mut round = 0_u32;
    while start.elapsed() < FREEZE_LIMIT {
        round += 1;
        if round.is_multiple_of(50) {
            dir.write("freezer.state", "THAWED")?;
            sleep(Duration::from_millis(10));
        }
        dir.write("freezer.state", "FROZEN")?;
        if round.is_multiple_of(25) {
            sleep(Duration::from_millis(1));
        }
        state = dir.read("freezer.state")?.trim().to_owned();
        if state == "FROZEN" {
            return Ok(None);
        }
        sleep(Duration::from_micros(10));
    }
    Ok(Some(state))
}

fn freeze_v2(dir: &Dir) -> Result<Option<String>> {
    dir.write("cgroup.freeze", "1")?;
    let start = Instant::now();
    let mut delay = Duration::from_micros(20);
    while start.elapsed() < FREEZE_LIMIT {
        if dir.read("cgroup.events")?.lines().any(|l| l == "frozen 1") {
            return Ok(None);
        }
        sleep(delay);
        delay = (delay * 2).min(Duration::from_millis(10));
    }
    Ok(Some("not frozen".to_owned()))
}

pub(super) fn kill(cgroup: &Cgroup, signal: i32) -> Result<()> {
    let send = || {
        cgroup
            .pids()?
            .into_iter()
            .try_for_each(|pid| signal_one(cgroup, pid, signal))
    };
    let kill = signal == libc::SIGKILL;
    // What has no freezer (one that is half made, for example) is not frozen.
    let thawed = !matches!(state(cgroup), Ok(FreezerState::Frozen));
    if kill && thawed && kill_file(cgroup)? {
        // On a hybrid host a process can be in v1 alone; and of those just killed none can fork any more.
        return send();
    }
    // Where freezing fails (no freezer, a stubborn process), the signals go out all the same.
    let frozen = thawed && freeze(cgroup).is_ok();
    let result = send();
    // A container that was paused stays so for other signals, but must run to die.
    let back = if frozen || (kill && !thawed) {
        thaw(cgroup)
    } else {
        Ok(())
    };
    match back {
        Err(e) if cgroup.exists() => result.and(Err(e)),
        _ => result,
    }
}

/// Kills by `cgroup.kill` (Linux 5.14); whether there was one. It reaches what is in cgroup2; on a hybrid host there may be more.
fn kill_file(cgroup: &Cgroup) -> Result<bool> {
    let Some(unified) = cgroup.unified() else {
        return Ok(false);
    };
    match Dir::open(unified).and_then(|d| d.write("cgroup.kill", "1")) {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP)) => Ok(false),
        Err(e) => Err(e),
    }
}

fn signal_one(cgroup: &Cgroup, pid: i32, signal: i32) -> Result<()> {
    match sys::kill(pid, signal) {
        Err(e) if e.raw_os_error() != Some(libc::ESRCH) => {
            let place = cgroup.representative().unwrap_or(Path::new("/")).join("cgroup.procs");
            Err(Error::io("kill", &place)(e))
        }
        _ => Ok(()),
    }
}

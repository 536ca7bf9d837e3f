//! The environment that the kernel handed to this program, where `/proc/PID/environ` shows it.
#![allow(unsafe_code)]

use std::ffi::CStr;

unsafe extern "C" {
    /// glibc's and musl's pointer to the first argument, as the kernel put it on the stack.
    static program_invocation_name: *const libc::c_char;
}

/// More than the kernel allows for arguments and environment together (`_STK_LIM / 4 * 3`): further apart, the two pointers are not what we think.
const LIMIT: usize = 8 << 20;

/// A stretch of memory, by its addresses: the strings of the environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Area {
    start: usize,
    end: usize,
}

/// Where the environment lies. The kernel writes, one after the other: arguments, environment, the path of the executable
/// (`create_elf_tables` and `AT_EXECFN`, getauxval(3)). Empty when a program has moved its arguments.
pub(crate) fn area() -> Area {
    // SAFETY: the C library sets the pointer before `main`; reading it copies an address. `getauxval` has no preconditions.
    let (first, end) = unsafe { (program_invocation_name, libc::getauxval(libc::AT_EXECFN) as usize) };
    let near = (first as usize) < end && end - (first as usize) < LIMIT;
    if first.is_null() || !near {
        return Area::default();
    }
    let mut start = first;
    for _ in 0..std::env::args_os().len() {
        if start as usize >= end {
            return Area::default();
        }
        // SAFETY: `start` lies between the first argument and the executable's path, a stretch of NUL-terminated strings that the
        // kernel made and that stays mapped as long as the process lives. The string ends at the latest with that path.
        start = unsafe { start.add(CStr::from_ptr(start).to_bytes().len() + 1) };
    }
    Area {
        start: start as usize,
        end: end.max(start as usize),
    }
}

impl Area {
    /// Overwrites the environment with zeroes. Only for the child of a fork that never looks at it again: `std::env` reads there.
    pub(crate) fn wipe(self) {
        if self.start == 0 {
            return;
        }
        // SAFETY: the area was found by `area` in this process's parent, of which this process is a copy; it is writable stack memory. The
        // one thread of this process keeps no reference to it: it executes a plan, and ends in `execve` with an environment of its own.
        unsafe { std::ptr::write_bytes(self.start as *mut u8, 0, self.end - self.start) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_what_proc_shows() {
        let shown = std::fs::read("/proc/self/environ").unwrap();
        let area = area();
        // SAFETY: `area` is readable stack memory, and no other test of this program writes to it.
        let found = unsafe { std::slice::from_raw_parts(area.start as *const u8, area.end - area.start) };
        assert_eq!(found, shown);
    }
}

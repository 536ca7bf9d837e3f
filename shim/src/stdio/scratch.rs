//! The one buffer.

use std::cell::RefCell;

use crate::log::PART;

thread_local! {
    static SCRATCH: RefCell<[u8; PART]> = const { RefCell::new([0; PART]) };
}

/// Lends the buffer for one step, which must not wait.
pub(super) fn with<T>(step: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut buffer) => step(buffer.as_mut_slice()),
        // Steps do not nest; if one ever should, it gets a buffer of its own.
        Err(_) => step(&mut vec![0; PART]),
    })
}

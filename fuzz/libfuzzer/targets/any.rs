//! Any of the targets, by the variable `FUZZ_TARGET`.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let known = engine_fuzz::TARGETS.iter().find(|(known, _)| *known == name);
    known.unwrap_or_else(|| panic!("FUZZ_TARGET={name:?} is none of the targets")).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));

//! Each target on its corpus and on mutants of it: `FUZZ_RUNS` of them (3000), from `FUZZ_SEED` on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;

use engine_fuzz::{Mutator, TARGETS};

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn no_input_is_a_panic() {
    let (runs, seed) = (variable("FUZZ_RUNS", 3000), variable("FUZZ_SEED", 1));
    for (name, target) in TARGETS {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut paths: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        let corpus: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
        assert!(corpus.len() > 1, "no corpus for {name}");
        for (input, path) in corpus.iter().zip(&paths) {
            println!("{}", path.display());
            target(input);
        }
        for run in 0..runs {
            let input = Mutator::new(seed.wrapping_add(run)).mutant(&corpus);
            let shown = String::from_utf8_lossy(&input).into_owned();
            let outcome = std::panic::catch_unwind(|| target(&input));
            assert!(
                outcome.is_ok(),
                "{name}, FUZZ_SEED={}: {shown:?}",
                seed.wrapping_add(run)
            );
        }
    }
}

#[test]
fn the_corpus_is_what_the_targets_read() {
    // Mutants of what is refused at once would find nothing.
    let read = |path: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(path)).unwrap();
    for path in ["config/runc.json", "config/full.json"] {
        assert!(runc_rs::fuzzing::config(&read(path)), "{path}");
    }
    for path in ["records/state.json", "records/filter"] {
        assert!(runc_rs::fuzzing::record(&read(path)), "{path}");
    }
}

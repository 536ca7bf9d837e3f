//! The leftover check itself can fail.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use engine_tests::leftovers::Snapshot;

#[test]
fn a_leftover_file_and_process_are_seen() {
    let mark = format!("leftover-check-{}", std::process::id());
    let before = Snapshot::take(&mark);
    before.assert_unchanged(Duration::ZERO);
    let path = std::env::temp_dir().join(&mark);
    std::fs::write(&path, "").unwrap();
    let mut child = std::process::Command::new("tail").arg("-f").arg(&path).spawn().unwrap();
    let seen = std::panic::catch_unwind(|| before.assert_unchanged(Duration::from_millis(200))).unwrap_err();
    let text = seen.downcast_ref::<String>().unwrap();
    assert!(text.contains("+ file ") && text.contains("+ process "), "{text}");
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_file(&path).unwrap();
    before.assert_unchanged(Duration::from_secs(1));
}

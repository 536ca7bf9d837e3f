//! The store on a real file system: resuming, verification, locks, and a disk that runs full.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use containerd_rs_content::LocalStore;
use containerd_rs_core::{BlobStore, Digest, Kind, Labels, WriterRequest};

const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn open() -> (tempfile::TempDir, LocalStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path().join("store")).unwrap();
    (dir, store)
}

fn request(reference: &str) -> WriterRequest {
    WriterRequest {
        reference: reference.into(),
        ..WriterRequest::default()
    }
}

fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path)
            } else {
                found.push(path.strip_prefix(root).unwrap().display().to_string())
            }
        }
    }
    found
}

#[test]
fn a_blob_arrives_in_parts_and_over_two_writers() {
    let (dir, store) = open();
    let mut writer = store
        .writer(&WriterRequest {
            total: 5,
            ..request("layer-1")
        })
        .unwrap();
    writer.write(b"he").unwrap();
    drop(writer);
    assert_eq!(store.status("layer-1").unwrap().offset, 2);
    assert_eq!(store.status("layer-1").unwrap().total, 5);
    let mut writer = store.writer(&request("layer-1")).unwrap();
    assert_eq!(writer.status().offset, 2);
    writer.write(b"llo").unwrap();
    let digest = writer
        .commit(5, Some(&Digest::parse(HELLO).unwrap()), &Labels::new())
        .unwrap();
    assert_eq!(digest.as_str(), HELLO);
    assert_eq!(
        files(&dir.path().join("store")),
        [format!("blobs/sha256/{}", digest.hex())]
    );
    let reader = store.reader(&digest).unwrap();
    let mut buffer = [0; 16];
    assert_eq!((reader.size(), reader.read_at(&mut buffer, 1).unwrap()), (5, 4));
    assert_eq!(&buffer[..4], b"ello");
    assert!(store.statuses().unwrap().is_empty());
}

#[test]
fn a_wrong_digest_or_size_makes_no_blob() {
    let (_dir, store) = open();
    let mut writer = store.writer(&request("r")).unwrap();
    writer.write(b"hullo").unwrap();
    let error = writer
        .commit(0, Some(&Digest::parse(HELLO).unwrap()), &Labels::new())
        .unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert!(
        error.to_string().starts_with("unexpected commit digest sha256:"),
        "{error}"
    );
    let writer = store.writer(&request("r")).unwrap();
    let error = writer.commit(9, None, &Labels::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unexpected commit size 5, expected 9: failed precondition"
    );
    let mut count = 0;
    store
        .walk(&mut |_| {
            count += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(count, 0);
    store.abort("r").unwrap();
    assert_eq!(store.status("r").unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn one_writer_has_a_ref() {
    let (_dir, store) = open();
    let first = store.writer(&request("r")).unwrap();
    let error = store.writer(&request("r")).err().unwrap();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().starts_with("ref r locked"), "{error}");
    drop(first);
    store.writer(&request("r")).unwrap();
}

#[test]
fn an_ingest_can_be_aborted_under_its_writer() {
    let (_dir, store) = open();
    let mut writer = store.writer(&request("r")).unwrap();
    store.abort("r").unwrap();
    writer.write(b"hello").unwrap();
    assert!(writer.commit(0, None, &Labels::new()).is_err());
    assert!(store.statuses().unwrap().is_empty());
    assert_eq!(store.abort("r").unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_present_blob_is_told() {
    let (_dir, store) = open();
    for round in 0..2 {
        let mut writer = store.writer(&request("r")).unwrap();
        writer.write(b"hello").unwrap();
        let done = writer.commit(0, None, &Labels::new());
        assert_eq!(done.is_err(), round == 1);
    }
    assert!(store.statuses().unwrap().is_empty());
    let expected = Some(Digest::parse(HELLO).unwrap());
    let error = store
        .writer(&WriterRequest {
            expected,
            ..request("x")
        })
        .err()
        .unwrap();
    assert_eq!(error.to_string(), format!("content {HELLO}: already exists"));
}

#[test]
fn a_broken_ingest_starts_anew() {
    let (dir, store) = open();
    let mut writer = store.writer(&request("r")).unwrap();
    writer.write(b"he").unwrap();
    drop(writer);
    let ingest = fs::read_dir(dir.path().join("store/ingest"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::write(ingest.join("startedat"), "garbage").unwrap();
    assert_eq!(store.writer(&request("r")).unwrap().status().offset, 0);
}

#[test]
fn a_full_disk_leaves_nothing_half() {
    let dir = tempfile::tempdir().unwrap();
    let mount = |args: &[&str]| {
        assert!(
            Command::new(args[0])
                .args(&args[1..])
                .arg(dir.path())
                .status()
                .unwrap()
                .success()
        );
    };
    mount(&["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs"]);
    let store = LocalStore::open(dir.path().join("store")).unwrap();
    let mut writer = store.writer(&request("big")).unwrap();
    let chunk = [7; 100 << 10];
    let error = (0..4).find_map(|_| writer.write(&chunk).err());
    let told = error.as_ref().map(containerd_rs_core::Error::kind);
    let offset = writer.status().offset;
    drop(writer);
    let resumed = store.writer(&request("big")).map(|writer| writer.status().offset);
    let aborted = store.abort("big");
    drop(store);
    mount(&["umount"]);
    assert_eq!(told, Some(Kind::ResourceExhausted));
    assert_eq!(resumed.unwrap(), offset);
    aborted.unwrap();
}

//! What GNU tar writes is unpacked as GNU tar unpacks it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;

use common::{bind, furnish, run, same};
use containerd_rs_snapshots::unpack_stream;
use sha2::Digest as _;

fn compare(flags: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["source", "theirs", "ours"] {
        fs::create_dir(path(name)).unwrap();
    }
    furnish(&path("source"));
    let archive = path("a.tar");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let mut args = flags.to_vec();
    let (source, file, theirs) = (text(&path("source")), text(&archive), text(&path("theirs")));
    args.extend(["-cf", &file, "-C", &source, "."]);
    run("tar", &args);
    let xattrs = ["--xattrs", "--xattrs-include=*"];
    run(
        "tar",
        &[
            "-xpf",
            &file,
            "--same-owner",
            "--numeric-owner",
            xattrs[0],
            xattrs[1],
            "-C",
            &theirs,
        ],
    );
    let done = unpack_stream(File::open(&archive).unwrap(), &bind(&path("ours"))).unwrap();
    same(&path("theirs"), &path("ours"));
    let bytes = fs::read(&archive).unwrap();
    let hash: [u8; 32] = sha2::Sha256::digest(&bytes).into();
    assert_eq!(done.diff_id, containerd_rs_core::Digest::from_sha256(&hash));
    assert_eq!((done.size, &done.digest), (bytes.len() as u64, &done.diff_id));
}

#[test]
fn pax() {
    compare(&["--format=pax", "--numeric-owner", "--xattrs", "--xattrs-include=*"]);
}

#[test]
fn gnu() {
    compare(&["--format=gnu", "--numeric-owner"]);
}

#[test]
fn sparse() {
    let formats = [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=1.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=0.0"],
    ];
    formats.iter().for_each(|flags| holes(flags));
}

fn holes(flags: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["source", "ours"] {
        fs::create_dir(path(name)).unwrap();
    }
    let mut file = File::create(path("source/holes")).unwrap();
    for n in 0..60u64 {
        use std::io::{Seek as _, SeekFrom};
        file.seek(SeekFrom::Start(n * 1_000_000)).unwrap();
        file.write_all(format!("piece {n}").as_bytes()).unwrap();
    }
    file.set_len(100_000_000).unwrap();
    fs::write(path("source/next"), "behind the holes").unwrap();
    let (archive, source) = (path("a.tar"), path("source"));
    let rest = [
        "-S",
        "-cf",
        archive.to_str().unwrap(),
        "-C",
        source.to_str().unwrap(),
        ".",
    ];
    run("tar", &[flags, &rest].concat());
    assert!(fs::metadata(&archive).unwrap().len() < 10_000_000);
    unpack_stream(File::open(&archive).unwrap(), &bind(&path("ours"))).unwrap();
    same(&source, &path("ours"));
}

#[test]
fn compressed() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("source")).unwrap();
    furnish(&path("source"));
    let (archive, source) = (path("a.tar"), path("source"));
    let create = ["--format=pax", "--numeric-owner", "--xattrs", "--xattrs-include=*"];
    run(
        "tar",
        &[
            &create[..],
            &["-cf", archive.to_str().unwrap(), "-C", source.to_str().unwrap(), "."],
        ]
        .concat(),
    );
    let plain = fs::read(&archive).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain[..10_000]).unwrap();
    let mut gzip = gzip.finish().unwrap();
    // Several members one after the other are one stream, as pigz and stargz write them.
    let mut second = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    second.write_all(&plain[10_000..]).unwrap();
    gzip.extend(second.finish().unwrap());
    let zstd = zstd::encode_all(&plain[..], 3).unwrap();
    let mut ids = Vec::new();
    for (name, bytes) in [("gzip", &gzip), ("zstd", &zstd), ("plain", &plain)] {
        fs::create_dir(path(name)).unwrap();
        let done = unpack_stream(&bytes[..], &bind(&path(name))).unwrap();
        same(&source, &path(name));
        assert_eq!((done.size, done.plain_size), (bytes.len() as u64, plain.len() as u64));
        ids.push(done.diff_id);
    }
    assert!(ids.windows(2).all(|two| two[0] == two[1]));
    let mut rest = Vec::new();
    File::open(&archive).unwrap().read_to_end(&mut rest).unwrap();
    assert_eq!(rest, plain);
}

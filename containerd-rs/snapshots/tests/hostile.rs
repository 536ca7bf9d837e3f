//! Layers that want out, in or over: each must fail or stay inside, with bounded memory, and harm nothing beside the root.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use containerd_rs_core::{Kind, Mount, Result};
use containerd_rs_snapshots::{Unpacked, unpack_stream};
use tar::{EntryType, Header};

/// A root to unpack into, beside a directory that must not change.
struct Arena {
    dir: tempfile::TempDir,
}

impl Arena {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        fs::set_permissions(dir.path().join("outside/secret"), fs::Permissions::from_mode(0o600)).unwrap();
        Arena { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    fn unpack(&self, layer: &[u8]) -> Result<Unpacked> {
        unpack_stream(layer, &bind(&self.root()))
    }

    /// Nothing beside the root was made, changed or removed.
    fn check(&self) {
        let names: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 2, "{names:?}");
        let names: Vec<_> = fs::read_dir(self.outside())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["secret"]);
        let secret = self.outside().join("secret");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
        let meta = fs::metadata(&secret).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.nlink(), meta.uid()), (0o600, 1, 0));
    }
}

fn bind(dir: &Path) -> Vec<Mount> {
    let options = vec!["rw".to_owned(), "rbind".to_owned()];
    vec![Mount {
        kind: "bind".into(),
        source: dir.display().to_string(),
        target: String::new(),
        options,
    }]
}

/// One member with any name, also such as no honest writer makes.
fn member(kind: EntryType, name: &str, link: &str, data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o4777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(data.len() as u64);
    header.set_device_major(1).unwrap();
    header.set_device_minor(3).unwrap();
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, data: &[u8]) -> Vec<u8> {
    member(EntryType::Regular, name, "", data)
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (1..)
            .map(|digits| rest + digits)
            .find(|n| n.to_string().len() + rest == *n)
            .unwrap();
        writeln!(data, "{length} {key}={value}").unwrap();
    }
    member(EntryType::XHeader, "x", "", &data)
}

fn layer(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

fn refused(layer: &[u8]) -> String {
    let arena = Arena::new();
    let error = arena.unpack(layer).unwrap_err();
    arena.check();
    assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
    error.to_string()
}

#[test]
fn an_absolute_name_is_the_roots() {
    let arena = Arena::new();
    arena.unpack(&layer(&[file("/etc/absolute", b"x")])).unwrap();
    assert_eq!(fs::read(arena.root().join("etc/absolute")).unwrap(), b"x");
    assert!(!Path::new("/etc/absolute").exists());
    arena.check();
}

#[test]
fn dotdot_out_of_the_root_is_refused() {
    for name in [
        "../outside/new",
        "a/../../outside/secret",
        "/../outside/secret",
        "..",
        "./..",
    ] {
        let text = refused(&layer(&[file(name, b"x")]));
        assert!(text.contains("is outside of the root"), "{text}");
    }
}

#[test]
fn a_link_out_is_not_written_through() {
    let arena = Arena::new();
    let outside = arena.outside().display().to_string();
    for target in [outside.as_str(), "../outside", "/proc/self/cwd", "/proc/self/root"] {
        let done = arena.unpack(&layer(&[
            member(EntryType::Symlink, "out", target, b""),
            file("out/secret", b"x"),
        ]));
        arena.check();
        // Inside the root the target is nowhere, or it is made there.
        if let Err(error) = done {
            assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
        }
    }
}

#[test]
fn an_absolute_link_stays_within_the_root() {
    let arena = Arena::new();
    let members = [
        member(EntryType::Directory, "usr/lib/", "", b""),
        member(EntryType::Symlink, "lib", "/usr/lib", b""),
        file("lib/x", b"x"),
    ];
    arena.unpack(&layer(&members)).unwrap();
    assert_eq!(fs::read(arena.root().join("usr/lib/x")).unwrap(), b"x");
    assert!(fs::symlink_metadata(arena.root().join("lib")).unwrap().is_symlink());
}

#[test]
fn a_file_replaces_a_link_and_not_its_target() {
    let arena = Arena::new();
    let secret = arena.outside().join("secret").display().to_string();
    let link = member(EntryType::Symlink, "l", &secret, b"");
    arena.unpack(&layer(&[link.clone(), file("l", b"mine")])).unwrap();
    assert_eq!(fs::read(arena.root().join("l")).unwrap(), b"mine");
    arena
        .unpack(&layer(&[link.clone(), member(EntryType::Directory, "l", "", b"")]))
        .unwrap();
    assert!(fs::symlink_metadata(arena.root().join("l")).unwrap().is_dir());
    arena
        .unpack(&layer(&[link, member(EntryType::Fifo, "l", "", b"")]))
        .unwrap();
    assert!(
        fs::symlink_metadata(arena.root().join("l"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    arena.check();
}

/// RUSTSEC-2026-0067: a directory entry over a link changed the mode of what the link names.
#[test]
fn chmod_does_not_follow_a_link() {
    let arena = Arena::new();
    let outside = arena.outside().display().to_string();
    let before = fs::metadata(arena.outside()).unwrap().mode();
    let members = [
        member(EntryType::Symlink, "d", &outside, b""),
        member(EntryType::Directory, "d", "", b""),
        file("d/x", b"x"),
    ];
    arena.unpack(&layer(&members)).unwrap();
    assert_eq!(fs::metadata(arena.outside()).unwrap().mode(), before);
    arena.check();
}

#[test]
fn hard_links_reach_nothing_outside() {
    let arena = Arena::new();
    let secret = arena.outside().join("secret").display().to_string();
    for target in ["../outside/secret", &secret] {
        arena
            .unpack(&layer(&[member(EntryType::Link, "h", target, b"")]))
            .unwrap_err();
        arena.check();
    }
    // Through a link, too.
    let outside = arena.outside().display().to_string();
    let members = [
        member(EntryType::Symlink, "out", &outside, b""),
        member(EntryType::Link, "h", "out/secret", b""),
    ];
    arena.unpack(&layer(&members)).unwrap_err();
    arena.check();
    // A link to a link is one: its target is not touched, nor is it by what is written to the name afterwards.
    let members = [
        member(EntryType::Symlink, "s", &secret, b""),
        member(EntryType::Link, "h", "s", b""),
        file("h", b"overwritten"),
    ];
    arena.unpack(&layer(&members)).unwrap();
    arena.check();
    let text = refused(&layer(&[member(EntryType::Link, "h", "../x", b"")]));
    assert!(text.contains("invalid hardlink \"h\" -> \"../x\""), "{text}");
}

#[test]
fn a_hard_link_to_itself_keeps_the_file() {
    let arena = Arena::new();
    let members = [
        file("a", b"x"),
        member(EntryType::Link, "a", "a", b""),
        member(EntryType::Link, "b", "a", b""),
    ];
    arena
        .unpack(&layer(&[members.concat(), member(EntryType::Link, "b", "a", b"")]))
        .unwrap();
    assert_eq!(fs::read(arena.root().join("a")).unwrap(), b"x");
    assert_eq!(fs::metadata(arena.root().join("b")).unwrap().nlink(), 2);
}

#[test]
fn whiteouts_remove_nothing_outside() {
    for name in [".wh...", ".wh..", ".wh.", "a/.wh..."] {
        let text = refused(&layer(&[member(EntryType::Directory, "a", "", b""), file(name, b"")]));
        assert!(text.contains("invalid whiteout name"), "{text}");
    }
    let arena = Arena::new();
    let outside = arena.outside().display().to_string();
    let link = member(EntryType::Symlink, "out", &outside, b"");
    let _ = arena.unpack(&layer(&[link.clone(), file("out/.wh.secret", b"")]));
    arena.check();
    let _ = arena.unpack(&layer(&[link.clone(), file("out/.wh..wh..opq", b"")]));
    arena.check();
    arena.unpack(&layer(&[file(".wh.out", b"")])).unwrap();
    arena.check();
    assert!(fs::symlink_metadata(arena.root().join("out")).is_err());
}

#[test]
fn whiteouts_take_away_what_was_there_before() {
    let arena = Arena::new();
    arena
        .unpack(&layer(&[
            file("d/a", b"1"),
            file("d/b", b"1"),
            file("d/deep/er/c", b"1"),
            file("e", b"1"),
        ]))
        .unwrap();
    arena
        .unpack(&layer(&[
            file("d/new", b"2"),
            file("d/.wh..wh..opq", b""),
            file(".wh.e", b""),
            file("f", b"2"),
        ]))
        .unwrap();
    let names: Vec<_> = fs::read_dir(arena.root().join("d"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["new"]);
    assert!(!arena.root().join("e").exists() && arena.root().join("f").exists());
}

#[test]
fn devices_are_made_and_not_opened() {
    let arena = Arena::new();
    arena
        .unpack(&layer(&[
            member(EntryType::Char, "null", "", b""),
            file("null", b"into a device?"),
        ]))
        .unwrap();
    assert_eq!(fs::read(arena.root().join("null")).unwrap(), b"into a device?");
    arena
        .unpack(&layer(&[member(EntryType::Char, "dev/null", "", b"")]))
        .unwrap();
    let meta = fs::metadata(arena.root().join("dev/null")).unwrap();
    assert!(meta.file_type().is_char_device());
    assert_eq!((meta.rdev(), meta.mode() & 0o7777), (0x103, 0o4777));
}

/// RUSTSEC-2026-0068 and "TARmageddon": the size in the PAX header counts, for the file and for what comes next.
#[test]
fn the_size_of_the_pax_header_counts() {
    let arena = Arena::new();
    let hidden = file("hidden", b"smuggled");
    let mut inner = member(EntryType::Regular, "outer", "", b"");
    inner.extend_from_slice(&hidden);
    let bytes = layer(&[pax(&[("size", &hidden.len().to_string())]), inner, file("after", b"")]);
    arena.unpack(&bytes).unwrap();
    assert_eq!(fs::read(arena.root().join("outer")).unwrap(), hidden);
    assert!(!arena.root().join("hidden").exists() && arena.root().join("after").exists());
}

#[test]
fn a_pax_size_beyond_the_archive_is_the_end_of_it() {
    let text = refused(&layer(&[pax(&[("size", "1000000000000")]), file("a", b"x")]));
    assert!(text.contains("unexpected EOF"), "{text}");
}

#[test]
fn names_of_pax_headers_are_checked_as_others_are() {
    refused(&layer(&[pax(&[("path", "../outside/new")]), file("innocent", b"x")]));
    refused(&layer(&[
        pax(&[("linkpath", "../outside/secret")]),
        member(EntryType::Link, "h", "innocent", b""),
    ]));
    refused(&layer(&[pax(&[("uid", "4294967296")]), file("a", b"x")]));
}

#[test]
fn attributes_that_steer_the_kernel_are_dropped() {
    let arena = Arena::new();
    let records = [
        ("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
        ("SCHILY.xattr.trusted.overlay.opaque", "y"),
        ("SCHILY.xattr.user.overlay.opaque", "y"),
        ("SCHILY.xattr.user.kept", "yes"),
    ];
    arena
        .unpack(&layer(&[pax(&records), member(EntryType::Directory, "d", "", b"")]))
        .unwrap();
    let mut list = vec![0; 1024];
    let n = rustix::fs::listxattr(arena.root().join("d"), &mut list).unwrap();
    assert_eq!(&list[..n], b"user.kept\0");
}

#[test]
fn garbage_and_broken_ends_are_told() {
    refused(&[b'x'; 2048]);
    refused(&[0x1f, 0x8b, 8, 0, 1, 2, 3]);
    let good = layer(&[file("a", &[7; 4000])]);
    for cut in [100, 512, 600, 4500] {
        let text = refused(&good[..cut]);
        assert!(text.contains("EOF") || text.contains("header"), "{cut}: {text}");
    }
    let mut broken = good.clone();
    broken[3] ^= 1;
    assert!(refused(&broken).contains("invalid tar header"));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&good).unwrap();
    let packed = packed.finish().unwrap();
    refused(&packed[..packed.len() - 10]);
    let mut wrong = packed.clone();
    let at = wrong.len() - 6;
    wrong[at] ^= 1;
    refused(&wrong);
    Arena::new().unpack(&packed).unwrap();
}

#[test]
fn other_kinds_of_members_are_refused() {
    assert!(refused(&layer(&[member(EntryType::new(b'Z'), "z", "", b"")])).contains("unhandled tar header type"));
}

#[test]
fn a_parent_that_is_a_file_is_told() {
    let text = refused(&layer(&[file("a", b"x"), file("a/b", b"x")]));
    assert!(text.contains("not a directory"), "{text}");
}

#[test]
fn deep_trees_come_and_go() {
    let arena = Arena::new();
    let name = "d/".repeat(1500) + "f";
    arena
        .unpack(&layer(&[pax(&[("path", &name)]), file("x", b"x")]))
        .unwrap();
    arena.unpack(&layer(&[file(".wh.d", b"")])).unwrap();
    assert_eq!(fs::read_dir(arena.root()).unwrap().count(), 0);
}

/// Gives zeros after a beginning, without having them.
struct Zeros<'a> {
    first: &'a [u8],
    left: u64,
}

impl Read for Zeros<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if !self.first.is_empty() {
            return self.first.read(buf);
        }
        let n = buf.len().min(usize::try_from(self.left).unwrap());
        buf[..n].fill(0);
        self.left -= n as u64;
        Ok(n)
    }
}

/// The highest memory use of this process, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A gigabyte of zeros in a megabyte of gzip, behind the end of the archive: it is read for the digest, and kept nowhere.
#[test]
fn a_bomb_occupies_no_memory() {
    let end = layer(&[file("a", b"x")]);
    let zeros = Zeros {
        first: &end,
        left: 1 << 30,
    };
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(zeros, flate2::Compression::fast())
        .read_to_end(&mut packed)
        .unwrap();
    let before = peak();
    let done = Arena::new().unpack(&packed).unwrap();
    assert_eq!(done.plain_size, (1 << 30) + end.len() as u64);
    assert!(peak() - before < 64 << 10, "{} KiB more", peak() - before);
}

#[test]
fn headers_about_headers_are_bounded() {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    header.set_size(1 << 40);
    header.set_mode(0o600);
    header.set_cksum();
    assert!(refused(header.as_bytes()).contains("too large"));
}

/// CVE-2025-47290: while a layer is unpacked, somebody puts a link in the place of one of its directories, again and again.
#[test]
fn a_directory_that_becomes_a_link_meanwhile_leads_nowhere() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use std::sync::atomic::{AtomicBool, Ordering};

    let arena = Arena::new();
    let (dir, link) = (arena.root().join("d"), arena.root().join("link"));
    fs::create_dir(&dir).unwrap();
    std::os::unix::fs::symlink(arena.outside(), &link).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, &dir, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for round in 0..300 {
            // Names with further directories are resolved anew each time.
            let members: Vec<_> = (0..4).map(|n| file(&format!("d/{round}-{n}/f"), b"x")).collect();
            let whiteout = file("d/.wh.secret", b"");
            let over = file("d/secret", b"overwritten");
            // Where the link was met, that is no directory of the archive; the error is none of this test's.
            let _ = arena.unpack(&layer(&[members.concat(), whiteout, over]));
        }
        done.store(true, Ordering::Relaxed);
    });
    arena.check();
}

/// A change to an archive: bytes of one block, and whether its checksum is put right again.
type Mutation = (usize, usize, Vec<u8>, bool);

fn mutate(archive: &mut [u8], (block, at, bytes, mend): &Mutation) {
    let start = (block % (archive.len() / 512)) * 512;
    let block = &mut archive[start..start + 512];
    let at = at % 512;
    let n = bytes.len().min(512 - at);
    block[at..at + n].copy_from_slice(&bytes[..n]);
    if *mend {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

fn interesting() -> Vec<u8> {
    layer(&[
        member(EntryType::Directory, "d/", "", b""),
        file("d/f", &[1; 700]),
        member(EntryType::Symlink, "out", "../outside", b""),
        member(EntryType::Symlink, "in", "d", b""),
        file("in/x", b"x"),
        member(EntryType::Link, "h", "d/f", b""),
        pax(&[
            ("path", "d/pax"),
            ("size", "3"),
            ("SCHILY.xattr.user.a", "b"),
            ("mtime", "1.5"),
        ]),
        file("short", b"abc"),
        file("d/.wh.f", b""),
        file("d/.wh..wh..opq", b""),
        member(EntryType::GNULongName, "././@LongLink", "", b"d/long"),
        file("l", b"l"),
        member(EntryType::Char, "c", "", b""),
    ])
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Whatever the bytes: no panic, and nothing outside is touched.
    #[test]
    fn mutated_archives_stay_inside(
        mutations in proptest::collection::vec((
            proptest::prelude::any::<usize>(),
            proptest::prop_oneof![0usize..157, 157..512usize],
            proptest::prop_oneof![
                proptest::collection::vec(proptest::prelude::any::<u8>(), 1..8),
                proptest::sample::select(vec![b"../".to_vec(), b"/".to_vec(), b"out/secret\0".to_vec(), b"0".to_vec(),
                    b"1".to_vec(), b"2".to_vec(), b"5".to_vec(), b"x".to_vec(), b"L".to_vec(), b"S".to_vec(), b"77777777".to_vec()]),
            ],
            proptest::bool::weighted(0.9),
        ), 1..6),
        cut in proptest::option::weighted(0.1, 0usize..8000),
    ) {
        let mut archive = interesting();
        for mutation in &mutations {
            mutate(&mut archive, mutation);
        }
        archive.truncate(cut.unwrap_or(usize::MAX));
        let arena = Arena::new();
        let _ = arena.unpack(&archive);
        arena.check();
    }
}

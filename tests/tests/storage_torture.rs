//! Writers that are killed at any moment: what was told durable is there, and nothing contradicts itself.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use containerd_rs_content::LocalStore;
use containerd_rs_core::{
    BlobStore as _, ContentManager as _, ContentProvider as _, Ctx, Descriptor, Image, ImageStore as _, Ingester as _,
    Labels, LeaseStore as _, SnapshotInfo, Snapshotter as _, Timestamp, WriterRequest,
};
use containerd_rs_metadata::Metadata;
use containerd_rs_snapshots::OverlayStore;

/// Tells the child where to write.
const PLACE: &str = "STORAGE_TORTURE";

fn open(root: &Path) -> Metadata {
    let blobs = LocalStore::open(root.join("content")).unwrap();
    let layers = OverlayStore::open(root.join("overlay")).unwrap();
    Metadata::open(&root.join("meta.redb"), Arc::new(blobs), vec![Arc::new(layers)]).unwrap()
}

/// Writes without end, four threads at a time, and tells each image that is durable.
fn write_for_ever(root: &Path) {
    let metadata = open(root);
    let round = Timestamp::now().as_nanos();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let metadata = &metadata;
            scope.spawn(move || {
                for n in 0.. {
                    step(metadata, &format!("{round}-{thread}-{n}"));
                    if n % 7 == 6 {
                        metadata.collect().unwrap();
                    }
                }
            });
        }
    });
}

/// One pull in small: a lease, a blob, a layer on the one before, an image; and now and then something goes again.
fn step(metadata: &Metadata, name: &str) {
    let plain = Ctx::new("torture").unwrap();
    metadata.leases().create(&plain, name, &Labels::new()).unwrap();
    let ctx = plain.clone().with_lease(Some(name.to_owned()));
    let overlay = metadata.snapshotter("overlayfs").unwrap();
    let none = Labels::new();
    overlay.prepare(&ctx, &format!("{name}-active"), "", &none).unwrap();
    let base = format!("{name}-base");
    overlay.commit(&ctx, &base, &format!("{name}-active"), &none).unwrap();
    overlay.prepare(&ctx, &format!("{name}-own"), &base, &none).unwrap();
    // Relaxed, and yet no kill may take it back.
    println!("+{name}-own");
    let request = WriterRequest {
        reference: name.to_owned(),
        ..WriterRequest::default()
    };
    let mut writer = metadata.content().writer(&ctx, &request).unwrap();
    writer.write(name.as_bytes()).unwrap();
    let labels = Labels::from([("containerd.io/gc.ref.snapshot.overlayfs".to_owned(), base)]);
    let digest = writer.commit(name.len() as u64, None, &labels).unwrap();
    let target = Descriptor {
        media_type: "m".into(),
        digest,
        size: name.len() as u64,
        annotations: Labels::new(),
    };
    let at = Timestamp::default();
    let image = Image {
        name: name.to_owned(),
        labels: Labels::new(),
        target,
        created_at: at,
        updated_at: at,
    };
    metadata.images().create(&ctx, image).unwrap();
    println!("+{name}");
    if name.ends_with('3') {
        // Told before: whether it is there when we are killed now is open.
        println!("-{name}");
        std::io::stdout().flush().unwrap();
        metadata.images().delete(&plain, name, None).unwrap();
    }
    println!("-{name}-own");
    metadata.leases().delete(&plain, name).unwrap();
}

/// In the child this is the writer; in the test run it has nothing to do.
#[test]
fn the_writer() {
    if let Some(place) = std::env::var_os(PLACE) {
        write_for_ever(Path::new(&place));
    }
}

/// What must hold after every crash.
fn check(root: &Path, certain: &BTreeSet<String>) {
    let ctx = Ctx::new("torture").unwrap();
    let metadata = open(root);
    let images = metadata.images().list(&ctx, &[]).unwrap();
    let mut names: BTreeSet<_> = images.iter().map(|image| image.name.clone()).collect();
    let overlay = metadata.snapshotter("overlayfs").unwrap();
    overlay
        .walk(&ctx, &[], &mut |info| {
            names.insert(info.name);
            Ok(())
        })
        .unwrap();
    let lost: Vec<_> = certain.difference(&names).collect();
    assert!(lost.is_empty(), "told, and lost: {lost:?}");
    consistent(root, &metadata, &ctx, &images);
    metadata.collect().unwrap();
    metadata.sync().unwrap();
    consistent(root, &metadata, &ctx, &images);

    // After a collection the disk has what the database has, and no more.
    let mut rows = BTreeSet::new();
    metadata
        .content()
        .walk(&ctx, &[], &mut |info| {
            rows.insert(info.digest);
            Ok(())
        })
        .unwrap();
    let mut there = BTreeSet::new();
    let blobs = LocalStore::open(root.join("content")).unwrap();
    blobs
        .walk(&mut |info| {
            there.insert(info.digest);
            Ok(())
        })
        .unwrap();
    assert_eq!(rows, there);
}

/// Every name leads to something whole.
fn consistent(root: &Path, metadata: &Metadata, ctx: &Ctx, images: &[Image]) {
    for image in images {
        let mut data = vec![0; 100];
        let reader = metadata.content().reader(ctx, &image.target.digest).unwrap();
        let n = reader.read_at(&mut data, 0).unwrap();
        assert_eq!(&data[..n], image.name.as_bytes());
    }
    let overlay = metadata.snapshotter("overlayfs").unwrap();
    let mut found: BTreeMap<String, SnapshotInfo> = BTreeMap::new();
    overlay
        .walk(ctx, &[], &mut |info| {
            found.insert(info.name.clone(), info);
            Ok(())
        })
        .unwrap();
    for info in found.values() {
        assert!(
            info.parent.is_empty() || found.contains_key(&info.parent),
            "{info:?} without a parent"
        );
        // Its directory is there, and its parents' too: the usage of a committed one is not measured.
        if info.kind == containerd_rs_core::SnapshotKind::Active {
            overlay.usage(ctx, &info.name).unwrap();
            for mount in overlay.mounts(ctx, &info.name).unwrap() {
                for dir in mount.options.iter().filter_map(|option| option.split_once("dir=")) {
                    assert!(dir.1.split(':').all(|dir| Path::new(dir).is_dir()), "{mount:?}");
                }
            }
        }
    }
    assert_eq!(
        fs::read_dir(root.join("overlay/snapshots")).unwrap().count(),
        found.len()
    );
    for image in images {
        assert!(
            found.contains_key(&format!("{}-base", image.name)),
            "{} lost its snapshot",
            image.name
        );
    }
}

#[test]
fn nothing_told_is_lost_and_nothing_contradicts_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut certain = BTreeSet::new();
    // Different each time, and told when it fails.
    let mut random = u64::from(std::process::id()) ^ u64::try_from(Timestamp::now().nanos).unwrap();
    println!("seed {random}");
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_writer", "--nocapture", "--test-threads=1"])
            .env(PLACE, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let until = 1 + (random >> 33) % 60;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        let mut take = |line: String| match (line.strip_prefix('+'), line.strip_prefix('-')) {
            (Some(name), _) => {
                certain.insert(name.to_owned());
                true
            }
            (_, Some(name)) => {
                certain.remove(name);
                false
            }
            // The harness of the child speaks too.
            _ => false,
        };
        while seen < until {
            let line = lines.next().expect("the writer ended by itself").unwrap();
            seen += u64::from(take(line));
        }
        child.kill().unwrap();
        for line in lines.map_while(Result::ok) {
            take(line);
        }
        child.wait().unwrap();
        println!("round {round}: {seen} images, {} certain", certain.len());
        check(dir.path(), &certain);
    }
}

//! The storage half of the manager put together: metadata over a real blob store and real overlay layers.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use containerd_rs_content::LocalStore;
use containerd_rs_core::{
    Any, Container, ContainerStore as _, ContentManager as _, ContentProvider as _, Ctx, Descriptor, Digest, Image,
    ImageStore as _, Ingester as _, Kind, LABEL_SNAPSHOT_REF, Labels, LeaseStore as _, Namespace, NamespaceStore as _,
    Resource, Runtime, SnapshotKind, Snapshotter as _, WriterRequest,
};
use containerd_rs_metadata::{Collector, GcConfig, Metadata, NodeKind};
use containerd_rs_snapshots::OverlayStore;

const OVERLAY: &str = "overlayfs";

fn open(root: &Path) -> Metadata {
    let blobs = LocalStore::open(root.join("content")).unwrap();
    let layers = OverlayStore::open(root.join("overlay")).unwrap();
    Metadata::open(&root.join("meta.redb"), Arc::new(blobs), vec![Arc::new(layers)]).unwrap()
}

fn ctx(namespace: &str) -> Ctx {
    Ctx::new(namespace).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// Brings a blob into a namespace.
fn put(metadata: &Metadata, ctx: &Ctx, data: &[u8], with: &Labels) -> Digest {
    let reference = format!("put-{}", data.escape_ascii());
    let request = WriterRequest {
        reference,
        ..WriterRequest::default()
    };
    let mut writer = metadata.content().writer(ctx, &request).unwrap();
    writer.write(data).unwrap();
    writer.commit(data.len() as u64, None, with).unwrap()
}

fn image(name: &str, digest: &Digest) -> Image {
    let target = Descriptor {
        media_type: "m".into(),
        digest: digest.clone(),
        size: 1,
        annotations: Labels::new(),
    };
    Image {
        name: name.into(),
        labels: Labels::new(),
        target,
        created_at: containerd_rs_core::Timestamp::default(),
        updated_at: containerd_rs_core::Timestamp::default(),
    }
}

fn container(id: &str, snapshot: &str) -> Container {
    Container {
        id: id.into(),
        runtime: Runtime {
            name: "io.containerd.runc.v2".into(),
            options: None,
        },
        spec: Some(Any {
            type_url: "spec".into(),
            value: b"{}".to_vec(),
        }),
        snapshotter: OVERLAY.into(),
        snapshot_key: snapshot.into(),
        ..Container::default()
    }
}

fn blobs(root: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(root.join("content/blobs/sha256")).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn directories(root: &Path) -> usize {
    fs::read_dir(root.join("overlay/snapshots")).unwrap().count()
}

fn snapshots(metadata: &Metadata, ctx: &Ctx) -> Vec<String> {
    let mut names = Vec::new();
    let snapshotter = metadata.snapshotter(OVERLAY).unwrap();
    snapshotter
        .walk(ctx, &[], &mut |info| {
            names.push(info.name);
            Ok(())
        })
        .unwrap();
    names
}

/// A pulled image with two layers, a container of it, and strays of every kind.
fn pulled(metadata: &Metadata, ns: &Ctx) -> Digest {
    let overlay = metadata.snapshotter(OVERLAY).unwrap();
    let none = Labels::new();
    overlay.prepare(ns, "extract-1", "", &none).unwrap();
    overlay.commit(ns, "base", "extract-1", &none).unwrap();
    overlay.prepare(ns, "extract-2", "base", &none).unwrap();
    overlay.commit(ns, "top", "extract-2", &none).unwrap();
    overlay.prepare(ns, "own", "top", &none).unwrap();
    overlay.prepare(ns, "stray", "base", &none).unwrap();
    let layer = put(metadata, ns, b"layer", &none);
    let config = put(
        metadata,
        ns,
        b"config",
        &labels(&[("containerd.io/gc.ref.snapshot.overlayfs", "top")]),
    );
    let references = labels(&[
        ("containerd.io/gc.ref.content.config", config.as_str()),
        ("containerd.io/gc.ref.content.l.0", layer.as_str()),
    ]);
    let manifest = put(metadata, ns, b"manifest", &references);
    put(metadata, ns, b"stray", &none);
    metadata.images().create(ns, image("nginx", &manifest)).unwrap();
    metadata.containers().create(ns, container("c", "own")).unwrap();
    manifest
}

#[test]
fn what_nothing_refers_to_goes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(dir.path());
    let ns = ctx("a");
    let manifest = pulled(&metadata, &ns);
    let report = metadata.collect().unwrap();
    let removed: Vec<_> = report
        .removed
        .iter()
        .map(|node| (node.kind, node.key.as_str()))
        .collect();
    assert!(
        matches!(
            removed[..],
            [(NodeKind::Content, _), (NodeKind::Snapshot, "overlayfs/stray")]
        ),
        "{removed:?}"
    );
    assert_eq!((blobs(dir.path()).len(), directories(dir.path())), (3, 3));
    assert_eq!(report.blobs, 1);

    // The container keeps its snapshot and what is below it, but not the image.
    metadata.images().delete(&ns, "nginx", Some(&manifest)).unwrap();
    metadata.collect().unwrap();
    assert_eq!((blobs(dir.path()).len(), directories(dir.path())), (0, 3));
    metadata.containers().delete(&ns, "c").unwrap();
    metadata.collect().unwrap();
    assert_eq!((blobs(dir.path()).len(), directories(dir.path())), (0, 0));
    assert!(metadata.collect().unwrap().removed.is_empty());
}

#[test]
fn a_lease_keeps_what_was_made_under_it() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(dir.path());
    let leases = metadata.leases();
    let plain = ctx("a");
    leases.create(&plain, "l", &Labels::new()).unwrap();
    let ns = plain.clone().with_lease(Some("l".into()));
    let digest = put(&metadata, &ns, b"leased", &Labels::new());
    let overlay = metadata.snapshotter(OVERLAY).unwrap();
    overlay.prepare(&ns, "extract", "", &Labels::new()).unwrap();
    overlay.commit(&ns, "base", "extract", &Labels::new()).unwrap();
    let held = leases.resources(&plain, "l").unwrap();
    let resource = |kind: &str, id: &str| Resource {
        kind: kind.into(),
        id: id.into(),
    };
    assert_eq!(
        held,
        [
            resource("content", digest.as_str()),
            resource("snapshots/overlayfs", "base")
        ]
    );
    metadata.collect().unwrap();
    assert_eq!((blobs(dir.path()).len(), directories(dir.path())), (1, 1));
    leases.delete(&plain, "l").unwrap();
    metadata.collect().unwrap();
    assert_eq!((blobs(dir.path()).len(), directories(dir.path())), (0, 0));

    // An expired lease holds nothing, and goes itself.
    leases
        .create(
            &plain,
            "old",
            &labels(&[("containerd.io/gc.expire", "2001-02-03T04:05:06Z")]),
        )
        .unwrap();
    put(
        &metadata,
        &plain.clone().with_lease(Some("old".into())),
        b"x",
        &Labels::new(),
    );
    metadata.collect().unwrap();
    assert!(leases.list(&plain, &[]).unwrap().is_empty() && blobs(dir.path()).is_empty());
    let gone = plain.clone().with_lease(Some("old".into()));
    let request = WriterRequest {
        reference: "r".into(),
        ..WriterRequest::default()
    };
    let error = metadata.content().writer(&gone, &request).err().unwrap();
    assert_eq!(error.to_string(), "lease does not exist: not found");
}

#[test]
fn a_flat_lease_keeps_no_references() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(dir.path());
    let ns = ctx("a");
    let manifest = pulled(&metadata, &ns);
    let leases = metadata.leases();
    leases
        .create(&ns, "flat", &labels(&[("containerd.io/gc.flat", "true")]))
        .unwrap();
    leases
        .add_resource(
            &ns,
            "flat",
            &Resource {
                kind: "content".into(),
                id: manifest.to_string(),
            },
        )
        .unwrap();
    metadata.images().delete(&ns, "nginx", None).unwrap();
    metadata.collect().unwrap();
    assert_eq!(blobs(dir.path()), BTreeSet::from([manifest.hex().to_owned()]));
    let odd = Resource {
        kind: "tasks".into(),
        id: "x".into(),
    };
    let error = leases.add_resource(&ns, "flat", &odd).unwrap_err();
    assert_eq!(
        error.to_string(),
        "resource type tasks not supported yet: not implemented"
    );
}

#[test]
fn namespaces_see_their_own_content_and_share_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(dir.path());
    let (a, b) = (ctx("a"), ctx("b"));
    let content = metadata.content();
    let digest = put(&metadata, &a, b"hello", &labels(&[("of", "a")]));
    assert_eq!(content.info(&b, &digest).unwrap_err().kind(), Kind::NotFound);
    assert!(content.reader(&b, &digest).is_err());
    let request = WriterRequest {
        reference: "same".into(),
        total: 5,
        expected: Some(digest.clone()),
    };
    let writer = content.writer(&b, &request).unwrap();
    assert_eq!((writer.status().offset, writer.digest().unwrap()), (5, digest.clone()));
    // Nobody has the blob now but the ingest that stands for it.
    content.delete(&a, &digest).unwrap();
    metadata.collect().unwrap();
    assert_eq!(blobs(dir.path()).len(), 1);
    writer.commit(5, Some(&digest), &labels(&[("of", "b")])).unwrap();
    assert_eq!(content.info(&b, &digest).unwrap().labels["of"], "b");
    assert!(content.info(&a, &digest).is_err());
    let again = content.writer(&b, &request).err().unwrap();
    assert_eq!(again.to_string(), format!("content {digest}: already exists"));

    // Wrong expectations of shared bytes are told; a write makes bytes of its own.
    let shared = content.writer(&a, &request).unwrap();
    assert_eq!(
        shared.commit(4, None, &Labels::new()).unwrap_err().kind(),
        Kind::FailedPrecondition
    );
    let mut own = content.writer(&a, &request).unwrap();
    own.write(b" world").unwrap();
    let longer = own.commit(11, None, &Labels::new()).unwrap();
    assert_ne!(longer, digest);
    assert_eq!(content.info(&a, &longer).unwrap().size, 11);
    assert!(content.statuses(&a, &[]).unwrap().is_empty());
}

#[test]
fn bytes_go_after_the_last_namespace_deleted_them() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(dir.path());
    metadata.collect().unwrap();
    let (a, b, root) = (ctx("a"), ctx("b"), labels(&[("containerd.io/gc.root", "1")]));
    let digest = put(&metadata, &a, b"hello", &root);
    put(&metadata, &b, b"hello", &root);
    metadata.content().delete(&a, &digest).unwrap();
    metadata.collect().unwrap();
    assert_eq!(blobs(dir.path()).len(), 1);
    metadata.content().delete(&b, &digest).unwrap();
    assert_eq!(metadata.collect().unwrap().bytes, 5);
    assert!(blobs(dir.path()).is_empty());
    assert_eq!(
        metadata.content().delete(&b, &digest).unwrap_err().kind(),
        Kind::NotFound
    );
}

#[test]
fn ingests_are_a_namespaces_own() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(dir.path());
    let (a, b) = (ctx("a"), ctx("b"));
    let content = metadata.content();
    let request = WriterRequest {
        reference: "layer".into(),
        total: 10,
        expected: None,
    };
    let mut writer = content.writer(&a, &request).unwrap();
    writer.write(b"half").unwrap();
    let locked = content.writer(&a, &request).err().unwrap();
    assert_eq!(locked.kind(), Kind::Unavailable);
    assert!(content.writer(&b, &request).is_ok());
    drop(writer);
    let status = content.status(&a, "layer").unwrap();
    assert_eq!(
        (status.reference.as_str(), status.offset, status.total),
        ("layer", 4, 10)
    );
    assert_eq!(content.statuses(&a, &["ref==other".into()]).unwrap(), []);
    // An ingest without a lease stays for a day.
    metadata.collect().unwrap();
    content.status(&a, "layer").unwrap();
    content.abort(&a, "layer").unwrap();
    assert_eq!(
        content.abort(&a, "layer").unwrap_err().to_string(),
        "reference layer: not found"
    );
    assert_eq!(content.status(&b, "layer").unwrap().offset, 0);
}

#[test]
fn snapshots_answer_as_containerds_do() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(dir.path());
    let (ns, none) = (ctx("a"), Labels::new());
    let overlay = metadata.snapshotter(OVERLAY).unwrap();
    let mounts = overlay.prepare(&ns, "active", "", &none).unwrap();
    assert_eq!((mounts.len(), mounts[0].kind.as_str()), (1, "bind"));
    let texts = [
        overlay.prepare(&ns, "active", "", &none).unwrap_err().to_string(),
        overlay.prepare(&ns, "x", "nowhere", &none).unwrap_err().to_string(),
        overlay.prepare(&ns, "x", "active", &none).unwrap_err().to_string(),
        overlay.stat(&ns, "x").unwrap_err().to_string(),
        overlay.stat(&ctx("b"), "active").unwrap_err().to_string(),
    ];
    assert_eq!(
        texts,
        [
            r#"snapshot "active": already exists"#,
            "parent snapshot nowhere does not exist: not found",
            r#"parent "active" is not committed snapshot: invalid argument"#,
            "snapshot x does not exist: not found",
            "snapshot active does not exist: not found",
        ]
    );
    overlay.commit(&ns, "base", "active", &labels(&[("k", "v")])).unwrap();
    assert!(overlay.stat(&ns, "active").is_err());
    let info = overlay.stat(&ns, "base").unwrap();
    assert_eq!((info.kind, info.labels["k"].as_str()), (SnapshotKind::Committed, "v"));
    assert!(overlay.usage(&ns, "base").unwrap().inodes >= 1);
    assert_eq!(
        overlay.mounts(&ns, "base").unwrap_err().kind(),
        Kind::FailedPrecondition
    );
    let target = labels(&[(LABEL_SNAPSHOT_REF, "base")]);
    let error = overlay.prepare(&ns, "extract", "", &target).unwrap_err();
    assert_eq!(error.to_string(), r#"target snapshot "base": already exists"#);
    let mounts = overlay.view(&ns, "view", "base", &none).unwrap();
    assert_eq!(mounts[0].options, ["ro", "rbind"]);
    assert_eq!(
        overlay.commit(&ns, "no", "view", &none).unwrap_err().kind(),
        Kind::FailedPrecondition
    );
    assert_eq!(
        overlay.remove(&ns, "base").unwrap_err().kind(),
        Kind::FailedPrecondition
    );
    overlay.remove(&ns, "view").unwrap();
    overlay.remove(&ns, "base").unwrap();
    overlay.cleanup(&ns).unwrap();
    assert_eq!(directories(dir.path()), 0);
}

#[test]
fn a_namespace_goes_when_it_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(dir.path());
    let ns = ctx("busy");
    pulled(&metadata, &ns);
    let namespaces = metadata.namespaces();
    assert_eq!(
        namespaces.list().unwrap(),
        [Namespace {
            name: "busy".into(),
            labels: Labels::new()
        }]
    );
    let error = namespaces.delete("busy").unwrap_err();
    let expected = "namespace \"busy\" must be empty, but it still has images, blobs, containers, \
                    snapshots on \"overlayfs\" snapshotter: failed precondition";
    assert_eq!(error.to_string(), expected);
    metadata.images().delete(&ns, "nginx", None).unwrap();
    metadata.containers().delete(&ns, "c").unwrap();
    metadata.collect().unwrap();
    namespaces.delete("busy").unwrap();
    assert_eq!(namespaces.delete("busy").unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_crash_leaves_nothing_that_the_next_start_does_not_find() {
    let dir = tempfile::tempdir().unwrap();
    let ns = ctx("a");
    drop(open(dir.path()));
    // As if killed between the directories and the row, the blob and the row, and in the midst of a removal.
    fs::create_dir_all(dir.path().join("overlay/snapshots/77/fs/x")).unwrap();
    fs::create_dir_all(dir.path().join("overlay/snapshots/rm-5-0/fs")).unwrap();
    fs::write(dir.path().join("content/blobs/sha256").join("0".repeat(64)), "stray").unwrap();
    let metadata = open(dir.path());
    assert_eq!(directories(dir.path()), 0);
    let kept = put(&metadata, &ns, b"kept", &labels(&[("containerd.io/gc.root", "1")]));
    metadata.collect().unwrap();
    assert_eq!(blobs(dir.path()), BTreeSet::from([kept.hex().to_owned()]));
    let overlay = metadata.snapshotter(OVERLAY).unwrap();
    overlay.prepare(&ns, "after", "", &Labels::new()).unwrap();
    assert_eq!(snapshots(&metadata, &ns), ["after"]);
}

#[test]
fn the_collector_runs_by_itself_after_a_deletion() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = Arc::new(open(dir.path()));
    let ns = ctx("a");
    pulled(&metadata, &ns);
    let (send, reports) = std::sync::mpsc::channel();
    let nothing = std::time::Duration::ZERO;
    let config = GcConfig {
        startup_delay: nothing,
        delay: nothing,
        ..GcConfig::default()
    };
    let collector = Collector::start(Arc::clone(&metadata), config, move |report| {
        let _ = send.send(report.clone());
    })
    .unwrap();
    assert_eq!(reports.recv().unwrap().removed.len(), 2);
    metadata.images().delete(&ns, "nginx", None).unwrap();
    while !blobs(dir.path()).is_empty() {
        reports.recv().unwrap();
    }
    drop(collector);
}

#[test]
fn a_full_disk_stops_writes_only_and_only_while_it_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let mount = |args: &[&str]| {
        assert!(
            std::process::Command::new(args[0])
                .args(&args[1..])
                .arg(dir.path())
                .status()
                .unwrap()
                .success()
        );
    };
    mount(&["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs"]);
    let done = std::panic::catch_unwind(|| full_disk(dir.path()));
    mount(&["umount"]);
    done.unwrap();
}

fn full_disk(root: &Path) {
    let metadata = open(root);
    let ns = ctx("a");
    let digest = Digest::parse(&format!("sha256:{}", "0".repeat(64))).unwrap();
    let with = |n: usize| {
        let mut image = image(&format!("image-{n}"), &digest);
        image.labels.insert("bulk".into(), "x".repeat(4000));
        image
    };
    metadata.images().create(&ns, with(0)).unwrap();
    let mut filler = fs::File::create(root.join("filler")).unwrap();
    while std::io::Write::write_all(&mut filler, &[1; 4096]).is_ok() {}

    // The reserve is used up, then writes are refused; what is there is still told.
    let refused = (1..100_000).find_map(|n| metadata.images().create(&ns, with(n)).err().map(|error| (n, error)));
    let (count, error) = refused.unwrap();
    assert_eq!(error.kind(), Kind::ResourceExhausted, "{error}");
    assert!(error.to_string().contains("No space left on device"), "{error}");
    assert_eq!(metadata.images().list(&ns, &[]).unwrap().len(), count);
    assert!(metadata.images().create(&ns, with(count)).is_err());
    // Deleting must be possible: it is the way out.
    metadata.images().delete(&ns, "image-1", None).unwrap();
    // So must a restart.
    drop(metadata);
    let metadata = open(root);
    assert_eq!(metadata.images().list(&ns, &[]).unwrap().len(), count - 1);
    metadata.images().delete(&ns, "image-2", None).unwrap();

    drop(filler);
    fs::remove_file(root.join("filler")).unwrap();
    metadata.images().create(&ns, with(count)).unwrap();
    metadata.images().create(&ns, with(1)).unwrap();
    metadata.images().create(&ns, with(2)).unwrap();
    metadata.images().delete(&ns, "image-0", None).unwrap();
    drop(metadata);
    assert_eq!(open(root).images().list(&ns, &[]).unwrap().len(), count);
}

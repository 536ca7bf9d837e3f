//! Layers that are made of changes, and unpacked again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::{furnish, run, same};
use containerd_rs_core::{
    Applier as _, BlobReader, Comparer as _, ContentInfo, ContentManager, ContentProvider, ContentWriter, Ctx,
    Descriptor, DiffRequest, Digest, Error, IngestStatus, Ingester, LABEL_UNCOMPRESSED, Labels, LayerRef,
    LayerStore as _, Mount, Result, SnapshotKind, WriterRequest,
};
use containerd_rs_snapshots::{LayerApplier, LayerComparer, OverlayStore};
use sha2::Digest as _;

type Blobs = HashMap<Digest, (Vec<u8>, Labels)>;

/// A content store in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Blobs>>);

struct Bytes(Vec<u8>);

impl BlobReader for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let rest = &self.0[usize::try_from(offset).unwrap().min(self.0.len())..];
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

struct Writer(Memory, Vec<u8>);

impl ContentWriter for Writer {
    fn write(&mut self, data: &[u8]) -> Result<()> {
        self.1.extend_from_slice(data);
        Ok(())
    }
    fn truncate(&mut self, _size: u64) -> Result<()> {
        self.1.clear();
        Ok(())
    }
    fn status(&self) -> IngestStatus {
        IngestStatus::default()
    }
    fn digest(&self) -> Result<Digest> {
        Ok(Digest::from_sha256(&sha2::Sha256::digest(&self.1).into()))
    }
    fn commit(self: Box<Self>, size: u64, _expected: Option<&Digest>, labels: &Labels) -> Result<Digest> {
        assert_eq!(size, self.1.len() as u64);
        let digest = self.digest()?;
        self.0
            .0
            .lock()
            .unwrap()
            .insert(digest.clone(), (self.1, labels.clone()));
        Ok(digest)
    }
}

impl ContentProvider for Memory {
    fn info(&self, _ctx: &Ctx, digest: &Digest) -> Result<ContentInfo> {
        Err(Error::NotFound(digest.to_string()))
    }
    fn reader(&self, _ctx: &Ctx, digest: &Digest) -> Result<Box<dyn BlobReader>> {
        Ok(Box::new(Bytes(self.0.lock().unwrap()[digest].0.clone())))
    }
}

impl ContentManager for Memory {
    fn update(&self, _ctx: &Ctx, info: &ContentInfo, _fields: &[String]) -> Result<ContentInfo> {
        Err(Error::NotFound(info.digest.to_string()))
    }
    fn walk(&self, _: &Ctx, _: &[String], _: &mut dyn FnMut(ContentInfo) -> Result<()>) -> Result<()> {
        Ok(())
    }
    fn delete(&self, _ctx: &Ctx, digest: &Digest) -> Result<()> {
        Err(Error::NotFound(digest.to_string()))
    }
}

impl Ingester for Memory {
    fn writer(&self, _ctx: &Ctx, _request: &WriterRequest) -> Result<Box<dyn ContentWriter>> {
        Ok(Box::new(Writer(self.clone(), Vec::new())))
    }
    fn status(&self, _ctx: &Ctx, reference: &str) -> Result<IngestStatus> {
        Err(Error::NotFound(reference.to_owned()))
    }
    fn statuses(&self, _ctx: &Ctx, _filters: &[String]) -> Result<Vec<IngestStatus>> {
        Ok(Vec::new())
    }
    fn abort(&self, _ctx: &Ctx, reference: &str) -> Result<()> {
        Err(Error::NotFound(reference.to_owned()))
    }
}

/// A stack of layers in the making.
struct Lab {
    dir: tempfile::TempDir,
    store: OverlayStore,
    content: Memory,
    comparer: LayerComparer,
    applier: LayerApplier,
    ctx: Ctx,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = OverlayStore::open(dir.path().join("overlay")).unwrap();
        let content = Memory::default();
        let comparer = LayerComparer::new(Arc::new(content.clone()));
        let applier = LayerApplier::new(Arc::new(content.clone()));
        Lab {
            dir,
            store,
            content,
            comparer,
            applier,
            ctx: Ctx::new("test").unwrap(),
        }
    }

    fn make(&self, id: u64, parents: &[u64], kind: SnapshotKind) -> Vec<Mount> {
        let layer = LayerRef { id, parents, kind };
        self.store.create(layer).unwrap();
        self.store.mounts(layer).unwrap()
    }

    fn compare(&self, lower: &[Mount], upper: &[Mount], media_type: &str) -> Descriptor {
        let request = DiffRequest {
            media_type: media_type.into(),
            ..DiffRequest::default()
        };
        let layer = self.comparer.compare(&self.ctx, lower, upper, &request).unwrap();
        let labels = self.content.0.lock().unwrap()[&layer.digest].1.clone();
        let into = self.dir.path().join("check");
        fs::create_dir(&into).unwrap();
        let plain = self.applier.apply(&self.ctx, &layer, &common::bind(&into)).unwrap();
        assert_eq!(labels[LABEL_UNCOMPRESSED], plain.digest.as_str());
        fs::remove_dir_all(into).unwrap();
        layer
    }

    fn mounted<T>(&self, mounts: &[Mount], work: impl FnOnce(&Path) -> T) -> T {
        let target: PathBuf = self.dir.path().join("mnt");
        fs::create_dir_all(&target).unwrap();
        let text = target.to_str().unwrap();
        let mount = &mounts[0];
        let kind = if mount.kind == "bind" { "none" } else { &mount.kind };
        run(
            "mount",
            &["-t", kind, "-o", &mount.options.join(","), &mount.source, text],
        );
        let done = work(&target);
        run("umount", &[text]);
        done
    }
}

const VIEW: SnapshotKind = SnapshotKind::View;
const ACTIVE: SnapshotKind = SnapshotKind::Active;

#[test]
fn a_whole_tree_goes_there_and_back() {
    for media_type in [
        "",
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+zstd",
    ] {
        let lab = Lab::new();
        let base = lab.make(1, &[], ACTIVE);
        let fs = lab.dir.path().join("overlay/snapshots");
        furnish(&fs.join("1/fs"));
        let layer = lab.compare(&[], &base, media_type);
        let copy = lab.make(2, &[], ACTIVE);
        lab.applier.apply(&lab.ctx, &layer, &copy).unwrap();
        same(&fs.join("1/fs"), &fs.join("2/fs"));
        // The same tree is the same layer.
        assert_eq!(lab.compare(&[], &base, media_type), layer);
    }
}

/// What a container does to its files.
fn live(root: &Path) {
    fs::write(root.join("usr/lib/new"), "new").unwrap();
    fs::remove_file(root.join("usr/lib/nothing")).unwrap();
    fs::remove_dir_all(root.join("usr/lib/deep")).unwrap();
    fs::create_dir(root.join("usr/lib/deep")).unwrap();
    fs::write(root.join("usr/lib/deep/only"), "this").unwrap();
    fs::remove_dir_all(root.join("empty")).unwrap();
    fs::write(root.join("empty"), "now a file").unwrap();
    fs::remove_file(root.join("lib")).unwrap();
    fs::create_dir(root.join("lib")).unwrap();
    fs::hard_link(root.join("usr/lib/new"), root.join("lib/same")).unwrap();
    run("chmod", &["600", root.join("pipe").to_str().unwrap()]);
}

fn changed(general: bool) {
    let lab = Lab::new();
    lab.make(1, &[], ACTIVE);
    furnish(&lab.dir.path().join("overlay/snapshots/1/fs"));
    let own = lab.make(2, &[1], ACTIVE);
    lab.mounted(&own, live);
    let mut lower = lab.make(3, &[1], VIEW);
    if general {
        // The same directory by another name: only looking at both trees tells the difference.
        let source = lower[0].source.replace("/snapshots/", "/snapshots/../snapshots/");
        assert_ne!(std::mem::replace(&mut lower[0].source, source.clone()), source);
    }
    let layer = lab.compare(&lower, &own, "");
    let copy = lab.make(4, &[1], ACTIVE);
    lab.applier.apply(&lab.ctx, &layer, &copy).unwrap();
    let (one, other) = (lab.dir.path().join("one"), lab.dir.path().join("other"));
    for (mounts, target) in [(&own, &one), (&copy, &other)] {
        lab.mounted(mounts, |root| {
            run("cp", &["-a", root.to_str().unwrap(), target.to_str().unwrap()])
        });
    }
    same(&one, &other);
}

#[test]
fn changes_go_there_and_back_by_the_upper_directory() {
    changed(false);
}

#[test]
fn changes_go_there_and_back_by_comparing_trees() {
    changed(true);
}

/// Mount options end at 4096 bytes; a hundred and fifty layers have more.
#[test]
fn trees_of_many_layers_are_compared() {
    let lab = Lab::new();
    let snapshots = lab.dir.path().join("overlay/snapshots");
    let mut parents = Vec::new();
    for id in 1..=150 {
        lab.make(id, &parents, ACTIVE);
        fs::write(snapshots.join(format!("{id}/fs/file-{id}")), "x").unwrap();
        parents.insert(0, id);
    }
    let own = lab.make(151, &parents, ACTIVE);
    fs::write(snapshots.join("151/fs/new"), "new").unwrap();
    let mut lower = lab.make(152, &parents, VIEW);
    for option in &mut lower[0].options {
        // Other names for the same directories: the upper directory alone will not do.
        *option = option.replace("/snapshots/", "/snapshots/../snapshots/");
    }
    assert!(lower[0].options.join(",").len() > 4096);
    let layer = lab.compare(&lower, &own, "application/vnd.oci.image.layer.v1.tar");
    let bytes = lab.content.0.lock().unwrap()[&layer.digest].0.clone();
    let mut archive = tar::Archive::new(&bytes[..]);
    let names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().into_owned())
        .collect();
    assert_eq!(names, [PathBuf::from("new")]);
}

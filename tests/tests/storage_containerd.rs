//! Layers between Debian's containerd and ours: what one makes, the other unpacks, and the trees are the same.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use containerd_rs_content::LocalStore;
use containerd_rs_core::{
    Applier as _, Comparer as _, ContentManager as _, ContentProvider as _, Ctx, Descriptor, DiffRequest, Digest,
    Ingester as _, LABEL_UNCOMPRESSED, Labels, Snapshotter as _, WriterRequest,
};
use containerd_rs_metadata::{Metadata, Snapshots};
use containerd_rs_snapshots::{LayerApplier, LayerComparer, OverlayStore};
use engine_tests::programs::peer;
use serde_json::json;

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Debian's containerd with everything private.
struct Containerd {
    dir: PathBuf,
    child: Child,
}

impl Containerd {
    fn start(dir: &Path) -> Self {
        let dir = dir.join("containerd");
        fs::create_dir(&dir).unwrap();
        let (root, state, socket) = (dir.join("root"), dir.join("state"), dir.join("sock"));
        let text = format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {socket:?}\n[ttrpc]\naddress = \"{}.ttrpc\"\n",
            socket.display()
        );
        fs::write(dir.join("config.toml"), text).unwrap();
        let log = fs::File::create(dir.join("log")).unwrap();
        let child = Command::new(peer("containerd"))
            .args(["--config", dir.join("config.toml").to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let own = Containerd { dir, child };
        let begun = Instant::now();
        while !own.command(&["version"]).output().unwrap().status.success() {
            let log = || fs::read_to_string(own.dir.join("log")).unwrap();
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "containerd does not answer: {}",
                log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        own
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(peer("ctr"));
        command
            .args(["-a", self.dir.join("sock").to_str().unwrap(), "-n", "test"])
            .args(args);
        command
    }

    fn ctr(&self, args: &[&str]) -> Vec<u8> {
        let done = self.command(args).output().unwrap();
        assert!(
            done.status.success(),
            "ctr {args:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        done.stdout
    }

    /// The command that mounts a snapshot, run for a place.
    fn mount(&self, key: &str, target: &Path) -> Mounted {
        fs::create_dir_all(target).unwrap();
        let command = String::from_utf8(self.ctr(&["snapshots", "mounts", target.to_str().unwrap(), key])).unwrap();
        assert!(
            Command::new("sh").args(["-c", &command]).status().unwrap().success(),
            "{command}"
        );
        Mounted(target.to_path_buf())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A mount that goes with its owner.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(&self.0).status().unwrap();
        assert!(done.success() || std::thread::panicking());
    }
}

/// Ours, put together.
struct Ours {
    metadata: Metadata,
    overlay: Arc<Snapshots>,
    ctx: Ctx,
}

impl Ours {
    fn open(dir: &Path) -> Self {
        let blobs = LocalStore::open(dir.join("ours/content")).unwrap();
        let layers = OverlayStore::open(dir.join("ours/overlay")).unwrap();
        let path = dir.join("ours/meta.redb");
        let metadata = Metadata::open(&path, Arc::new(blobs), vec![Arc::new(layers)]).unwrap();
        let overlay = metadata.snapshotter("overlayfs").unwrap();
        Ours {
            metadata,
            overlay,
            ctx: Ctx::new("test").unwrap(),
        }
    }

    fn put(&self, bytes: &[u8]) -> Descriptor {
        let request = WriterRequest {
            reference: format!("put-{}", bytes.len()),
            ..WriterRequest::default()
        };
        let mut writer = self.metadata.content().writer(&self.ctx, &request).unwrap();
        writer.write(bytes).unwrap();
        let digest = writer.commit(bytes.len() as u64, None, &Labels::new()).unwrap();
        Descriptor {
            media_type: GZIP.into(),
            digest,
            size: bytes.len() as u64,
            annotations: Labels::new(),
        }
    }

    fn bytes(&self, digest: &Digest) -> Vec<u8> {
        let reader = self.metadata.content().reader(&self.ctx, digest).unwrap();
        let mut bytes = vec![0; usize::try_from(reader.size()).unwrap()];
        let mut at = 0;
        while at < bytes.len() {
            at += reader.read_at(&mut bytes[at..], at as u64).unwrap();
        }
        bytes
    }

    /// Unpacks a layer on a parent.
    fn apply(&self, layer: &Descriptor, parent: &str, name: &str) {
        let mounts = self
            .overlay
            .prepare(&self.ctx, "extract", parent, &Labels::new())
            .unwrap();
        let applier = LayerApplier::new(Arc::new(self.metadata.content()));
        applier.apply(&self.ctx, layer, &mounts).unwrap();
        self.overlay.commit(&self.ctx, name, "extract", &Labels::new()).unwrap();
    }

    /// The changes of an active snapshot as a layer.
    fn diff(&self, key: &str) -> (Descriptor, String) {
        let info = self.overlay.stat(&self.ctx, key).unwrap();
        let lower = if info.parent.is_empty() {
            Vec::new()
        } else {
            self.overlay
                .view(&self.ctx, "lower", &info.parent, &Labels::new())
                .unwrap()
        };
        let upper = self.overlay.mounts(&self.ctx, key).unwrap();
        let comparer = LayerComparer::new(Arc::new(self.metadata.content()));
        let layer = comparer
            .compare(&self.ctx, &lower, &upper, &DiffRequest::default())
            .unwrap();
        if !lower.is_empty() {
            self.overlay.remove(&self.ctx, "lower").unwrap();
        }
        let mut diff_id = None;
        let content = self.metadata.content();
        let mut find = |info: containerd_rs_core::ContentInfo| {
            if info.digest == layer.digest {
                diff_id = info.labels.get(LABEL_UNCOMPRESSED).cloned();
            }
            Ok(())
        };
        content.walk(&self.ctx, &[], &mut find).unwrap();
        (layer, diff_id.unwrap())
    }

    fn mount(&self, key: &str, target: &Path) -> Mounted {
        fs::create_dir_all(target).unwrap();
        let mount = self.overlay.mounts(&self.ctx, key).unwrap().remove(0);
        let kind = if mount.kind == "bind" { "none" } else { &mount.kind };
        let options = mount.options.join(",");
        let done = Command::new("mount")
            .args(["-t", kind, "-o", &options, &mount.source])
            .arg(target)
            .status();
        assert!(done.unwrap().success());
        Mounted(target.to_path_buf())
    }
}

fn furnish(root: &Path) {
    fs::create_dir_all(root.join("usr/lib/deep")).unwrap();
    fs::create_dir(root.join("gone")).unwrap();
    fs::write(root.join("gone/f"), "f").unwrap();
    fs::write(root.join("usr/lib/data"), vec![b'd'; 200_000]).unwrap();
    fs::write(root.join("usr/lib/deep/x"), "x").unwrap();
    fs::write(root.join(format!("usr/{}-☃", "long".repeat(40))), "long").unwrap();
    symlink("usr/lib", root.join("lib")).unwrap();
    fs::hard_link(root.join("usr/lib/data"), root.join("again")).unwrap();
    fs::set_permissions(root.join("usr/lib/data"), fs::Permissions::from_mode(0o4755)).unwrap();
    std::os::unix::fs::chown(root.join("usr/lib/deep/x"), Some(1000), Some(70_000)).unwrap();
    assert!(
        Command::new("mknod")
            .arg(root.join("null"))
            .args(["c", "1", "3"])
            .status()
            .unwrap()
            .success()
    );
}

fn change(root: &Path) {
    fs::remove_dir_all(root.join("gone")).unwrap();
    fs::remove_dir_all(root.join("usr/lib/deep")).unwrap();
    fs::create_dir(root.join("usr/lib/deep")).unwrap();
    fs::write(root.join("usr/lib/deep/y"), "y").unwrap();
    fs::remove_file(root.join("lib")).unwrap();
    fs::write(root.join("lib"), "a file now").unwrap();
    fs::write(root.join("usr/new"), "new").unwrap();
    fs::hard_link(root.join("usr/new"), root.join("usr/new-again")).unwrap();
}

/// Mode, owner, time, device, number of names and content of every file.
fn look(root: &Path) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let data = match () {
                () if meta.is_file() => format!("{:?}", Digest::from_sha256(&hash(&path))),
                () if meta.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
                () => String::new(),
            };
            let links = if meta.is_dir() { 0 } else { meta.nlink() };
            let facts = (
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.rdev(),
                links,
                data,
            );
            seen.insert(
                path.strip_prefix(root).unwrap().display().to_string(),
                format!("{facts:?}"),
            );
            if meta.is_dir() {
                open.push(path);
            }
        }
    }
    seen
}

/// Enough of a hash to tell contents apart.
fn hash(path: &Path) -> [u8; 32] {
    let mut hash = [0u8; 32];
    for (i, byte) in fs::read(path).unwrap().into_iter().enumerate() {
        hash[i % 32] = hash[i % 32].rotate_left(3) ^ byte;
    }
    hash
}

#[test]
fn a_layer_that_containerd_made_is_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = Containerd::start(dir.path());
    theirs.ctr(&["snapshots", "prepare", "active"]);
    furnish(&theirs.mount("active", &dir.path().join("mnt")).0);
    theirs.ctr(&["snapshots", "commit", "base", "active"]);
    theirs.ctr(&["snapshots", "prepare", "own", "base"]);
    let mounted = theirs.mount("own", &dir.path().join("mnt"));
    change(&mounted.0);
    let expected = look(&mounted.0);
    drop(mounted);
    let layers = [
        theirs.ctr(&["snapshots", "diff", "base"]),
        theirs.ctr(&["snapshots", "diff", "own"]),
    ];

    let ours = Ours::open(dir.path());
    ours.apply(&ours.put(&layers[0]), "", "base");
    ours.apply(&ours.put(&layers[1]), "base", "top");
    ours.overlay.prepare(&ours.ctx, "own", "top", &Labels::new()).unwrap();
    let mounted = ours.mount("own", &dir.path().join("mnt"));
    assert_eq!(look(&mounted.0), expected);
}

/// An OCI layout with these layers, as an archive.
fn layout(dir: &Path, ours: &Ours, layers: &[(Descriptor, String)]) -> PathBuf {
    let root = dir.join("layout");
    fs::create_dir_all(root.join("blobs/sha256")).unwrap();
    let save_as = |digest: &Digest, bytes: &[u8]| {
        fs::write(root.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({ "digest": digest.as_str(), "size": bytes.len() })
    };
    let save = |bytes: &[u8]| save_as(&ours.put(bytes).digest, bytes);
    let with = |mut descriptor: serde_json::Value, media_type: &str| {
        descriptor["mediaType"] = json!(media_type);
        descriptor
    };
    let diff_ids: Vec<_> = layers.iter().map(|(_, id)| id).collect();
    let config =
        json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let config = with(
        save(config.to_string().as_bytes()),
        "application/vnd.oci.image.config.v1+json",
    );
    let blobs: Vec<_> = layers
        .iter()
        .map(|(layer, _)| with(save_as(&layer.digest, &ours.bytes(&layer.digest)), GZIP))
        .collect();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": blobs });
    let mut manifest = with(save(manifest.to_string().as_bytes()), media_type);
    manifest["annotations"] = json!({ "io.containerd.image.name": "test.local/ours:1" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(root.join("index.json"), index.to_string()).unwrap();
    fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let archive = dir.join("layout.tar");
    let done = Command::new("tar")
        .arg("-cf")
        .arg(&archive)
        .arg("-C")
        .arg(&root)
        .arg(".")
        .status();
    assert!(done.unwrap().success());
    archive
}

#[test]
fn a_layer_of_ours_is_unpacked_by_containerd() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Ours::open(dir.path());
    ours.overlay.prepare(&ours.ctx, "active", "", &Labels::new()).unwrap();
    furnish(&ours.mount("active", &dir.path().join("mnt")).0);
    let base = ours.diff("active");
    ours.overlay
        .commit(&ours.ctx, "base", "active", &Labels::new())
        .unwrap();
    ours.overlay.prepare(&ours.ctx, "own", "base", &Labels::new()).unwrap();
    let mounted = ours.mount("own", &dir.path().join("mnt"));
    change(&mounted.0);
    let expected = look(&mounted.0);
    drop(mounted);
    let top = ours.diff("own");
    let archive = layout(dir.path(), &ours, &[base, top]);

    let theirs = Containerd::start(dir.path());
    theirs.ctr(&[
        "images",
        "import",
        "--platform",
        "linux/amd64",
        archive.to_str().unwrap(),
    ]);
    let list = String::from_utf8(theirs.ctr(&["snapshots", "ls"])).unwrap();
    let parents: Vec<_> = list.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let committed = list.lines().filter(|line| line.contains("Committed"));
    let top = committed
        .filter_map(|line| line.split_whitespace().next())
        .find(|name| !parents.contains(name));
    theirs.ctr(&["snapshots", "prepare", "own", top.expect(&list)]);
    let mounted = theirs.mount("own", &dir.path().join("mnt"));
    assert_eq!(look(&mounted.0), expected);
}

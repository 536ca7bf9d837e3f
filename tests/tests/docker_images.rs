//! Images through the real `docker` CLI: pull, load, import, list, inspect, tag, remove, prune; and what is broken, told clearly and cleared away.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use containerd_rs_registry::digest::sha256;
use engine_tests::daemon::{Daemon, Manager, PATIENCE, busybox_tar, image_tar};
use engine_tests::programs::peer;
use engine_tests::registry::{Asked, Registry, Rogue, head};
use serde_json::{Value, json};

/// Each test runs over the manager in the daemon's process and over Debian's containerd.
macro_rules! over_each {
    ($($name:ident),* $(,)?) => {
        mod embedded { $( #[test] fn $name() { super::$name(super::Manager::Embedded); } )* }
        mod ours { $( #[test] fn $name() { super::$name(super::Manager::Ours); } )* }
        mod debian { $( #[test] fn $name() { super::$name(super::Manager::Debian); } )* }
    };
}

over_each!(
    pull_list_inspect_tag_remove,
    a_mirror_serves_the_hub,
    what_is_not_there_is_told_in_dockers_words,
    archives_of_all_kinds_are_loaded,
    an_index_gives_the_image_of_this_machine,
    saved_images_are_loaded_again,
    broken_archives_leave_nothing,
    hostile_layers_stay_inside,
    a_root_filesystem_is_imported,
    removal_follows_dockers_rules,
    a_registry_that_wants_tokens_gets_them,
    registries_that_lie_or_break_off_leave_nothing,
    a_client_that_goes_away_stops_its_pull,
    two_pulls_of_one_image_do_not_hurt_each_other,
    a_pull_that_was_killed_is_finished_by_the_next,
);

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs `docker`, which must fail, and gives what it said.
fn fails<const N: usize>(d: &Daemon, args: [&str; N]) -> String {
    let output = d.output(args);
    assert!(!output.status.success(), "docker {args:?} succeeded: {}", text(&output));
    text(&output)
}

fn inspect(d: &Daemon, image: &str) -> Value {
    let all: Value = serde_json::from_str(&d.ok(["image", "inspect", image])).unwrap();
    all[0].clone()
}

/// Waits until content store and ingests of the manager hold no file, and no image is listed.
fn assert_empty(d: &Daemon) {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut files = Vec::new();
        blobs(d.directory(), &mut files);
        let images = d.ok(["images", "-aq"]);
        if files.is_empty() && images.is_empty() {
            return;
        }
        assert!(
            Instant::now() < end,
            "left behind: {files:?}, images {images:?}\n{}",
            d.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn blobs(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let shown = path.display().to_string();
        if path.is_dir() && !path.is_symlink() {
            if !shown.ends_with("/registry") {
                blobs(&path, found);
            }
        } else if shown.contains("/blobs/") || shown.contains("/ingest/") {
            found.push(path);
        }
    }
}

/// A tar of members, written to a file of the daemon's directory.
fn tar_file(d: &Daemon, name: &str, members: &[(&str, &[u8])]) -> PathBuf {
    let path = d.directory().join(name);
    fs::write(&path, tar_bytes(members)).unwrap();
    path
}

fn tar_bytes(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in members {
        builder
            .append(&header(name, data.len(), tar::EntryType::Regular), *data)
            .unwrap();
    }
    builder.into_inner().unwrap()
}

/// A header with a name that libraries would refuse to write.
fn header(name: &str, size: usize, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(size as u64);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

fn config_of(diff_ids: &[String]) -> String {
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    json!({
        "architecture": architecture, "os": "linux", "config": {"Cmd": ["/x"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
}

/// A docker-archive of one layer.
fn docker_archive(layer: &[u8], diff_id: &str) -> Vec<u8> {
    let config = config_of(&[diff_id.to_owned()]);
    let manifest = json!([{"Config": "c.json", "RepoTags": ["bad:1"], "Layers": ["l.tar"]}]).to_string();
    tar_bytes(&[
        ("l.tar", layer),
        ("c.json", config.as_bytes()),
        ("manifest.json", manifest.as_bytes()),
    ])
}

fn load(d: &Daemon, bytes: &[u8]) -> Output {
    let path = d.directory().join("archive");
    fs::write(&path, bytes).unwrap();
    let output = d
        .docker(["load"])
        .stdin(fs::File::open(&path).unwrap())
        .output()
        .unwrap();
    fs::remove_file(path).unwrap();
    output
}

fn pull_list_inspect_tag_remove(manager: Manager) {
    let d = Daemon::start_with(manager, &[]);
    let registry = Registry::start(&d);
    let config = json!({"Cmd": ["sh"], "Env": ["A=b"], "Labels": {"k": "v"}, "ExposedPorts": {"80/tcp": {}}});
    registry.push(&image_tar(d.directory(), "box:1", &config), "lib/box:1");
    let name = format!("{}/lib/box:1", registry.host);

    let said = d.ok(["pull", &name]);
    for line in [
        "1: Pulling from lib/box",
        "Pull complete",
        &format!("Downloaded newer image for {name}"),
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    let again = d.ok(["pull", &name]);
    assert!(
        again.contains(&format!("Status: Image is up to date for {name}")),
        "{again}"
    );
    assert!(!again.contains("Pulling fs layer"), "{again}");

    let image = inspect(&d, &name);
    let id = image["Id"].as_str().unwrap().to_owned();
    assert_eq!(image["RepoTags"], json!([name]));
    assert_eq!(image["Config"]["Env"], json!(["A=b"]));
    assert_eq!(image["Config"]["Labels"], json!({"k": "v"}));
    assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    let hex = id.trim_start_matches("sha256:");
    for other in [
        &id,
        hex,
        &hex[..12],
        &hex[..4],
        &format!("{}/lib/box@{id}", registry.host),
    ] {
        assert_eq!(inspect(&d, other)["Id"], json!(id), "by {other}");
    }
    assert_eq!(d.ok(["images", "-q", "--no-trunc"]), id);
    assert_eq!(d.ok(["images", "-q", "--filter", "label=k=v"]).len(), 12);
    assert_eq!(d.ok(["images", "-q", "--filter", "label=k=w"]), "");
    assert_eq!(d.ok(["images", "-q", "--filter", "dangling=true"]), "");
    assert_eq!(d.ok(["images", "-q", &format!("{}/lib/*", registry.host)]).len(), 12);
    assert!(d.ok(["history", "--no-trunc", &name]).contains("test"));

    d.ok(["tag", &name, "other:2"]);
    assert_eq!(d.ok(["rmi", &name]), format!("Untagged: {name}"));
    assert_eq!(d.ok(["rmi", "other:2"]), format!("Untagged: other:2\nDeleted: {id}"));
    assert_empty(&d);

    let by_digest = format!("{}/lib/box@{id}", registry.host);
    assert!(d.ok(["pull", &by_digest]).contains("Downloaded newer image"));
    assert_eq!(inspect(&d, &by_digest)["RepoDigests"], json!([by_digest]));
    d.ok(["rmi", &by_digest]);
    assert_empty(&d);
    drop(registry);
    d.finish();
}

fn a_mirror_serves_the_hub(manager: Manager) {
    let d = Daemon::start_with(manager, &["--registry-mirror", "http://127.0.0.1:5000"]);
    let registry = Registry::start(&d);
    registry.push(&busybox_tar(d.directory()), "library/box:latest");
    let said = d.ok(["pull", "box"]);
    for line in [
        "latest: Pulling from library/box",
        "Downloaded newer image for box:latest",
        "docker.io/library/box:latest",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    assert_eq!(inspect(&d, "box")["RepoTags"], json!(["box:latest"]));
    d.ok(["rmi", "docker.io/library/box"]);
    assert_empty(&d);
    drop(registry);
    d.finish();
}

fn what_is_not_there_is_told_in_dockers_words(manager: Manager) {
    let d = Daemon::start_with(manager, &[]);
    let registry = Registry::start(&d);
    registry.push(&busybox_tar(d.directory()), "box:1");
    let host = &registry.host;
    for (args, want) in [
        (["pull", &format!("{host}/box:2")], "manifest unknown: manifest unknown"),
        (
            ["pull", &format!("{host}/none:1")],
            &format!("manifest for {host}/none:1 not found"),
        ),
        (
            ["pull", "127.0.0.1:1/x"],
            "dial tcp 127.0.0.1:1: connect: connection refused",
        ),
        (["pull", "Upper"], "must be lowercase"),
        (["rmi", "none"], "No such image: none:latest"),
        (["rmi", "abcdef"], "No such image: abcdef:latest"),
        (["history", "none"], "No such image: none:latest"),
        (["push", "none"], "not supported"),
    ] {
        let said = fails(&d, args);
        assert!(said.contains(want), "docker {args:?}: {said}");
    }
    let said = fails(&d, ["tag", "none", "x"]);
    assert!(said.contains("No such image: none:latest"), "{said}");
    let said = fails(&d, ["pull", "--platform", "linux/s390x", &format!("{host}/box:1")]);
    assert!(said.contains("linux/s390x"), "{said}");
    assert_empty(&d);
    drop(registry);
    d.finish();
}

fn archives_of_all_kinds_are_loaded(manager: Manager) {
    let d = Daemon::start_with(manager, &[]);
    let plain = busybox_tar(d.directory());
    assert_eq!(
        d.ok(["load", "-i", plain.to_str().unwrap()]),
        "Loaded image: busybox:latest"
    );
    let id = d.ok(["images", "-q", "--no-trunc"]);

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&fs::read(&plain).unwrap()).unwrap();
    let said = load(&d, &gzip.finish().unwrap());
    assert_eq!(text(&said), "Loaded image: busybox:latest\n");
    assert_eq!(d.ok(["images", "-q", "--no-trunc"]), id);
    d.ok(["rmi", "busybox"]);

    let layout = d.directory().join("oci.tar");
    let output = Command::new(peer("skopeo"))
        .args(["copy", "-q"])
        .arg(format!("docker-archive:{}", plain.display()))
        .arg(format!("oci-archive:{}:there/box:3", layout.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(
        d.ok(["load", "-i", layout.to_str().unwrap()]),
        "Loaded image: there/box:3"
    );
    d.ok(["rmi", "there/box:3"]);

    let output = Command::new(peer("skopeo"))
        .args(["copy", "-q"])
        .arg(format!("docker-archive:{}", plain.display()))
        .arg(format!("oci-archive:{}", d.directory().join("anonymous.tar").display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let said = d.ok(["load", "-i", d.directory().join("anonymous.tar").to_str().unwrap()]);
    let id = said.strip_prefix("Loaded image ID: ").expect("an id").to_owned();
    assert_eq!(inspect(&d, &id)["RepoTags"], json!([]));
    assert!(d.ok(["image", "prune", "-f"]).contains(&id));
    assert_empty(&d);
    d.finish();
}

/// An OCI layout with an index of two platforms, as a tar; the digest of the index.
fn index_archive(d: &Daemon) -> (PathBuf, String) {
    let mut members: Vec<(String, Vec<u8>)> = Vec::new();
    let mut put = |bytes: Vec<u8>| {
        let digest = sha256(&bytes);
        members.push((format!("blobs/{}", digest.replace(':', "/")), bytes.clone()));
        json!({"digest": digest, "size": bytes.len()})
    };
    let mut manifests = Vec::new();
    let ours = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    for architecture in ["s390x", ours] {
        let layer = tar_bytes(&[("architecture", architecture.as_bytes())]);
        let diff_id = sha256(&layer);
        let mut layer = put(layer);
        layer["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar");
        let config = json!({"architecture": architecture, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}});
        let mut config = put(config.to_string().into_bytes());
        config["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]});
        let mut manifest = put(manifest.to_string().into_bytes());
        manifest["mediaType"] = json!(kind);
        manifest["platform"] = json!({"os": "linux", "architecture": architecture});
        manifests.push(manifest);
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let mut index = put(json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests})
        .to_string()
        .into_bytes());
    let digest = index["digest"].as_str().unwrap().to_owned();
    index["mediaType"] = json!(kind);
    index["annotations"] = json!({"org.opencontainers.image.ref.name": "multi:1"});
    members.push((
        "index.json".into(),
        json!({"schemaVersion": 2, "manifests": [index]})
            .to_string()
            .into_bytes(),
    ));
    members.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    let members: Vec<(&str, &[u8])> = members
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    (tar_file(d, "index.tar", &members), digest)
}

fn an_index_gives_the_image_of_this_machine(manager: Manager) {
    let d = Daemon::start_with(manager, &[]);
    let (archive, id) = index_archive(&d);
    assert_eq!(d.ok(["load", "-i", archive.to_str().unwrap()]), "Loaded image: multi:1");
    let ours = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let image = inspect(&d, "multi:1");
    assert_eq!((&image["Id"], &image["Architecture"]), (&json!(id), &json!(ours)));
    d.ok(["rmi", "multi:1"]);
    assert_empty(&d);

    let registry = Registry::start(&d);
    let output = d
        .in_netns(peer("skopeo"))
        .args(["copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false"])
        .arg(format!("oci-archive:{}:multi:1", archive.display()))
        .arg(format!("docker://{}/multi:1", registry.host))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let name = format!("{}/multi:1", registry.host);
    d.ok(["pull", &name]);
    let image = inspect(&d, &name);
    assert_eq!((&image["Id"], &image["Architecture"]), (&json!(id), &json!(ours)));
    assert!(
        fails(&d, ["pull", "--platform", "linux/riscv64", &name]).contains("no matching manifest for linux/riscv64")
    );
    d.ok(["pull", "--platform", "linux/s390x", &name]);
    assert_eq!(inspect(&d, &name)["Architecture"], json!(ours));
    let both: Value = serde_json::from_str(&d.ok(["image", "inspect", "--platform", "linux/s390x", &name])).unwrap();
    assert_eq!(both[0]["Architecture"], json!("s390x"));
    d.ok(["rmi", &name]);
    assert_empty(&d);
    drop(registry);
    d.finish();
}

fn saved_images_are_loaded_again(manager: Manager) {
    let d = Daemon::start_with(manager, &[]);
    d.ok(["load", "-i", busybox_tar(d.directory()).to_str().unwrap()]);
    d.ok(["tag", "busybox", "me/other:1"]);
    let id = d.ok(["images", "-q", "--no-trunc", "busybox"]);
    let saved = d.directory().join("saved.tar");
    let path = saved.to_str().unwrap();
    d.ok(["save", "-o", path, "busybox", "me/other:1"]);
    d.ok(["rmi", "busybox", "me/other:1"]);
    assert_empty(&d);
    let said = d.ok(["load", "-i", path]);
    assert!(
        said.contains("Loaded image: busybox:latest") && said.contains("Loaded image: me/other:1"),
        "{said}"
    );
    assert_eq!(d.ok(["images", "-q", "--no-trunc", "busybox"]), id);
    // What others make of it: the old form is there too.
    let output = Command::new(peer("skopeo"))
        .args(["inspect", &format!("docker-archive:{path}:me/other:1")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(fails(&d, ["save", "-o", path, "none"]).contains("No such image: none"));
    d.ok(["rmi", "-f", &id]);
    assert_empty(&d);
    d.finish();
}

/// A docker-archive whose layer is a link.
fn linked_archive(kind: tar::EntryType, target: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut link = header("l.tar", 0, kind);
    link.set_link_name(target).unwrap();
    link.set_cksum();
    builder.append(&link, &b""[..]).unwrap();
    let config = config_of(&[sha256(b"x")]);
    let manifest = json!([{"Config": "c.json", "RepoTags": ["bad:1"], "Layers": ["l.tar"]}]).to_string();
    for (name, text) in [("c.json", &config), ("manifest.json", &manifest)] {
        builder
            .append(&header(name, text.len(), tar::EntryType::Regular), text.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

/// A gigabyte of JSON, as far as it gets.
fn bomb() -> Vec<u8> {
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(header("manifest.json", 1 << 30, tar::EntryType::Regular).as_bytes())
        .unwrap();
    for _ in 0..64 {
        bomb.write_all(&vec![b' '; 1 << 20]).unwrap();
    }
    bomb.finish().unwrap()
}

/// Archives that are broken, and what is said of each.
fn broken_archives(good: &[u8], layer: &[u8]) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let misnamed = format!("blobs/sha256/{}", "a".repeat(64));
    let empty_index: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;
    let missing = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 7, "digest": sha256(b"missing"),
    }]});
    let stray = json!([{"Config": "../../../etc/passwd", "RepoTags": ["bad:1"], "Layers": []}]).to_string();
    let link = linked_archive;
    vec![
        (
            "no tar",
            b"this is no archive".repeat(100),
            "archive/tar: invalid tar header",
        ),
        ("cut", good[..good.len() / 2].to_vec(), "unexpected EOF"),
        ("empty", tar_bytes(&[]), "unrecognized image format"),
        (
            "a name that leads out",
            tar_bytes(&[("../../tmp/out", b"x")]),
            "outside of the archive",
        ),
        (
            "an absolute name",
            tar_bytes(&[("/etc/out", b"x")]),
            "outside of the archive",
        ),
        (
            "a config elsewhere",
            tar_bytes(&[("manifest.json", stray.as_bytes())]),
            "outside of the archive",
        ),
        (
            "a link out",
            link(tar::EntryType::Symlink, "/etc/passwd"),
            "leads out of the archive",
        ),
        (
            "a hard link out",
            link(tar::EntryType::Link, "../../etc/passwd"),
            "outside of the archive",
        ),
        (
            "a link to itself",
            link(tar::EntryType::Symlink, "l.tar"),
            "too many links",
        ),
        (
            "a wrong diff id",
            docker_archive(layer, &sha256(b"other")),
            "wrong diff id",
        ),
        (
            "a layer that is none",
            docker_archive(b"no tar at all", &sha256(b"no tar at all")),
            "failed to extract layer",
        ),
        (
            "a wrong digest",
            tar_bytes(&[(&misnamed, b"{}"), ("index.json", empty_index)]),
            "unexpected commit digest",
        ),
        (
            "a missing manifest",
            tar_bytes(&[("index.json", missing.to_string().as_bytes())]),
            "not found",
        ),
        ("a bomb", bomb(), "too large"),
        (
            "no JSON",
            tar_bytes(&[("manifest.json", b"]")]),
            "invalid manifest.json",
        ),
    ]
}

fn broken_archives_leave_nothing(manager: Manager) {
    let d = Daemon::start_with(manager, &[]);
    let layer = tar_bytes(&[("file", b"x")]);
    let good = docker_archive(&layer, &sha256(&layer));
    for (what, bytes, want) in broken_archives(&good, &layer) {
        let output = load(&d, &bytes);
        assert!(!output.status.success(), "{what}: {}", text(&output));
        assert!(text(&output).contains(want), "{what}: {}", text(&output));
        assert_empty(&d);
    }
    assert!(!Path::new("/tmp/out").exists() && !Path::new("/etc/out").exists());
    assert_eq!(text(&load(&d, &good)), "Loaded image: bad:1\n");
    d.ok(["rmi", "bad:1"]);
    assert_empty(&d);
    d.finish();
}

/// Whether such a layer is refused or confined is for the layer below to say; the host has nothing of it.
fn hostile_layers_stay_inside(manager: Manager) {
    let d = Daemon::start_with(manager, &[]);
    let name = format!("escape-{}", d.mark());
    let outside = std::env::temp_dir().join(&name);
    let up = format!("../../../../../../../../../../../../tmp/{name}");
    let (through, absolute) = (format!("link/{name}"), format!("/tmp/{name}"));
    let member = |builder: &mut tar::Builder<Vec<u8>>, name: &str, kind, target: &str| {
        let mut header = header(name, if target.is_empty() { 1 } else { 0 }, kind);
        if !target.is_empty() {
            header.set_link_name(target).unwrap();
            header.set_cksum();
        }
        builder
            .append(&header, if target.is_empty() { &b"x"[..] } else { b"" })
            .unwrap();
    };
    let file = tar::EntryType::Regular;
    let links = |target: &str, kind, then: &str| {
        let mut builder = tar::Builder::new(Vec::new());
        member(&mut builder, "link", kind, target);
        member(&mut builder, then, file, "");
        builder.into_inner().unwrap()
    };
    let passwd = fs::read("/etc/passwd").unwrap();
    let layers = [
        links("/tmp", tar::EntryType::Symlink, &up),
        links("/tmp", tar::EntryType::Symlink, &absolute),
        links("/tmp", tar::EntryType::Symlink, &through),
        links("../../../../../../../../tmp", tar::EntryType::Symlink, &through),
        links("/etc/passwd", tar::EntryType::Link, "link"),
        links("../../../../../../../../etc/passwd", tar::EntryType::Link, "link"),
    ];
    for layer in layers {
        let loaded = load(&d, &docker_archive(&layer, &sha256(&layer)));
        assert!(!outside.exists(), "{}", text(&loaded));
        assert_eq!(fs::read("/etc/passwd").unwrap(), passwd);
        if loaded.status.success() {
            d.ok(["rmi", "bad:1"]);
        }
        assert_empty(&d);
    }
    d.finish();
}

fn a_root_filesystem_is_imported(manager: Manager) {
    let d = Daemon::start_with(manager, &[]);
    let tar = tar_file(&d, "root.tar", &[("etc/hostname", b"h")]);
    let path = tar.to_str().unwrap();
    let said = d.ok([
        "import",
        "-m",
        "mine",
        "-c",
        "CMD [\"/x\"]",
        "-c",
        "ENV A=b",
        path,
        "made:1",
    ]);
    let image = inspect(&d, "made:1");
    assert_eq!(image["Id"], json!(said));
    assert_eq!(image["Comment"], json!("mine"));
    assert_eq!(
        (&image["Config"]["Cmd"], &image["Config"]["Env"]),
        (&json!(["/x"]), &json!(["A=b"]))
    );
    assert!(d.ok(["history", "made:1"]).contains("mine"));
    assert!(fails(&d, ["import", "-c", "RUN x", path, "made:2"]).contains("RUN is not a valid change command"));
    d.ok(["rmi", "made:1"]);

    let cut = d.directory().join("cut.tar");
    fs::write(&cut, &fs::read(&tar).unwrap()[..512]).unwrap();
    assert!(fails(&d, ["import", cut.to_str().unwrap(), "made:3"]).contains("unexpected EOF"));
    assert_empty(&d);
    d.finish();
}

fn removal_follows_dockers_rules(manager: Manager) {
    let d = Daemon::start_with(manager, &[]);
    d.ok(["load", "-i", busybox_tar(d.directory()).to_str().unwrap()]);
    // The collection that the removal of another image starts leaves this one whole.
    let other = tar_file(&d, "other.tar", &[("file", b"x")]);
    d.ok(["import", other.to_str().unwrap(), "other"]);
    d.ok(["rmi", "other"]);
    d.ok([
        "save",
        "-o",
        d.directory().join("whole.tar").to_str().unwrap(),
        "busybox",
    ]);
    let id = d.ok(["images", "-q", "--no-trunc"]);
    let short = &id["sha256:".len()..][..12];
    d.ok(["tag", "busybox", "b:1"]);
    let said = fails(&d, ["rmi", short]);
    assert!(
        said.contains(&format!(
            "unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )),
        "{said}"
    );
    assert_eq!(d.ok(["rmi", "b:1"]), "Untagged: b:1");

    let container = d.ok(["create", "--name", "user", "busybox", "true"]);
    let said = fails(&d, ["rmi", "busybox"]);
    let want = format!(
        "conflict: unable to remove repository reference \"busybox:latest\" (must force) - container {} is using its referenced image {short}",
        &container[..12]
    );
    assert!(said.contains(&want), "{said}");
    let said = fails(&d, ["rmi", short]);
    assert!(
        said.contains(&format!(
            "image is being used by stopped container {}",
            &container[..12]
        )),
        "{said}"
    );
    assert_eq!(d.ok(["rmi", "-f", "busybox"]), "Untagged: busybox:latest");
    assert_eq!(d.ok(["images", "-q", "--no-trunc", "--filter", "dangling=true"]), id);
    assert!(d.ok(["image", "prune", "-f"]).contains("0B"));
    d.ok(["rm", "user"]);
    assert!(d.ok(["image", "prune", "-f"]).contains(&id));
    assert_empty(&d);
    d.finish();
}

/// What a registry that misbehaves serves: a manifest, its config, and one layer of four megabytes.
struct Served {
    manifest: String,
    config: String,
    layer: Vec<u8>,
}

impl Served {
    fn new() -> Self {
        let noise: Vec<u8> = (0..4_000_000u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .take(4_000_000)
            .collect();
        let layer = tar_bytes(&[("noise", &noise)]);
        let config = config_of(&[sha256(&layer)]);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": config.len(), "digest": sha256(config.as_bytes())},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": layer.len(), "digest": sha256(&layer)}],
        });
        Self {
            manifest: manifest.to_string(),
            config,
            layer,
        }
    }

    /// Answers for all but the layer; says whether it did.
    fn documents(&self, asked: &Asked, stream: &mut TcpStream) -> bool {
        let (body, kind) = if asked.path.contains("/manifests/") {
            (
                &self.manifest,
                "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n",
            )
        } else if asked.path.ends_with(&sha256(self.config.as_bytes())) {
            (&self.config, "")
        } else {
            return false;
        };
        let headers = format!("{kind}Docker-Content-Digest: {}\r\n", sha256(body.as_bytes()));
        let _ = stream.write_all(&head("200 OK", &headers, body.len()));
        if asked.method == "GET" {
            let _ = stream.write_all(body.as_bytes());
        }
        true
    }

    /// Serves the layer from where it is asked for, at most `length` bytes.
    fn layer(&self, asked: &Asked, length: usize, stream: &mut TcpStream) {
        let (start, total) = (asked.start, self.layer.len());
        let range = format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1);
        let (status, headers) = if start == 0 {
            ("200 OK", "")
        } else {
            ("206 Partial Content", range.as_str())
        };
        let _ = stream.write_all(&head(status, headers, total - start));
        let _ = stream.write_all(&self.layer[start..(start + length).min(total)]);
    }
}

fn registries_that_lie_or_break_off_leave_nothing(manager: Manager) {
    let d = Daemon::start_with(manager, &[]);
    let page = Rogue::start(&d, |_, stream| {
        let body = "<html>please log in</html>";
        let _ = stream.write_all(&head("200 OK", "Content-Type: text/html\r\n", body.len()));
        let _ = stream.write_all(body.as_bytes());
    });
    let said = fails(&d, ["pull", &format!("{}/box", page.host)]);
    assert!(
        said.contains("failed to resolve reference") && said.contains("invalid answer of the registry"),
        "{said}"
    );

    let silent = Rogue::start(&d, |_, _| {});
    let said = fails(&d, ["pull", &format!("{}/box", silent.host)]);
    assert!(said.contains("failed to do request"), "{said}");

    let served = Served::new();
    let liar = Rogue::start(&d, move |asked, stream| {
        if !served.documents(asked, stream) {
            let _ = stream.write_all(&head("200 OK", "", served.layer.len()));
            let _ = stream.write_all(&vec![7; served.layer.len()]);
        }
    });
    let said = fails(&d, ["pull", &format!("{}/box", liar.host)]);
    assert!(
        said.contains("filesystem layer verification failed for digest sha256:"),
        "{said}"
    );
    assert_empty(&d);

    let served = Served::new();
    let cutter = Rogue::start(&d, move |asked, stream| {
        if !served.documents(asked, stream) {
            served.layer(asked, if asked.start == 0 { 2_000_000 } else { 0 }, stream);
        }
    });
    let said = fails(&d, ["pull", &format!("{}/box", cutter.host)]);
    assert!(said.contains("unexpected EOF after 2000000 of"), "{said}");
    assert_empty(&d);

    let served = Served::new();
    let stumbler = Rogue::start(&d, move |asked, stream| {
        if !served.documents(asked, stream) {
            served.layer(asked, 1_500_000, stream);
        }
    });
    let name = format!("{}/box", stumbler.host);
    d.ok(["pull", &name]);
    assert!(stumbler.served() >= 6);
    d.ok(["rmi", &name]);
    assert_empty(&d);
    d.finish();
}

fn a_registry_that_wants_tokens_gets_them(manager: Manager) {
    let d = Daemon::start_with(manager, &[]);
    let served = Served::new();
    let own = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let host = own.clone();
    let registry = Rogue::start(&d, move |asked, stream| {
        let say = |stream: &mut TcpStream, status: &str, headers: &str, body: &str| {
            let _ = stream.write_all(&head(status, headers, body.len()));
            let _ = stream.write_all(body.as_bytes());
        };
        let host = host.get().cloned().unwrap_or_default();
        if asked.path.starts_with("/token") {
            match asked.authorization.as_deref() {
                // me:secret
                Some("Basic bWU6c2VjcmV0") => say(stream, "200 OK", "", r#"{"token":"T1"}"#),
                _ => say(
                    stream,
                    "401 Unauthorized",
                    "",
                    r#"{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}"#,
                ),
            }
        } else if asked.authorization.as_deref() != Some("Bearer T1") {
            let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"s\"\r\n");
            say(stream, "401 Unauthorized", &challenge, "");
        } else if asked.path == "/v2/" {
            say(stream, "200 OK", "", "{}");
        } else if !served.documents(asked, stream) {
            served.layer(asked, usize::MAX / 2, stream);
        }
    });
    own.set(registry.host.clone()).unwrap();
    let name = format!("{}/private/box:1", registry.host);
    let said = fails(&d, ["pull", &name]);
    let want = format!(
        "pull access denied for {}/private/box, repository does not exist or may require 'docker login'",
        registry.host
    );
    assert!(said.contains(&want), "{said}");
    let said = fails(&d, ["login", "-u", "me", "-p", "wrong", &registry.host]);
    assert!(said.contains("unauthorized: incorrect username or password"), "{said}");
    assert!(
        d.ok(["login", "-u", "me", "-p", "secret", &registry.host])
            .contains("Login Succeeded")
    );
    d.ok(["pull", &name]);
    d.ok(["rmi", &name]);
    assert_empty(&d);
    d.finish();
}

/// A registry that stops in the middle of the layer, without closing.
fn staller(d: &Daemon) -> Rogue {
    let served = Served::new();
    Rogue::start(d, move |asked, stream| {
        if !served.documents(asked, stream) {
            served.layer(asked, 2_000_000, stream);
            std::thread::sleep(Duration::from_secs(3600));
        }
    })
}

/// Waits for an ingest of some size.
fn wait_for_ingest(d: &Daemon) {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut files = Vec::new();
        blobs(d.directory(), &mut files);
        let big =
            |p: &PathBuf| p.display().to_string().contains("/ingest/") && p.metadata().is_ok_and(|m| m.len() > 500_000);
        if files.iter().any(big) {
            return;
        }
        assert!(Instant::now() < end, "no ingest: {files:?}\n{}", d.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn a_client_that_goes_away_stops_its_pull(manager: Manager) {
    let d = Daemon::start_with(manager, &[]);
    let registry = staller(&d);
    let mut client = d
        .docker(["pull", &format!("{}/box", registry.host)])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_ingest(&d);
    client.kill().unwrap();
    client.wait().unwrap();
    assert_empty(&d);
    d.finish();
}

fn two_pulls_of_one_image_do_not_hurt_each_other(manager: Manager) {
    let d = Daemon::start_with(manager, &[]);
    let registry = Registry::start(&d);
    let archive = busybox_tar(d.directory());
    registry.push(&archive, "box:1");
    registry.push(&archive, "box:2");
    let names = ["1", "2", "1"].map(|tag| format!("{}/box:{tag}", registry.host));
    let clients: Vec<_> = names
        .iter()
        .map(|name| {
            d.docker(["pull", name])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for client in clients {
        let output = client.wait_with_output().unwrap();
        assert!(output.status.success(), "{}\n{}", text(&output), d.log());
    }
    let id = inspect(&d, &names[0])["Id"].clone();
    assert_eq!(id, inspect(&d, &names[1])["Id"]);
    d.ok(["rmi", "-f", id.as_str().unwrap()]);
    assert_empty(&d);
    drop(registry);
    d.finish();
}

fn a_pull_that_was_killed_is_finished_by_the_next(manager: Manager) {
    let mut d = Daemon::start_with(manager, &[]);
    let served = Served::new();
    let slow = std::sync::atomic::AtomicBool::new(true);
    let registry = Rogue::start(&d, move |asked, stream| {
        if !served.documents(asked, stream) {
            if slow.swap(false, std::sync::atomic::Ordering::SeqCst) {
                served.layer(asked, 2_000_000, stream);
                std::thread::sleep(Duration::from_secs(3600));
            }
            served.layer(asked, usize::MAX / 2, stream);
        }
    });
    let name = format!("{}/box", registry.host);
    let mut client = d
        .docker(["pull", &name])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_ingest(&d);
    d.kill9(true);
    client.wait().unwrap();
    d.start_again();
    d.ok(["pull", &name]);
    d.ok(["rmi", &name]);
    d.finish();
}

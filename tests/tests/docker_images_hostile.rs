//! Images, hostile: archives that are broken or want out, registries that lie, break off or want tokens, clients and daemons that go away.
//! A clear error through the real `docker` CLI, and nothing left behind.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use containerd_rs_registry::digest::sha256;
use engine_tests::daemon::{Daemon, Manager};
use engine_tests::images::{
    assert_empty, config_of, docker_archive, fails, header, load, tar_bytes, text, wait_for_ingest,
};
use engine_tests::over_each;
use engine_tests::registry::{Asked, Rogue, head};
use serde_json::json;

over_each!(
    broken_archives_leave_nothing,
    hostile_layers_stay_inside,
    a_registry_that_wants_tokens_gets_them,
    registries_that_lie_or_break_off_leave_nothing,
    a_client_that_goes_away_stops_its_pull,
    a_pull_that_was_killed_is_finished_by_the_next,
);

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

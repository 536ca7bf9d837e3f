//! Images through the real `docker` CLI: pull, load, save, import, list, inspect, tag, remove, prune.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use containerd_rs_registry::digest::sha256;
use engine_tests::daemon::{Daemon, Manager};
use engine_tests::image_tars::{busybox_tar, image_tar};
use engine_tests::images::{assert_empty, fails, inspect, load, tar_bytes, tar_file, text};
use engine_tests::over_each;
use engine_tests::programs::peer;
use engine_tests::registry::Registry;
use serde_json::{Value, json};

over_each!(
    pull_list_inspect_tag_remove,
    a_mirror_serves_the_hub,
    what_is_not_there_is_told_in_dockers_words,
    archives_of_all_kinds_are_loaded,
    an_index_gives_the_image_of_this_machine,
    saved_images_are_loaded_again,
    a_root_filesystem_is_imported,
    removal_follows_dockers_rules,
    two_pulls_of_one_image_do_not_hurt_each_other,
);

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

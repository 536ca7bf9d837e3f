//! Against Debian's docker-registry, with images pushed by skopeo.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod support;

use std::path::Path;
use std::process::Command;

use containerd_rs_registry::digest::sha256;
use containerd_rs_registry::document::{Document, parse};
use containerd_rs_registry::{Config, Descriptor, Registry, Repository, Resolver};
use futures_util::StreamExt;
use support::{DockerRegistry, OUTSIDE, in_netns, layout};

async fn read(fetcher: &dyn containerd_rs_registry::Fetcher, blob: &Descriptor, offset: u64) -> Vec<u8> {
    let mut stream = fetcher.fetch(blob, offset).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    bytes
}

#[tokio::test]
async fn an_image_is_resolved_and_fetched_whole_and_in_part() {
    let directory = tempfile::tempdir().unwrap();
    let image = layout(directory.path(), 3_000_000);
    let server = DockerRegistry::start(directory.path(), "127.0.0.1", None);
    server.push(&image.path, "some/box:1");
    server.push(&image.path, "some/box:2");

    let session = Registry::new(&Config::default()).unwrap().session(None);
    let repository = Repository::new(&server.host, "some/box").unwrap();
    let by_tag = session.resolve(&repository, "1").await.unwrap();
    assert_eq!(by_tag.digest().as_ref(), image.manifest);
    assert_eq!(session.resolve(&repository, &image.manifest).await.unwrap(), by_tag);
    let mut tags = session.tags(&repository).await.unwrap();
    tags.sort();
    assert_eq!(tags, ["1", "2"]);

    let fetcher = session.fetcher(&repository);
    let bytes = fetcher.document(&by_tag).await.unwrap();
    let Document::Manifest(manifest) = parse(by_tag.media_type().as_ref(), "m", &bytes).unwrap() else {
        panic!("not a manifest");
    };
    let layer = &manifest.layers()[0];
    assert_eq!(
        sha256(&read(fetcher.as_ref(), layer, 0).await),
        layer.digest().to_string()
    );
    assert_eq!(
        read(fetcher.as_ref(), layer, 2_999_000).await,
        &image.layer[2_999_000..]
    );
    assert_eq!(read(fetcher.as_ref(), layer, 3_000_000).await, b"");

    let missing = session.resolve(&repository, "3").await.unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
    assert_eq!(
        missing.api_errors()[0].to_string(),
        "manifest unknown: manifest unknown"
    );
    let nowhere = Repository::new(&server.host, "no/where").unwrap();
    assert!(session.tags(&nowhere).await.unwrap_err().is_not_found());
}

/// An authority, and a certificate of it for [`OUTSIDE`].
fn certificates(directory: &Path) {
    let run = |args: &str| {
        let done = Command::new("openssl")
            .args(args.split(' '))
            .current_dir(directory)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "openssl {args}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    };
    let extension = format!("subjectAltName=IP:{OUTSIDE}\nbasicConstraints=CA:FALSE\n");
    std::fs::write(directory.join("ext"), extension).unwrap();
    run(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=test-ca",
    );
    run("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout own.key -out own.csr -subj /CN=registry");
    run("x509 -req -in own.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out own.crt -days 2 -extfile ext");
}

#[test]
fn a_private_authority_is_trusted_for_its_host_only() {
    in_netns(|| async {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        certificates(at);
        let image = layout(at, 1000);
        let server = DockerRegistry::start(at, OUTSIDE, Some((&at.join("own.crt"), &at.join("own.key"))));
        server.push(&image.path, "box:1");
        let repository = Repository::new(&server.host, "box").unwrap();
        let config = |certs: &str| Config {
            certs_dir: at.join(certs),
            ..Config::default()
        };
        let resolve = |config: Config| {
            let repository = repository.clone();
            async move {
                Registry::new(&config)
                    .unwrap()
                    .session(None)
                    .resolve(&repository, "1")
                    .await
            }
        };

        let unknown = resolve(config("none")).await.unwrap_err().to_string();
        assert!(
            unknown.contains("x509: certificate signed by unknown authority"),
            "{unknown}"
        );

        let trusted = at.join("certs").join(&server.host);
        std::fs::create_dir_all(&trusted).unwrap();
        std::fs::copy(at.join("ca.crt"), trusted.join("ca.crt")).unwrap();
        assert_eq!(
            resolve(config("certs")).await.unwrap().digest().as_ref(),
            image.manifest
        );

        let listed = Config {
            insecure: vec![server.host.clone()],
            ..config("none")
        };
        assert_eq!(resolve(listed).await.unwrap().digest().as_ref(), image.manifest);

        std::fs::write(trusted.join("client.cert"), "x").unwrap();
        let half = resolve(config("certs")).await.unwrap_err().to_string();
        assert!(half.contains("missing key"), "{half}");
    });
}

#[tokio::test]
async fn a_mirror_serves_the_hub_and_may_be_dead() {
    let directory = tempfile::tempdir().unwrap();
    let image = layout(directory.path(), 1000);
    let server = DockerRegistry::start(directory.path(), "127.0.0.1", None);
    server.push(&image.path, "library/box:1");
    let mirrors = vec!["http://127.0.0.1:1".to_owned(), format!("http://{}", server.host)];
    let session = Registry::new(&Config {
        mirrors,
        ..Config::default()
    })
    .unwrap()
    .session(None);
    let repository = Repository::new("docker.io", "library/box").unwrap();
    assert_eq!(
        session.resolve(&repository, "1").await.unwrap().digest().as_ref(),
        image.manifest
    );
}

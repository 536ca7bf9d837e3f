//! Against servers that lie, break off, or want what is not theirs.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use containerd_rs_registry::digest::{parse, sha256};
use containerd_rs_registry::{
    Config, Credentials, Descriptor, MediaType, Registry, RegistryError, Repository, Resolver, Session,
};
use futures_util::StreamExt;
use support::{OUTSIDE, Request, Script, head, in_netns, manifest, manifest_headers, noise, reply};

fn session(credentials: Option<(String, Credentials)>) -> Session {
    Registry::new(&Config::default()).unwrap().session(credentials)
}

fn basic() -> Credentials {
    Credentials::Basic {
        username: "me".into(),
        password: "secret".into(),
    }
}

fn blob(bytes: &[u8]) -> Descriptor {
    Descriptor::new(
        MediaType::ImageLayer,
        bytes.len() as u64,
        parse(&sha256(bytes)).unwrap(),
    )
}

async fn resolve(server: &Script) -> Result<Descriptor, RegistryError> {
    session(None)
        .resolve(&Repository::new(&server.host, "box").unwrap(), "1")
        .await
}

async fn fetch(server: &Script, blob: &Descriptor) -> Result<Vec<u8>, RegistryError> {
    let fetcher = session(None).fetcher(&Repository::new(&server.host, "box").unwrap());
    let mut stream = fetcher.fetch(blob, 0).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes)
}

#[tokio::test]
async fn garbage_in_the_place_of_a_manifest_is_an_error() {
    let page = "Content-Type: text/html\r\n";
    let server = Script::start(move |_| reply("200 OK", page, b"<html>please log in</html>")).await;
    assert!(matches!(resolve(&server).await, Err(RegistryError::Garbage { .. })));

    let server = Script::start(|_| b"SSH-2.0-OpenSSH_9\r\n".to_vec()).await;
    assert!(matches!(resolve(&server).await, Err(RegistryError::Transport { .. })));

    let server = Script::start(|_| Vec::new()).await;
    assert!(matches!(resolve(&server).await, Err(RegistryError::Transport { .. })));

    let both = br#"{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}"#;
    let media_type = "Content-Type: application/vnd.oci.image.index.v1+json\r\n";
    let server = Script::start(move |_| reply("200 OK", media_type, both)).await;
    assert!(matches!(resolve(&server).await, Err(RegistryError::Document { .. })));

    let old = "Content-Type: application/vnd.docker.distribution.manifest.v1+prettyjws\r\n";
    let server = Script::start(move |_| reply("200 OK", old, b"{}")).await;
    assert!(matches!(resolve(&server).await, Err(RegistryError::Schema1 { .. })));

    let server = Script::start(|_| reply("200 OK", &manifest_headers("sha256:../../x"), b"{}")).await;
    assert!(matches!(resolve(&server).await, Err(RegistryError::Garbage { .. })));
}

#[tokio::test]
async fn a_manifest_that_is_not_its_digest_is_refused() {
    let document = manifest(&sha256(b"c"), 1, &sha256(b"l"), 1);
    let wrong = sha256(b"something else");
    let length = document.len();
    let named = wrong.clone();
    let server = Script::start(move |request| match request.method.as_str() {
        "HEAD" => head("200 OK", &manifest_headers(&named), length),
        _ => reply("200 OK", &manifest_headers(&named), document.as_bytes()),
    })
    .await;
    let descriptor = resolve(&server).await.unwrap();
    let fetcher = session(None).fetcher(&Repository::new(&server.host, "box").unwrap());
    assert!(matches!(
        fetcher.document(&descriptor).await,
        Err(RegistryError::Digest { .. })
    ));

    let other = sha256(b"what was asked for");
    let refused = session(None)
        .resolve(&Repository::new(&server.host, "box").unwrap(), &other)
        .await;
    assert!(matches!(refused, Err(RegistryError::Digest { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_manifest_without_end_is_cut_at_the_limit() {
    let digest = sha256(b"x");
    let big = vec![b' '; 5 << 20];
    let server = Script::start(move |request| match request.method.as_str() {
        "HEAD" => reply("405 Method Not Allowed", "", b""),
        _ => reply("200 OK", &manifest_headers(&digest), &big),
    })
    .await;
    assert!(matches!(resolve(&server).await, Err(RegistryError::TooLarge { .. })));
}

/// Serves a blob in pieces: `length` bytes a connection, with or without ranges.
fn pieces(bytes: Vec<u8>, length: usize, ranges: bool) -> impl Fn(&Request) -> Vec<u8> + Send + Sync {
    move |request| {
        let start = if ranges { request.start() } else { 0 };
        let total = bytes.len();
        let (status, headers) = match start {
            0 => ("200 OK", String::new()),
            _ => (
                "206 Partial Content",
                format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1),
            ),
        };
        let mut answer = head(status, &headers, total - start);
        answer.extend_from_slice(&bytes[start..(start + length).min(total)]);
        answer
    }
}

#[tokio::test]
async fn a_blob_that_breaks_off_is_resumed_where_it_broke() {
    let bytes = noise(300_000);
    let server = Script::start(pieces(bytes.clone(), 100_000, true)).await;
    assert_eq!(fetch(&server, &blob(&bytes)).await.unwrap(), bytes);
    let starts: Vec<usize> = server.seen().iter().map(Request::start).collect();
    assert_eq!(starts, [0, 100_000, 200_000]);
}

#[tokio::test]
async fn a_server_without_ranges_is_read_again_from_the_start() {
    let bytes = noise(300_000);
    let whole = bytes.clone();
    let server = Script::start(move |request| {
        let length = if request.count == 0 { 100_000 } else { whole.len() };
        pieces(whole.clone(), length, false)(request)
    })
    .await;
    assert_eq!(fetch(&server, &blob(&bytes)).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_blob_that_never_comes_to_its_end_is_given_up() {
    let bytes = noise(100_000);
    let server = Script::start(pieces(bytes.clone(), 0, true)).await;
    let error = fetch(&server, &blob(&bytes)).await.unwrap_err();
    assert!(matches!(error, RegistryError::BrokenOff { got: 0, .. }), "{error}");
    assert!(server.seen().len() < 10);
}

#[tokio::test]
async fn a_range_that_was_not_asked_for_is_refused() {
    let bytes = noise(1000);
    let server = Script::start(move |request| match request.start() {
        0 => head("200 OK", "", 1000),
        _ => reply("206 Partial Content", "Content-Range: bytes 7-999/1000\r\n", &[0; 993]),
    })
    .await;
    let fetcher = session(None).fetcher(&Repository::new(&server.host, "box").unwrap());
    assert!(matches!(
        fetcher.fetch(&blob(&bytes), 500).await,
        Err(RegistryError::Garbage { .. })
    ));
}

#[tokio::test]
async fn a_blob_longer_than_it_says_is_cut() {
    let server = Script::start(|_| reply("200 OK", "", &[0; 5000])).await;
    let error = fetch(&server, &blob(&[0; 4999])).await.unwrap_err();
    assert!(matches!(error, RegistryError::Size { expected: 4999, .. }), "{error}");
}

#[tokio::test]
async fn a_busy_server_is_asked_again_but_not_for_ever() {
    let bytes = noise(1000);
    let served = bytes.clone();
    let server = Script::start(move |request| match request.count {
        0 => reply("503 Service Unavailable", "", b""),
        1 => reply("429 Too Many Requests", "Retry-After: 0\r\n", b""),
        _ => reply("200 OK", "", &served),
    })
    .await;
    assert_eq!(fetch(&server, &blob(&bytes)).await.unwrap(), bytes);

    let down = Script::start(|_| {
        reply(
            "500 Internal Server Error",
            "",
            b"{\"errors\":[{\"code\":\"UNKNOWN\",\"message\":\"m\"}]}",
        )
    })
    .await;
    let error = fetch(&down, &blob(&bytes)).await.unwrap_err();
    assert!(
        error.to_string().contains("500 Internal Server Error: unknown: m"),
        "{error}"
    );
    assert!(down.seen().len() < 10);
}

/// A registry that wants a token for everything, and its token server.
async fn token_registry(bytes: Vec<u8>, elsewhere: Option<String>) -> Script {
    let own: Arc<std::sync::OnceLock<String>> = Arc::default();
    let host = own.clone();
    let server = Script::start(move |request| {
        let host = host.get().cloned().unwrap_or_default();
        if request.path.starts_with("/token") {
            let allowed = request.header("authorization") == Some("Basic bWU6c2VjcmV0")
                || request.path.contains("refresh_token=identity");
            return match allowed {
                true => reply("200 OK", "", br#"{"access_token":"T1","expires_in":60}"#),
                false => reply(
                    "401 Unauthorized",
                    "",
                    br#"{"errors":[{"code":"UNAUTHORIZED","message":"bad password"}]}"#,
                ),
            };
        }
        if request.header("authorization") != Some("Bearer T1") {
            let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"reg\"\r\n");
            return reply("401 Unauthorized", &challenge, b"");
        }
        match &elsewhere {
            Some(other) => reply(
                "307 Temporary Redirect",
                &format!("Location: http://{other}/cdn\r\n"),
                b"",
            ),
            None => reply("200 OK", "", &bytes),
        }
    })
    .await;
    own.set(server.host.clone()).unwrap();
    server
}

async fn fetch_as(server: &Script, credentials: Option<Credentials>, wanted: &Descriptor) -> Result<(), RegistryError> {
    let session = session(credentials.map(|c| (server.host.clone(), c)));
    let fetcher = session.fetcher(&Repository::new(&server.host, "box").unwrap());
    for _ in 0..2 {
        let mut stream = fetcher.fetch(wanted, 0).await?;
        while let Some(chunk) = stream.next().await {
            chunk?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_token_is_bought_once_with_what_the_user_has() {
    let bytes = noise(1000);
    for credentials in [basic(), Credentials::IdentityToken("identity".into())] {
        let server = token_registry(bytes.clone(), None).await;
        fetch_as(&server, Some(credentials), &blob(&bytes)).await.unwrap();
        let tokens: Vec<Request> = server
            .seen()
            .into_iter()
            .filter(|r| r.path.starts_with("/token"))
            .collect();
        assert_eq!(tokens.len(), 1);
        let path = tokens[0].path.replace("%3A", ":");
        assert!(
            path.contains("service=reg") && path.contains("scope=repository:box:pull"),
            "{path}"
        );
    }
    let server = token_registry(bytes.clone(), None).await;
    let ready = Credentials::RegistryToken("T1".into());
    fetch_as(&server, Some(ready), &blob(&bytes)).await.unwrap();
    assert!(!server.seen().iter().any(|r| r.path.starts_with("/token")));
}

#[tokio::test]
async fn a_wrong_password_is_denied_in_the_servers_words() {
    let server = token_registry(Vec::new(), None).await;
    let wrong = Credentials::Basic {
        username: "me".into(),
        password: "wrong".into(),
    };
    for credentials in [Some(wrong), None] {
        let error = fetch_as(&server, credentials, &blob(b"x")).await.unwrap_err();
        assert!(
            error.is_denied() && error.to_string().contains("bad password"),
            "{error}"
        );
    }
}

/// CVE-2020-15157: a layer served from elsewhere wants to know who we are.
#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let bytes = noise(1000);
    let served = bytes.clone();
    let cdn = Script::start(move |_| reply("200 OK", "", &served)).await;
    let server = token_registry(bytes.clone(), Some(cdn.host.clone())).await;
    fetch_as(&server, Some(basic()), &blob(&bytes)).await.unwrap();
    assert!(!cdn.seen().is_empty());
    assert!(cdn.seen().iter().all(|r| r.header("authorization").is_none()));

    let greedy = Script::start(|_| reply("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", b"")).await;
    let server = token_registry(bytes.clone(), Some(greedy.host.clone())).await;
    assert!(fetch_as(&server, Some(basic()), &blob(&bytes)).await.is_err());
    assert!(greedy.seen().iter().all(|r| r.header("authorization").is_none()));
}

#[tokio::test]
async fn credentials_of_one_registry_are_not_shown_to_another() {
    let server = Script::start(|_| reply("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", b"")).await;
    let session = session(Some(("registry.example".into(), basic())));
    let repository = Repository::new(&server.host, "box").unwrap();
    let error = session.resolve(&repository, "1").await.unwrap_err();
    assert!(matches!(error, RegistryError::NoCredentials { .. }), "{error}");
    assert!(server.seen().iter().all(|r| r.header("authorization").is_none()));
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let server = Script::start(|_| reply("302 Found", "Location: /again\r\n", b"")).await;
    assert!(matches!(resolve(&server).await, Err(RegistryError::Garbage { .. })));
    assert!(server.seen().len() < 30);
}

/// CVE-2014-5277, CVE-2015-1843.
#[test]
fn a_host_that_is_not_insecure_is_never_spoken_to_in_the_clear() {
    in_netns(|| async {
        let plain = Arc::new(AtomicUsize::new(0));
        let count = plain.clone();
        let server = Script::start_on(OUTSIDE, move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            reply("200 OK", "", b"{}")
        })
        .await;
        let error = resolve(&server).await.unwrap_err().to_string();
        assert!(error.contains("server gave HTTP response to HTTPS client"), "{error}");
        assert_eq!(plain.load(Ordering::Relaxed), 0);
    });
}

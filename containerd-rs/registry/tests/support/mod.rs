//! Servers to test against: Debian's docker-registry, and one that says whatever a test wants.

#![allow(dead_code, unreachable_pub, clippy::expect_used, missing_docs)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use containerd_rs_registry::digest::sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An address that is not loopback for the rules, yet private to a test.
pub const OUTSIDE: &str = "192.0.2.1";

/// Runs a test in a network namespace of its own, where [`OUTSIDE`] is an address of this machine.
pub fn in_netns<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let body = move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
        for args in ["link set lo up", &format!("addr add {OUTSIDE}/32 dev lo")] {
            let done = Command::new("ip").args(args.split(' ')).status().expect("ip runs");
            assert!(done.success(), "ip {args}");
        }
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(test());
    };
    if let Err(panic) = std::thread::spawn(body).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Debian's docker-registry, with its data in a directory.
pub struct DockerRegistry {
    child: Child,
    /// `host:port`.
    pub host: String,
}

impl DockerRegistry {
    /// Starts one on a free port of `address`, with the certificate and key when they are given.
    pub fn start(directory: &Path, address: &str, tls: Option<(&Path, &Path)>) -> Self {
        let tls = tls.map_or(String::new(), |(certificate, key)| {
            format!(
                "  tls:\n    certificate: {}\n    key: {}\n",
                certificate.display(),
                key.display()
            )
        });
        let data = directory.join("registry");
        let config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}:0\n{tls}",
            data.display()
        );
        let path = directory.join("registry.yml");
        std::fs::write(&path, config).expect("configuration");
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry runs");
        let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines();
        let port = loop {
            let line = lines.next().expect("docker-registry listens").expect("its log");
            if let Some((_, rest)) = line.split_once("listening on ") {
                let text: String = rest.split(',').next().unwrap_or_default().to_owned();
                let digits = text.rsplit(':').next().unwrap_or_default();
                break digits.chars().take_while(char::is_ascii_digit).collect::<String>();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            host: format!("{address}:{port}"),
        }
    }

    /// Pushes an OCI layout's image with skopeo.
    pub fn push(&self, layout: &Path, name: &str) {
        let done = Command::new("skopeo")
            .args(["copy", "-q", "--preserve-digests", "--dest-tls-verify=false"])
            .arg(format!("oci:{}:image", layout.display()))
            .arg(format!("docker://{}/{name}", self.host))
            .status()
            .expect("skopeo runs");
        assert!(done.success(), "skopeo copy to {}/{name}", self.host);
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A small image in OCI layout: its manifest's digest, and its layer.
pub struct Layout {
    pub path: PathBuf,
    pub manifest: String,
    pub layer: Vec<u8>,
}

/// Writes an OCI layout with one image of one layer of `size` bytes.
pub fn layout(directory: &Path, size: usize) -> Layout {
    let path = directory.join("layout");
    std::fs::create_dir_all(path.join("blobs/sha256")).expect("layout");
    let put = |bytes: &[u8]| {
        let digest = sha256(bytes);
        std::fs::write(path.join("blobs").join(digest.replace(':', "/")), bytes).expect("blob");
        digest
    };
    let layer = noise(size);
    let layer_digest = put(&layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{layer_digest}"]}},"config":{{}}}}"#
    );
    let config_digest = put(config.as_bytes());
    let manifest = manifest(&config_digest, config.len(), &layer_digest, layer.len());
    let digest = put(manifest.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":{},"digest":"{digest}","annotations":{{"org.opencontainers.image.ref.name":"image"}}}}]}}"#,
        manifest.len()
    );
    std::fs::write(path.join("index.json"), index).expect("index");
    std::fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("layout");
    Layout {
        path,
        manifest: digest,
        layer,
    }
}

/// A manifest of one layer.
pub fn manifest(config: &str, config_size: usize, layer: &str, layer_size: usize) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","size":{config_size},"digest":"{config}"}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":{layer_size},"digest":"{layer}"}}]}}"#
    )
}

/// Bytes that do not repeat.
pub fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// A request, as much of it as tests look at.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    /// How many requests came before this one.
    pub count: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte that `Range` asks for.
    pub fn start(&self) -> usize {
        let range = self
            .header("range")
            .and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-'));
        range.and_then(|r| r.parse().ok()).unwrap_or(0)
    }
}

/// A server that answers with the bytes that a test makes of each request, and then closes the connection.
pub struct Script {
    pub host: String,
    seen: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Script {
    pub async fn start(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1", answer).await
    }

    pub async fn start_on(address: &str, answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((address, 0)).await.expect("a port");
        let host = listener.local_addr().expect("its address").to_string();
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (log, answer) = (seen.clone(), Arc::new(answer));
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (log, answer) = (log.clone(), answer.clone());
                tokio::spawn(async move { serve(stream, &log, answer.as_ref()).await });
            }
        });
        Self { host, seen, task }
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("the log").clone()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, log: &Mutex<Vec<Request>>, answer: &(dyn Fn(&Request) -> Vec<u8> + Send + Sync)) {
    let mut head = Vec::new();
    let mut byte = [0u8; 1];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) if head.len() < 65536 => head.push(byte[0]),
            _ => return,
        }
        // A TLS greeting has no lines: answer as a plain server would.
        if head.len() == 3 && head[0] == 0x16 {
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await;
            return;
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (
        first.next().unwrap_or_default().to_owned(),
        first.next().unwrap_or_default().to_owned(),
    );
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers
        .get("content-length")
        .and_then(|l| l.parse::<usize>().ok())
        .unwrap_or(0);
    let mut body = vec![0u8; length.min(65536)];
    let _ = stream.read_exact(&mut body).await;
    let request = {
        let mut log = log.lock().expect("the log");
        let path = if method == "POST" {
            format!("{path}?{}", String::from_utf8_lossy(&body))
        } else {
            path
        };
        let request = Request {
            method,
            path,
            headers,
            count: log.len(),
        };
        log.push(request.clone());
        request
    };
    let _ = stream.write_all(&answer(&request)).await;
    let _ = stream.shutdown().await;
}

/// A reply with headers (each ending in CRLF) and a body.
pub fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A reply without a body that tells the length of one.
pub fn head(status: &str, headers: &str, length: usize) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n").into_bytes()
}

/// The headers of a manifest.
pub fn manifest_headers(digest: &str) -> String {
    format!("Content-Type: application/vnd.oci.image.manifest.v1+json\r\nDocker-Content-Digest: {digest}\r\n")
}

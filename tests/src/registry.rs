//! Registries for a daemon's tests: Debian's docker-registry, and servers that misbehave. Both live in the daemon's network namespace.

#![allow(clippy::expect_used)] // a harness fails by panicking

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, PATIENCE};
use crate::programs::peer;

/// A docker-registry on `127.0.0.1` of the daemon's network namespace.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    netns: String,
    /// `127.0.0.1:PORT`.
    pub host: String,
}

impl Registry {
    /// Starts one; its data lives in the daemon's directory.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(daemon: &Daemon) -> Self {
        let port = 5000;
        let directory = daemon.directory().join("registry");
        fs::create_dir_all(&directory).expect("registry directory");
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            directory.join("data").display()
        );
        let path = directory.join("config.yml");
        fs::write(&path, config).expect("registry configuration");
        let mut command = daemon.in_netns(peer("docker-registry"));
        command
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("docker-registry starts");
        let own = Self {
            child,
            netns: daemon.mark().to_owned(),
            host: format!("127.0.0.1:{port}"),
        };
        let end = Instant::now() + PATIENCE;
        while own.connect(port).is_err() {
            assert!(Instant::now() < end, "docker-registry does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        own
    }

    fn connect(&self, port: u16) -> std::io::Result<TcpStream> {
        within(&self.netns, move || TcpStream::connect(("127.0.0.1", port)))
    }

    /// Pushes a docker-archive with skopeo as `name` (`repository:tag`).
    ///
    /// # Panics
    /// When skopeo fails.
    pub fn push(&self, archive: &Path, name: &str) {
        let output = Command::new(peer("nsenter"))
            .arg(format!("--net=/run/netns/{}", self.netns))
            .arg("--")
            .arg(peer("skopeo"))
            .args(["copy", "-q", "--dest-tls-verify=false"])
            .arg(format!("docker-archive:{}", archive.display()))
            .arg(format!("docker://{}/{name}", self.host))
            .output()
            .expect("skopeo runs");
        assert!(
            output.status.success(),
            "skopeo copy: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request as far as servers of tests look: method, path, range, credentials.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET`, `HEAD`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// First byte that `Range` asks for.
    pub start: usize,
    /// `Authorization`.
    pub authorization: Option<String>,
}

/// A server that answers each request with whatever a test makes of it. It lives until the test's process ends.
#[derive(Debug)]
pub struct Rogue {
    /// `127.0.0.1:PORT`.
    pub host: String,
    served: Arc<AtomicUsize>,
}

impl Rogue {
    /// Starts one in the daemon's network namespace. `answer` writes to the connection, which is closed afterwards.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(daemon: &Daemon, answer: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = within(daemon.mark(), || TcpListener::bind("127.0.0.1:0").expect("a port"));
        let host = listener.local_addr().expect("its address").to_string();
        let served = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (served.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (count, answer) = (count.clone(), answer.clone());
                std::thread::spawn(move || {
                    let mut stream = stream;
                    if let Some(asked) = read_request(&mut stream) {
                        count.fetch_add(1, Ordering::SeqCst);
                        answer(&asked, &mut stream);
                    }
                });
            }
        });
        Self { host, served }
    }

    /// How many requests it has had.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

/// A reply's head: status, headers that each end in CRLF, and the length that it announces.
pub fn head(status: &str, headers: &str, length: usize) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n").into_bytes()
}

fn read_request(stream: &mut TcpStream) -> Option<Asked> {
    let mut text = Vec::new();
    let mut byte = [0u8; 1];
    while !text.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 || text.len() > 65536 {
            return None;
        }
        text.push(byte[0]);
        if text.len() == 3 && text[0] == 0x16 {
            // TLS: this is a plain server.
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
            return None;
        }
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut words = text.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let header = |name: &str| {
        let found = text.lines().find(|line| line.to_lowercase().starts_with(name));
        found
            .and_then(|line| line.split_once(": "))
            .map(|(_, value)| value.trim().to_owned())
    };
    let range = header("range:").and_then(|value| value.strip_prefix("bytes=").map(str::to_owned));
    let start = range.and_then(|r| r.trim_end_matches('-').parse().ok()).unwrap_or(0);
    let authorization = header("authorization:");
    Some(Asked {
        method,
        path,
        start,
        authorization,
    })
}

/// Does something in a network namespace: sockets stay in the one they were made in.
fn within<T: Send + 'static>(netns: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let path = format!("/run/netns/{netns}");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let file = fs::File::open(path).expect("the namespace");
        nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("setns");
        let _ = sender.send(work());
    });
    receiver.recv().expect("the work's result")
}

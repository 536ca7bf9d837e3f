//! Networks through the real `docker` CLI: ports published and reached from everywhere, conflicts told in Docker's words, all network modes,
//! users' networks, and a daemon that is killed while containers serve.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engine_tests::daemon::{Daemon, Manager, PATIENCE};
use engine_tests::image_tars::busybox_tar;
use engine_tests::programs::peer;
use nix::sched::{CloneFlags, setns};
use serde_json::Value;

const HOST: &str = "192.0.2.1";
const CLIENT: &str = "192.0.2.2";

/// A daemon with busybox loaded, and a neighbour of its host.
struct Lab {
    daemon: Daemon,
    neighbour: Neighbour,
}

/// Another host: a network namespace, deleted when dropped.
struct Neighbour(String);

impl Drop for Neighbour {
    fn drop(&mut self) {
        ip(&["netns", "del", &self.0]);
    }
}

impl Lab {
    fn new(manager: Manager) -> Self {
        let daemon = Daemon::start_with(manager, &[]);
        let tar = busybox_tar(daemon.directory());
        daemon.ok(["load", "-i", tar.to_str().unwrap()]);
        let (host, name) = (daemon.mark(), format!("{}n", daemon.mark()));
        ip(&["netns", "add", &name]);
        let neighbour = Neighbour(name);
        let name = &neighbour.0;
        ip(&[
            "-n", host, "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", name,
        ]);
        for (netns, link, address) in [(host, "up0", HOST), (name, "eth0", CLIENT)] {
            ip(&["-n", netns, "addr", "add", &format!("{address}/24"), "dev", link]);
            ip(&["-n", netns, "link", "set", link, "up"]);
        }
        Self { daemon, neighbour }
    }

    /// A web server in a container, which answers with the container's name.
    fn serve(&self, name: &str, flags: &[&str]) {
        let script = format!("echo {name} > /tmp/index.html; exec httpd -f -p 80 -h /tmp");
        let args = ["run", "-d", "--name", name].into_iter().chain(flags.iter().copied());
        self.daemon.ok(args.chain(["busybox", "sh", "-c", &script]));
    }

    fn host(&self) -> PathBuf {
        Path::new("/run/netns").join(self.daemon.mark())
    }

    fn neighbour(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.neighbour.0)
    }

    fn container(&self, name: &str) -> PathBuf {
        let pid = self.daemon.ok(["inspect", "-f", "{{.State.Pid}}", name]);
        PathBuf::from(format!("/proc/{pid}/ns/net"))
    }

    fn finish(self) {
        let Self { daemon, neighbour } = self;
        drop(neighbour);
        daemon.finish();
    }

    /// Links of the daemon's host, but for what was there before any container; a link takes a moment to go.
    fn assert_no_links_nor_ports(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let links = text(&self.daemon.in_netns(peer("ip")).args(["-o", "link"]).output().unwrap());
            let rules = text(
                &self
                    .daemon
                    .in_netns(peer("nft"))
                    .args(["list", "ruleset"])
                    .output()
                    .unwrap(),
            );
            // An element of a port names its protocol.
            if !links.contains(": veth") && !rules.contains("elements = { tcp") && !rules.contains("elements = { udp") {
                return;
            }
            assert!(Instant::now() < end, "left behind:\n{links}\n{rules}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn ip(args: &[&str]) {
    let output = Command::new(peer("ip")).args(args).output().unwrap();
    assert!(output.status.success(), "ip {args:?}: {}", text(&output));
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs `work` in another network namespace, on a thread of its own.
fn within<T: Send>(netns: &Path, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            setns(File::open(netns).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn fetch(host: &str, port: u16, patience: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(host.parse().unwrap(), port), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.trim().to_owned())
        .ok_or(std::io::ErrorKind::UnexpectedEof.into())
}

/// Fetches a page from a namespace; tried again until the server has started to listen.
fn page(from: &Path, host: &str, port: u16) -> String {
    let end = Instant::now() + PATIENCE;
    within(from, || {
        loop {
            match fetch(host, port, PATIENCE) {
                Ok(body) => return body,
                Err(e) => assert!(Instant::now() < end, "http://{host}:{port}: {e}"),
            }
            thread::sleep(Duration::from_millis(50));
        }
    })
}

/// Whether a page can be fetched that should not.
fn reaches(from: &Path, host: &str, port: u16) -> bool {
    within(from, || fetch(host, port, Duration::from_millis(500)).is_ok())
}

/// Sends a datagram from a namespace and gives what comes back.
fn echo(from: &Path, host: &str, port: u16) -> String {
    within(from, || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(b"ping", (host, port)).unwrap();
        let mut answer = [0; 64];
        let length = socket
            .recv(&mut answer)
            .unwrap_or_else(|e| panic!("udp {host}:{port}: {e}"));
        String::from_utf8_lossy(&answer[..length]).into_owned()
    })
}

/// A UDP server in a container's namespace that tells who it hears; busybox has none.
struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start(netns: &Path, port: u16) -> Self {
        let socket = within(netns, || UdpSocket::bind(("0.0.0.0", port)).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                if let Ok((_, peer)) = socket.recv_from(&mut [0; 64]) {
                    socket.send_to(peer.ip().to_string().as_bytes(), peer).unwrap();
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

fn fails<const N: usize>(daemon: &Daemon, args: [&str; N]) -> (Option<i32>, String) {
    let output = daemon.output(args);
    assert!(!output.status.success(), "docker {args:?} succeeded: {}", text(&output));
    (output.status.code(), text(&output))
}

#[test]
fn published_ports_are_reached_from_everywhere() {
    let lab = Lab::new(Manager::Embedded);
    lab.serve(
        "web",
        &["-p", "8080:80", "-p", "127.0.0.1:8081:80", "-p", "5353:53/udp"],
    );
    lab.serve("other", &[]);
    let server = Echo::start(&lab.container("web"), 53);
    for host in ["127.0.0.1", HOST] {
        assert_eq!(page(&lab.host(), host, 8080), "web");
        echo(&lab.host(), host, 5353);
    }
    assert_eq!(page(&lab.host(), "127.0.0.1", 8081), "web");
    assert_eq!(page(&lab.neighbour(), HOST, 8080), "web");
    assert_eq!(echo(&lab.neighbour(), HOST, 5353), CLIENT, "the client's own address");
    assert!(
        !reaches(&lab.neighbour(), HOST, 8081),
        "published on loopback, reached from outside"
    );
    for container in ["other", "web"] {
        assert_eq!(page(&lab.container(container), HOST, 8080), "web");
    }
    drop(server);
    let shown = lab.daemon.ok(["port", "web"]);
    assert_eq!(
        shown,
        "53/udp -> 0.0.0.0:5353\n80/tcp -> 0.0.0.0:8080\n80/tcp -> 127.0.0.1:8081"
    );
    lab.daemon.ok(["rm", "-f", "web", "other"]);
    lab.assert_no_links_nor_ports();
    lab.finish();
}

#[test]
fn ports_in_use_are_told_in_dockers_words_and_leave_nothing() {
    let lab = Lab::new(Manager::Embedded);
    lab.serve("web", &["-p", "8080:80"]);
    let (code, told) = fails(
        &lab.daemon,
        ["run", "--name", "late", "-p", "127.0.0.1:8080:80", "busybox", "true"],
    );
    assert_eq!(code, Some(125), "{told}");
    assert!(
        told.contains(
            "failed to set up container networking: driver failed programming external connectivity on endpoint late ("
        ),
        "{told}"
    );
    assert!(
        told.contains("Bind for 127.0.0.1:8080 failed: port is already allocated"),
        "{told}"
    );
    let thief = within(&lab.host(), || TcpListener::bind((HOST, 9090)).unwrap());
    let (_, told) = fails(&lab.daemon, ["run", "--rm", "-p", "9090:80", "busybox", "true"]);
    assert!(
        told.contains("failed to bind host port for 0.0.0.0:9090:172."),
        "{told}"
    );
    assert!(told.contains(":80/tcp: address already in use"), "{told}");
    drop(thief);
    lab.daemon.ok(["rm", "-f", "web", "late"]);
    lab.assert_no_links_nor_ports();
    lab.finish();
}

#[test]
fn every_network_mode_shows_its_links() {
    let lab = Lab::new(Manager::Embedded);
    let d = &lab.daemon;
    let links = |mode: &str| d.ok(["run", "--rm", "--network", mode, "busybox", "ip", "-o", "link"]);
    assert_eq!(links("none").lines().count(), 1);
    assert!(links("host").contains(&format!(": {}:", d.mark())));
    lab.serve("web", &[]);
    let addresses = |args: &[&str]| d.ok(args.iter().chain(&["ip", "-o", "-4", "addr", "show", "eth0"]));
    let own = addresses(&["exec", "web"]);
    assert!(own.contains("inet 172."), "{own}");
    assert_eq!(
        addresses(&["run", "--rm", "--network", "container:web", "busybox"]),
        own
    );
    assert!(d.ok(["exec", "web", "cat", "/etc/hosts"]).contains("ip6-loopback\n"));
    d.ok(["rm", "-f", "web"]);
    lab.finish();
}

#[test]
fn users_networks_live_by_the_cli() {
    let lab = Lab::new(Manager::Embedded);
    let d = &lab.daemon;
    let id = d.ok([
        "network",
        "create",
        "--subnet",
        "10.77.0.0/24",
        "--label",
        "a=b",
        "front",
    ]);
    lab.serve("web", &["--network", "front", "--ip", "10.77.0.50"]);
    lab.serve("stranger", &[]);
    let shown: Value = serde_json::from_str(&d.ok(["network", "inspect", "front"])).unwrap();
    let network = &shown[0];
    assert_eq!(
        (network["Id"].as_str(), network["Driver"].as_str()),
        (Some(id.as_str()), Some("bridge"))
    );
    assert_eq!(network["IPAM"]["Config"][0]["Gateway"], "10.77.0.1");
    let containers = network["Containers"].as_object().unwrap();
    assert_eq!(containers.values().next().unwrap()["IPv4Address"], "10.77.0.50/24");
    assert!(
        !reaches(&lab.container("stranger"), "10.77.0.50", 80),
        "networks reach each other"
    );
    let (_, busy) = fails(d, ["network", "rm", "front"]);
    assert!(busy.contains("network front has active endpoints"), "{busy}");
    let (_, refused) = fails(d, ["network", "rm", "bridge"]);
    assert!(
        refused.contains("bridge is a pre-defined network and cannot be removed"),
        "{refused}"
    );
    d.ok(["rm", "-f", "web", "stranger"]);
    d.ok(["network", "rm", "front"]);
    let (_, gone) = fails(d, ["network", "inspect", "front"]);
    assert!(gone.contains("network front not found"), "{gone}");
    lab.finish();
}

#[test]
fn a_published_port_serves_while_its_daemon_dies() {
    let mut lab = Lab::new(Manager::Embedded);
    lab.serve("web", &["-p", "8080:80"]);
    assert_eq!(page(&lab.neighbour(), HOST, 8080), "web");
    for _ in 0..3 {
        lab.daemon.kill9(false);
        assert_eq!(page(&lab.neighbour(), HOST, 8080), "web");
        lab.daemon.start_again();
        assert_eq!(page(&lab.neighbour(), HOST, 8080), "web");
        assert_eq!(page(&lab.host(), "127.0.0.1", 8080), "web");
    }
    let (_, told) = fails(&lab.daemon, ["run", "--rm", "-p", "8080:80", "busybox", "true"]);
    assert!(
        told.contains("Bind for 0.0.0.0:8080 failed: port is already allocated"),
        "{told}"
    );
    lab.daemon.ok(["rm", "-f", "web"]);
    lab.assert_no_links_nor_ports();
    lab.finish();
}

#[test]
fn info_warns_of_other_firewalls() {
    let lab = Lab::new(Manager::Embedded);
    let warnings = || lab.daemon.ok(["info", "-f", "{{json .Warnings}}"]);
    assert!(!warnings().contains("strict"), "{}", warnings());
    for line in [
        "add table ip strict",
        "add chain ip strict forwards { type filter hook forward priority 0; policy drop; }",
    ] {
        let mut nft = lab.daemon.in_netns(peer("nft"));
        assert!(nft.args(line.split(' ')).status().unwrap().success(), "{line}");
    }
    assert!(warnings().contains("strict"), "{}", warnings());
    lab.finish();
}

//! A private host for each test: a network namespace of its own on a thread of its own, with a link to another namespace that
//! plays the outside world. Nothing of the machine is touched, so tests run beside each other.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dockerd_rs_network::{
    Config, Controller, Endpoint, EndpointRequest, NetnsRef, PortBinding, Protocol, Result, netns,
};
use nix::sched::{CloneFlags, setns, unshare};

/// The host's address towards the outside, and the client's.
pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// How long something is waited for that should come.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long something is waited for that should not.
const SILENCE: Duration = Duration::from_millis(400);

pub struct Lab {
    pub dir: tempfile::TempDir,
    pub client: PathBuf,
}

/// Runs `test` in a fresh host, then checks that the host is as it was.
pub fn lab(test: impl FnOnce(&Lab) + Send) {
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("needs root");
            // A new namespace begins with the machine's own setting; a host that routes nothing is what is tested.
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
            let lab = Lab::new();
            test(&lab);
            lab.assert_clean();
        });
        if let Err(panic) = run.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let client = dir.path().join("client");
        netns::create(&client).unwrap();
        run("ip link set lo up");
        run(&format!(
            "ip link add up0 type veth peer name eth0 netns {}",
            client.display()
        ));
        run(&format!("ip addr add {HOST}/24 dev up0"));
        run("ip link set up0 up");
        within(&client, || {
            run(&format!("ip addr add {CLIENT}/24 dev eth0"));
            run("ip link set eth0 up");
        });
        Self { dir, client }
    }

    pub fn config(&self) -> Config {
        Config::new(self.dir.path().join("state"))
    }

    pub fn open(&self) -> Controller {
        Controller::open(self.config()).unwrap()
    }

    /// Makes a container's namespace; the container itself is not needed to try its network.
    pub fn netns(&self, id: &str) -> PathBuf {
        let path = self.dir.path().join("netns").join(id);
        netns::create(&path).unwrap();
        path
    }

    pub fn request(&self, id: &str, network: &str, ports: &[PortBinding]) -> EndpointRequest {
        EndpointRequest {
            container_id: id.to_owned(),
            container_name: format!("name-of-{id}"),
            network: network.to_owned(),
            netns: NetnsRef::Path(self.dir.path().join("netns").join(id)),
            mac: None,
            ipv4: None,
            aliases: Vec::new(),
            ports: ports.to_vec(),
        }
    }

    pub fn try_start(
        &self,
        controller: &Controller,
        id: &str,
        network: &str,
        ports: &[PortBinding],
    ) -> Result<Container> {
        let netns = self.netns(id);
        let endpoint = controller.setup(self.request(id, network, ports));
        if endpoint.is_err() {
            netns::remove(&netns).unwrap();
        }
        endpoint.map(|endpoint| Container { netns, endpoint })
    }

    pub fn start(&self, controller: &Controller, id: &str, ports: &[PortBinding]) -> Container {
        self.try_start(controller, id, "bridge", ports).unwrap()
    }

    fn assert_clean(&self) {
        let links = output("ip -o link");
        assert_eq!(links.lines().count(), 2, "links are left:\n{links}");
        let rules = output("nft list ruleset");
        assert_eq!(rules, "", "rules are left");
        assert_eq!(output("cat /proc/sys/net/ipv4/ip_forward").trim(), "0");
        assert!(!self.dir.path().join("state").exists(), "state is left");
        netns::remove(&self.client).unwrap();
        if let Ok(left) = std::fs::read_dir(self.dir.path().join("netns")) {
            assert_eq!(left.count(), 0, "namespaces are left");
        }
    }
}

pub struct Container {
    pub netns: PathBuf,
    pub endpoint: Endpoint,
}

impl Container {
    pub fn ip(&self) -> Ipv4Addr {
        self.endpoint.ipv4.unwrap().addr()
    }

    pub fn port(&self, index: usize) -> u16 {
        self.endpoint.ports[index].host_port
    }

    pub fn stop(self, controller: &Controller) {
        let failures = controller.teardown(&self.endpoint.container_id);
        assert!(failures.is_empty(), "{failures:?}");
        netns::remove(&self.netns).unwrap();
    }
}

pub fn settle(controller: &Controller) {
    let failures = controller.settle();
    assert!(failures.is_empty(), "{failures:?}");
}

pub fn destroy(controller: Controller) {
    let failures = controller.destroy();
    assert!(failures.is_empty(), "{failures:?}");
}

pub fn publish(host_ip: &str, host_port: u16, container_port: u16, protocol: Protocol) -> PortBinding {
    let host_ip = (!host_ip.is_empty()).then(|| host_ip.parse().unwrap());
    PortBinding {
        container_port,
        protocol,
        host_ip,
        host_port,
        host_port_end: 0,
    }
}

/// Runs `work` in another namespace, on a thread of its own.
pub fn within<T: Send>(netns: &Path, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            setns(File::open(netns).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

pub fn output(command: &str) -> String {
    let mut words = command.split(' ');
    let out = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap_or_else(|e| panic!("{command}: {e}"));
    assert!(
        out.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

pub fn run(command: &str) {
    output(command);
}

/// A server in a namespace that tells every client the address it sees of it.
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

fn serve(netns: &Path, each: impl FnMut() + Send + 'static) -> Server {
    let _ = netns;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let mut each = each;
    let thread = thread::spawn(move || {
        while !flag.load(Ordering::Relaxed) {
            each();
        }
    });
    Server {
        stop,
        thread: Some(thread),
    }
}

/// TCP: each line of a client is answered with the client's address as the server sees it.
pub fn serve_tcp(netns: &Path, port: u16) -> Server {
    let listener = within(netns, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
    listener.set_nonblocking(true).unwrap();
    serve(netns, move || match listener.accept() {
        Ok((mut stream, peer)) => {
            stream.set_nonblocking(false).unwrap();
            thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() {
                    if stream.write_all(format!("{:<15}", peer.ip()).as_bytes()).is_err() {
                        break;
                    }
                }
            });
        }
        Err(_) => thread::sleep(Duration::from_millis(2)),
    })
}

/// UDP: the same for each datagram.
pub fn serve_udp(netns: &Path, port: u16) -> Server {
    let socket = within(netns, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
    socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    serve(netns, move || {
        if let Ok((_, peer)) = socket.recv_from(&mut [0; 16]) {
            socket.send_to(peer.ip().to_string().as_bytes(), peer).unwrap();
        }
    })
}

/// An open conversation with a TCP server.
pub struct Talk(TcpStream);

impl Talk {
    pub fn open(to: impl Into<IpAddr>, port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&SocketAddr::new(to.into(), port), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// The server's word for who we are.
    pub fn ask(&mut self) -> std::io::Result<IpAddr> {
        self.0.write_all(b"?")?;
        let mut answer = [0; 15];
        self.0.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).trim().parse().unwrap())
    }
}

/// Asks a TCP server who we are.
pub fn ask_tcp(to: impl Into<IpAddr>, port: u16) -> IpAddr {
    let to = to.into();
    Talk::open(to, port)
        .and_then(|mut talk| talk.ask())
        .unwrap_or_else(|e| panic!("tcp to {to}:{port}: {e}"))
}

/// Asks a UDP server who we are.
pub fn ask_udp(to: impl Into<IpAddr>, port: u16) -> IpAddr {
    let to = to.into();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    ask_udp_by(&socket, to, port).unwrap_or_else(|e| panic!("udp to {to}:{port}: {e}"))
}

pub fn ask_udp_by(socket: &UdpSocket, to: impl Into<IpAddr>, port: u16) -> std::io::Result<IpAddr> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(b"?", (to.into(), port))?;
    let mut answer = [0; 32];
    let (length, _) = socket.recv_from(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).parse().unwrap())
}

/// Whether a TCP server that should answer does.
pub fn answers(to: impl Into<IpAddr>, port: u16) -> bool {
    Talk::open(to, port).and_then(|mut talk| talk.ask()).is_ok()
}

/// Whether a TCP server that should not answer does.
pub fn reaches(to: impl Into<IpAddr>, port: u16) -> bool {
    let addr = SocketAddr::new(to.into(), port);
    let Ok(stream) = TcpStream::connect_timeout(&addr, SILENCE) else {
        return false;
    };
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    Talk(stream).ask().is_ok()
}

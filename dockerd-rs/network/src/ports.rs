//! Ports of the host. A published port is held by a socket of the daemon, so that no program of the host takes it, nor gets it
//! as the source of a connection; the packets themselves never reach that socket, the firewall sends them on before. One
//! descriptor per port, no process, no copy.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt};

use crate::error::{Error, Result};
use crate::types::{BoundPort, PortBinding, Protocol};

/// How often an ephemeral port is tried anew when a program of the host was quicker.
const EPHEMERAL_TRIES: usize = 64;

/// The ports that this daemon publishes.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    held: HashMap<(Protocol, u16), Vec<Held>>,
    /// Last ephemeral port given out; the next is sought after it.
    cursor: u16,
}

#[derive(Debug)]
struct Held {
    host_ip: Ipv4Addr,
    /// None when somebody else took the port while the daemon was down; the firewall's rule comes first all the same.
    _socket: Option<OwnedFd>,
}

impl Ports {
    /// Takes a port of the host for `binding` of a container at `container_ip`.
    pub(crate) fn reserve(
        &mut self,
        binding: &PortBinding,
        default_host_ip: Ipv4Addr,
        container_ip: Ipv4Addr,
    ) -> Result<BoundPort> {
        let host_ip = match binding.host_ip {
            None => default_host_ip,
            Some(IpAddr::V4(addr)) => addr,
            Some(addr) => return Err(Error::HostAddressFamily(addr)),
        };
        let port = |host_port| BoundPort {
            container_port: binding.container_port,
            protocol: binding.protocol,
            host_ip,
            host_port,
        };
        if binding.host_port == 0 {
            return self.reserve_ephemeral(port, container_ip);
        }
        let last = binding.host_port_end.max(binding.host_port);
        let mut result = Err(Error::NoPort);
        for host_port in binding.host_port..=last {
            result = self.take(port(host_port), container_ip);
            match &result {
                Ok(_) => return result,
                Err(Error::PortAllocated { .. }) => {}
                Err(Error::PortBind { .. }) if last > binding.host_port => {}
                Err(_) => return result,
            }
        }
        if last > binding.host_port {
            Err(Error::NoPort)
        } else {
            result
        }
    }

    fn reserve_ephemeral(&mut self, port: impl Fn(u16) -> BoundPort, container_ip: Ipv4Addr) -> Result<BoundPort> {
        let (first, last) = ephemeral_range();
        let start = if (first..last).contains(&self.cursor) {
            self.cursor + 1
        } else {
            first
        };
        let mut binds = 0;
        for host_port in (start..=last).chain(first..start) {
            match self.take(port(host_port), container_ip) {
                Ok(bound) => {
                    self.cursor = host_port;
                    return Ok(bound);
                }
                Err(Error::PortAllocated { .. }) => {}
                Err(error) => {
                    binds += 1;
                    if binds == EPHEMERAL_TRIES {
                        return Err(error);
                    }
                }
            }
        }
        Err(Error::NoPort)
    }

    fn take(&mut self, port: BoundPort, container_ip: Ipv4Addr) -> Result<BoundPort> {
        if self.is_held(&port) {
            return Err(Error::PortAllocated {
                ip: IpAddr::V4(port.host_ip),
                port: port.host_port,
            });
        }
        let socket = hold(&port).map_err(|errno| bind_error(&port, container_ip, errno))?;
        self.insert(&port, Some(socket));
        Ok(port)
    }

    /// Takes a port again that a container has had since before a restart. It counts as held even where it cannot be bound.
    pub(crate) fn resume(&mut self, port: &BoundPort, container_ip: Ipv4Addr) -> Result<()> {
        let held = hold(port);
        let failure = held.as_ref().err().copied();
        self.insert(port, held.ok());
        failure.map_or(Ok(()), |errno| Err(bind_error(port, container_ip, errno)))
    }

    /// Gives a port back.
    pub(crate) fn release(&mut self, port: &BoundPort) {
        let key = (port.protocol, port.host_port);
        if let Some(held) = self.held.get_mut(&key) {
            held.retain(|other| other.host_ip != port.host_ip);
            if held.is_empty() {
                self.held.remove(&key);
            }
        }
    }

    fn insert(&mut self, port: &BoundPort, socket: Option<OwnedFd>) {
        let held = Held {
            host_ip: port.host_ip,
            _socket: socket,
        };
        self.held.entry((port.protocol, port.host_port)).or_default().push(held);
    }

    /// Whether a container has the port on this address, on all addresses, or on any when all are asked for.
    fn is_held(&self, port: &BoundPort) -> bool {
        self.held.get(&(port.protocol, port.host_port)).is_some_and(|held| {
            held.iter().any(|held| {
                held.host_ip == port.host_ip || held.host_ip.is_unspecified() || port.host_ip.is_unspecified()
            })
        })
    }
}

/// Binds the port. A TCP socket listens too, without ever accepting: only a listening socket keeps out programs that set
/// `SO_REUSEADDR`, which this one sets itself to get past connections of a former holder in `TIME_WAIT`.
fn hold(port: &BoundPort) -> std::result::Result<OwnedFd, Errno> {
    let (kind, protocol) = match port.protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
    };
    let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, Some(protocol))?;
    let addr = SocketAddrV4::new(port.host_ip, port.host_port);
    match port.protocol {
        Protocol::Tcp => {
            sockopt::set_socket_reuseaddr(&socket, true)?;
            bind(&socket, &addr)?;
            listen(&socket, 1)?;
        }
        Protocol::Udp => {
            // Nobody reads from it: what should come by in spite of the firewall is not to pile up.
            sockopt::set_socket_recv_buffer_size(&socket, 0)?;
            bind(&socket, &addr)?;
        }
    }
    Ok(socket)
}

fn bind_error(port: &BoundPort, container_ip: Ipv4Addr, errno: Errno) -> Error {
    Error::PortBind {
        host_ip: IpAddr::V4(port.host_ip),
        host_port: port.host_port,
        container_ip,
        container_port: port.container_port,
        protocol: port.protocol,
        reason: reason(errno),
    }
}

/// The words Go has for an errno: the C library's, in lower case.
fn reason(errno: Errno) -> String {
    match errno {
        Errno::ADDRINUSE => "address already in use".to_owned(),
        Errno::ADDRNOTAVAIL => "cannot assign requested address".to_owned(),
        Errno::ACCESS => "permission denied".to_owned(),
        Errno::MFILE => "too many open files".to_owned(),
        other => std::io::Error::from(other).to_string(),
    }
}

/// The range ephemeral ports come from: the host's own (`net.ipv4.ip_local_port_range`), as Docker has it, or 49153 to 65535.
fn ephemeral_range() -> (u16, u16) {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(first), Some(last)) if 0 < first && first <= last => (first, last),
        _ => (49153, 65535),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    const CONTAINER: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);

    fn binding(host_ip: &str, first: u16, last: u16, protocol: Protocol) -> PortBinding {
        let host_ip = Some(host_ip.parse().unwrap());
        PortBinding {
            container_port: 80,
            protocol,
            host_ip,
            host_port: first,
            host_port_end: last,
        }
    }

    fn reserve(ports: &mut Ports, binding: &PortBinding) -> Result<BoundPort> {
        ports.reserve(binding, Ipv4Addr::UNSPECIFIED, CONTAINER)
    }

    #[test]
    fn an_ephemeral_port_is_really_held() {
        let mut ports = Ports::default();
        let bound = reserve(&mut ports, &binding("127.0.0.1", 0, 0, Protocol::Tcp)).unwrap();
        let addr = (Ipv4Addr::LOCALHOST, bound.host_port);
        assert!(
            TcpListener::bind(addr).is_err(),
            "a listener with SO_REUSEADDR got a port that is held"
        );
        ports.release(&bound);
        drop(TcpListener::bind(addr).unwrap());
    }

    #[test]
    fn conflicts_have_dockers_words() {
        let mut ports = Ports::default();
        let tcp = reserve(&mut ports, &binding("127.0.0.1", 0, 0, Protocol::Tcp)).unwrap();
        let port = tcp.host_port;
        for host in ["127.0.0.1", "0.0.0.0"] {
            let error = reserve(&mut ports, &binding(host, port, port, Protocol::Tcp)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("Bind for {host}:{port} failed: port is already allocated")
            );
        }
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let error = reserve(&mut ports, &binding("127.0.0.1", port, port, Protocol::Tcp)).unwrap_err();
        let text = format!("failed to bind host port for 127.0.0.1:{port}:172.17.0.2:80/tcp: address already in use");
        assert_eq!(error.to_string(), text);
        let error = reserve(&mut ports, &binding("203.0.113.9", 8099, 8099, Protocol::Tcp)).unwrap_err();
        assert!(
            error.to_string().ends_with("/tcp: cannot assign requested address"),
            "{error}"
        );
    }

    #[test]
    fn udp_and_tcp_are_apart_and_ranges_are_searched() {
        let mut ports = Ports::default();
        let udp = reserve(&mut ports, &binding("127.0.0.1", 0, 0, Protocol::Udp)).unwrap();
        let port = udp.host_port;
        assert!(UdpSocket::bind(("127.0.0.1", port)).is_err());
        let next = reserve(
            &mut ports,
            &binding("127.0.0.1", port, port.saturating_add(20), Protocol::Udp),
        )
        .unwrap();
        assert_ne!(next.host_port, port);
    }

    #[test]
    fn a_port_taken_while_the_daemon_was_down_is_told_and_kept() {
        let mut ports = Ports::default();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let host_port = other.local_addr().unwrap().port();
        let host_ip = Ipv4Addr::LOCALHOST;
        let bound = BoundPort {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip,
            host_port,
        };
        assert!(ports.resume(&bound, CONTAINER).is_err());
        let again = reserve(&mut ports, &binding("127.0.0.1", host_port, host_port, Protocol::Tcp));
        assert!(matches!(again, Err(Error::PortAllocated { .. })));
    }

    #[test]
    fn ipv6_host_addresses_are_refused_in_words() {
        let error = reserve(&mut Ports::default(), &binding("::1", 0, 0, Protocol::Tcp)).unwrap_err();
        assert_eq!(error.to_string(), "publishing on the IPv6 address ::1 is not supported");
    }
}

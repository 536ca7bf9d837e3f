//! Containers of the default bridge on the real kernel: each other, the way out, published ports from everywhere.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::net::{IpAddr, Ipv4Addr};

use common::{
    CLIENT, HOST, answers, ask_tcp, ask_udp, destroy, lab, output, publish, reaches, run, serve_tcp, serve_udp, within,
};
use dockerd_rs_network::Protocol::{Tcp, Udp};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[test]
fn containers_reach_each_other_and_the_outside() {
    lab(|lab| {
        let controller = lab.open();
        let (a, b) = (lab.start(&controller, "a", &[]), lab.start(&controller, "b", &[]));
        assert_eq!(
            (a.ip().to_string().as_str(), b.ip().to_string().as_str()),
            ("172.17.0.2", "172.17.0.3")
        );
        assert_eq!(a.endpoint.mac.unwrap().to_string(), "02:42:ac:11:00:02");
        let (in_a, outside) = (serve_tcp(&a.netns, 80), serve_tcp(&lab.client, 80));
        assert_eq!(
            within(&b.netns, || ask_tcp(a.ip(), 80)),
            IpAddr::V4(b.ip()),
            "between containers"
        );
        assert_eq!(
            within(&b.netns, || ask_tcp(CLIENT, 80)),
            IpAddr::V4(HOST),
            "outside, under the host's address"
        );
        assert_eq!(ask_tcp(a.ip(), 80).to_string(), "172.17.0.1", "from the host");
        drop((in_a, outside));
        a.stop(&controller);
        b.stop(&controller);
        destroy(controller);
    });
}

#[test]
fn the_interface_in_the_container_is_as_dockers() {
    lab(|lab| {
        let controller = lab.open();
        let a = lab.start(&controller, "a", &[]);
        let (addr, routes) = within(&a.netns, || (output("ip -o addr"), output("ip route")));
        assert!(
            addr.contains("eth0    inet 172.17.0.2/16 brd 172.17.255.255 scope global eth0"),
            "{addr}"
        );
        assert!(addr.contains("lo    inet 127.0.0.1/8"), "{addr}");
        assert!(!addr.contains("fe80"), "IPv6 on a network without it: {addr}");
        assert_eq!(
            routes,
            "default via 172.17.0.1 dev eth0 \n172.17.0.0/16 dev eth0 proto kernel scope link src 172.17.0.2 \n"
        );
        let bridge = output("ip -o addr show docker0");
        assert!(
            bridge.contains("inet 172.17.0.1/16 brd 172.17.255.255 scope global docker0"),
            "{bridge}"
        );
        assert!(!bridge.contains("inet6"), "{bridge}");
        a.stop(&controller);
        destroy(controller);
    });
}

#[test]
fn a_published_tcp_port_is_reached_from_everywhere() {
    lab(|lab| {
        let controller = lab.open();
        let a = lab.start(&controller, "a", &[publish("", 8080, 80, Tcp)]);
        let b = lab.start(&controller, "b", &[]);
        let server = serve_tcp(&a.netns, 80);
        assert_eq!(
            within(&lab.client, || ask_tcp(HOST, 8080)),
            IpAddr::V4(CLIENT),
            "the client's own address is seen"
        );
        for to in [LOOPBACK, Ipv4Addr::new(172, 17, 0, 1), HOST] {
            ask_tcp(to, 8080);
        }
        for to in [Ipv4Addr::new(172, 17, 0, 1), HOST] {
            within(&b.netns, || ask_tcp(to, 8080));
            within(&a.netns, || ask_tcp(to, 8080));
        }
        drop(server);
        a.stop(&controller);
        assert!(!within(&lab.client, || reaches(HOST, 8080)), "still published");
        b.stop(&controller);
        destroy(controller);
    });
}

#[test]
fn a_published_udp_port_is_reached_from_everywhere() {
    lab(|lab| {
        let controller = lab.open();
        let a = lab.start(&controller, "a", &[publish("", 5353, 53, Udp)]);
        let b = lab.start(&controller, "b", &[]);
        let server = serve_udp(&a.netns, 53);
        assert_eq!(within(&lab.client, || ask_udp(HOST, 5353)), IpAddr::V4(CLIENT));
        for to in [LOOPBACK, HOST] {
            ask_udp(to, 5353);
        }
        within(&b.netns, || ask_udp(HOST, 5353));
        within(&a.netns, || ask_udp(HOST, 5353));
        drop(server);
        a.stop(&controller);
        b.stop(&controller);
        destroy(controller);
    });
}

#[test]
fn without_br_netfilter_hairpin_works_too() {
    lab(|lab| {
        run("sysctl -q -w net.bridge.bridge-nf-call-iptables=0");
        let controller = lab.open();
        let a = lab.start(&controller, "a", &[publish("", 8080, 80, Tcp)]);
        let b = lab.start(&controller, "b", &[]);
        let server = serve_tcp(&a.netns, 80);
        within(&b.netns, || ask_tcp(HOST, 8080));
        within(&a.netns, || ask_tcp(HOST, 8080));
        within(&b.netns, || ask_tcp(a.ip(), 80));
        drop(server);
        a.stop(&controller);
        b.stop(&controller);
        destroy(controller);
    });
}

#[test]
fn a_port_published_on_loopback_is_the_hosts_alone() {
    lab(|lab| {
        let controller = lab.open();
        let a = lab.start(&controller, "a", &[publish("127.0.0.1", 8080, 80, Tcp)]);
        let server = serve_tcp(&a.netns, 80);
        ask_tcp(LOOPBACK, 8080);
        assert!(!reaches(HOST, 8080), "by another address of the host");
        // The worst neighbour: it routes 127.0.0.1 to us, and somebody switched route_localnet on everywhere.
        run("sysctl -q -w net.ipv4.conf.all.route_localnet=1");
        within(&lab.client, || {
            run("sysctl -q -w net.ipv4.conf.all.route_localnet=1");
            run("ip addr del 127.0.0.1/8 dev lo");
            run(&format!("ip route add 127.0.0.1/32 via {HOST} dev eth0 src {CLIENT}"));
            assert!(!reaches(HOST, 8080));
            assert!(
                !reaches(LOOPBACK, 8080),
                "published on 127.0.0.1 and reached from outside"
            );
        });
        drop(server);
        a.stop(&controller);
        destroy(controller);
    });
}

#[test]
fn a_container_does_not_reach_the_hosts_loopback() {
    lab(|lab| {
        let controller = lab.open();
        let a = lab.start(&controller, "a", &[publish("", 8080, 80, Tcp)]);
        let host_service = std::net::TcpListener::bind((LOOPBACK, 7070)).unwrap();
        assert_eq!(output("cat /proc/sys/net/ipv4/conf/docker0/route_localnet").trim(), "1");
        within(&a.netns, || {
            run("sysctl -q -w net.ipv4.conf.all.route_localnet=1");
            run("ip addr del 127.0.0.1/8 dev lo");
            run("ip route add 127.0.0.1/32 via 172.17.0.1 dev eth0 src 172.17.0.2");
            let addr = (LOOPBACK, 7070).into();
            let reached = std::net::TcpStream::connect_timeout(&addr, std::time::Duration::from_millis(400));
            assert!(
                reached.is_err(),
                "a service on the host's loopback is reached through the bridge"
            );
        });
        drop(host_service);
        a.stop(&controller);
        destroy(controller);
    });
}

#[test]
fn what_is_not_published_is_not_reached_even_by_a_route() {
    lab(|lab| {
        let controller = lab.open();
        let a = lab.start(&controller, "a", &[publish("", 8080, 80, Tcp)]);
        let (open, closed) = (serve_tcp(&a.netns, 80), serve_tcp(&a.netns, 81));
        within(&lab.client, || {
            run(&format!("ip route add 172.17.0.0/16 via {HOST}"));
            assert!(answers(HOST, 8080));
            assert!(!reaches(a.ip(), 81), "an unpublished port");
            assert!(!reaches(a.ip(), 80), "a published port, past the host's address");
        });
        drop((open, closed));
        a.stop(&controller);
        destroy(controller);
    });
}

#[test]
fn the_host_does_not_become_a_router_between_its_own_links() {
    lab(|lab| {
        let other = lab.dir.path().join("netns/other");
        dockerd_rs_network::netns::create(&other).unwrap();
        run(&format!(
            "ip link add up1 type veth peer name eth0 netns {}",
            other.display()
        ));
        run("ip addr add 198.51.100.1/24 dev up1");
        run("ip link set up1 up");
        within(&other, || {
            run("ip addr add 198.51.100.2/24 dev eth0");
            run("ip link set eth0 up");
            run("ip route add default via 198.51.100.1");
        });
        within(&lab.client, || run(&format!("ip route add default via {HOST}")));
        let server = serve_tcp(&other, 80);
        let there = Ipv4Addr::new(198, 51, 100, 2);
        let controller = lab.open();
        assert!(!within(&lab.client, || reaches(there, 80)), "forwards for strangers");
        destroy(controller);
        // Forwarding that was on before is the administrator's.
        run("sysctl -q -w net.ipv4.ip_forward=1");
        let controller = lab.open();
        assert!(
            within(&lab.client, || answers(there, 80)),
            "a router does not route any more"
        );
        destroy(controller);
        assert_eq!(output("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
        run("sysctl -q -w net.ipv4.ip_forward=0");
        drop(server);
        run("ip link del up1");
        dockerd_rs_network::netns::remove(&other).unwrap();
    });
}

#[test]
fn without_icc_containers_are_apart_but_published_ports_are_not() {
    lab(|lab| {
        let mut config = lab.config();
        config.icc = false;
        let controller = dockerd_rs_network::Controller::open(config).unwrap();
        let a = lab.start(&controller, "a", &[publish("", 8080, 80, Tcp)]);
        let b = lab.start(&controller, "b", &[]);
        let server = serve_tcp(&a.netns, 80);
        assert!(!within(&b.netns, || reaches(a.ip(), 80)));
        assert!(within(&lab.client, || answers(HOST, 8080)));
        drop(server);
        a.stop(&controller);
        b.stop(&controller);
        destroy(controller);
    });
}

#[test]
fn a_udp_client_that_never_stops_finds_the_next_container() {
    lab(|lab| {
        let controller = lab.open();
        within(&lab.client, || {
            let socket = std::net::UdpSocket::bind((CLIENT, 4444)).unwrap();
            // Talks to the port before anything is published on it.
            socket.send_to(b"?", (HOST, 5353)).unwrap();
        });
        for id in ["first", "second"] {
            let container = lab.start(&controller, id, &[publish("", 5353, 53, Udp)]);
            let server = serve_udp(&container.netns, 53);
            common::settle(&controller);
            within(&lab.client, || {
                let socket = std::net::UdpSocket::bind((CLIENT, 4444)).unwrap();
                common::ask_udp_by(&socket, HOST, 5353).unwrap_or_else(|e| panic!("{id}: {e}"));
            });
            drop(server);
            container.stop(&controller);
        }
        destroy(controller);
    });
}

#[test]
fn the_first_packet_to_a_new_container_is_not_lost() {
    lab(|lab| {
        let controller = lab.open();
        for n in 2..32_u8 {
            let (id, address) = (format!("c{n}"), Ipv4Addr::new(172, 17, 0, n));
            let server = serve_udp(&lab.netns(&id), 53);
            // No question for the hardware address goes before it, which would be asked again a second later.
            run(&format!(
                "ip neigh add {address} lladdr 02:42:ac:11:00:{n:02x} dev docker0"
            ));
            let endpoint = controller.setup(lab.request(&id, "bridge", &[])).unwrap();
            assert_eq!(endpoint.ipv4.unwrap().addr(), address);
            ask_udp(address, 53);
            drop(server);
            assert!(controller.teardown(&id).is_empty());
            dockerd_rs_network::netns::remove(&lab.dir.path().join("netns").join(&id)).unwrap();
            // The bridge has no port any more and goes down: the next container is the first again.
            common::settle(&controller);
        }
        destroy(controller);
    });
}

#[test]
fn what_keeps_containers_from_the_network_is_told() {
    lab(|lab| {
        let controller = lab.open();
        assert_eq!(controller.warnings(), Vec::<String>::new());
        run("iptables-nft -P FORWARD DROP");
        let text =
            "WARNING: table ip filter chain FORWARD drops forwarded packets it does not know, those of containers too";
        assert_eq!(controller.warnings(), [text]);
        run("sysctl -q -w net.ipv4.ip_forward=0");
        assert_eq!(controller.warnings(), ["WARNING: IPv4 forwarding is disabled", text]);
        run("nft flush ruleset");
        destroy(controller);
    });
}

//! The same behaviour where the kernel has no nftables: by the program for its old interface.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::net::{IpAddr, Ipv4Addr};

use common::{
    CLIENT, HOST, answers, ask_tcp, ask_udp, destroy, lab, output, publish, reaches, run, serve_tcp, serve_udp, within,
};
use dockerd_rs_network::Protocol::{Tcp, Udp};
use dockerd_rs_network::{Alive, Backend, Controller, NetworkSpec};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn open(lab: &common::Lab) -> Controller {
    let mut config = lab.config();
    config.firewall_backend = Backend::IptablesLegacy;
    Controller::open(config).unwrap()
}

fn finish(controller: Controller) {
    destroy(controller);
    let left = output("iptables-legacy-save");
    assert!(
        !left.contains("DOCKER-RS") && !left.contains(":FORWARD DROP"),
        "rules are left: {left}"
    );
}

#[test]
fn ports_lead_to_containers_from_everywhere() {
    lab(|lab| {
        let controller = open(lab);
        let a = lab.start(
            &controller,
            "a",
            &[publish("", 8080, 80, Tcp), publish("", 5353, 53, Udp)],
        );
        let b = lab.start(&controller, "b", &[]);
        let (tcp, udp, outside) = (
            serve_tcp(&a.netns, 80),
            serve_udp(&a.netns, 53),
            serve_tcp(&lab.client, 80),
        );
        assert_eq!(within(&lab.client, || ask_tcp(HOST, 8080)), IpAddr::V4(CLIENT));
        assert_eq!(within(&lab.client, || ask_udp(HOST, 5353)), IpAddr::V4(CLIENT));
        assert_eq!(within(&b.netns, || ask_tcp(CLIENT, 80)), IpAddr::V4(HOST));
        for to in [LOOPBACK, HOST] {
            ask_tcp(to, 8080);
            ask_udp(to, 5353);
        }
        within(&b.netns, || ask_tcp(HOST, 8080));
        within(&a.netns, || ask_tcp(HOST, 8080));
        within(&b.netns, || ask_tcp(a.ip(), 80));
        within(&lab.client, || {
            run(&format!("ip route add 172.17.0.0/16 via {HOST}"));
            assert!(!reaches(a.ip(), 80), "past the host's address");
        });
        drop((tcp, udp, outside));
        a.stop(&controller);
        assert!(!within(&lab.client, || reaches(HOST, 8080)), "still published");
        b.stop(&controller);
        finish(controller);
    });
}

#[test]
fn loopback_ports_stay_local_and_networks_apart() {
    lab(|lab| {
        let controller = open(lab);
        let closed = NetworkSpec {
            name: "closed".to_owned(),
            internal: true,
            ..NetworkSpec::default()
        };
        controller.create_network(closed).unwrap();
        let a = lab.start(&controller, "a", &[publish("127.0.0.1", 8080, 80, Tcp)]);
        let b = lab.try_start(&controller, "b", "closed", &[]).unwrap();
        let (server, outside) = (serve_tcp(&a.netns, 80), serve_tcp(&lab.client, 80));
        ask_tcp(LOOPBACK, 8080);
        run("sysctl -q -w net.ipv4.conf.all.route_localnet=1");
        within(&lab.client, || {
            run("sysctl -q -w net.ipv4.conf.all.route_localnet=1");
            run("ip addr del 127.0.0.1/8 dev lo");
            run(&format!("ip route add 127.0.0.1/32 via {HOST} dev eth0 src {CLIENT}"));
            assert!(!reaches(LOOPBACK, 8080) && !reaches(HOST, 8080));
        });
        within(&b.netns, || {
            run("ip route add default via 172.18.0.1");
            assert!(!reaches(a.ip(), 80) && !reaches(CLIENT, 80));
        });
        drop((server, outside));
        a.stop(&controller);
        b.stop(&controller);
        finish(controller);
    });
}

#[test]
fn a_restart_finds_its_chains_and_an_administrators_rules_stay() {
    lab(|lab| {
        run("iptables-legacy -A FORWARD -s 203.0.113.0/24 -j DROP");
        let controller = open(lab);
        let a = lab.start(&controller, "a", &[publish("", 8080, 80, Tcp)]);
        let server = serve_tcp(&a.netns, 80);
        let rules = || {
            output("iptables-legacy-save")
                .lines()
                .filter(|line| line.starts_with("-A"))
                .count()
        };
        let before = rules();
        drop(controller);
        let controller = open(lab);
        controller.restore(&[Alive {
            container_id: "a".to_owned(),
        }]);
        assert_eq!(rules(), before, "doubled by a restart");
        run("iptables-legacy -F FORWARD");
        run("iptables-legacy -t nat -F");
        controller.reconcile().unwrap();
        assert!(within(&lab.client, || answers(HOST, 8080)));
        run("iptables-legacy -A FORWARD -s 203.0.113.0/24 -j DROP");
        drop(server);
        a.stop(&controller);
        finish(controller);
        assert!(output("iptables-legacy-save").contains("-A FORWARD -s 203.0.113.0/24 -j DROP"));
    });
}

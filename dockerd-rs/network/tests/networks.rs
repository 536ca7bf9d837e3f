//! Networks: the predefined ones, those of users, what keeps them apart, and many endpoints at once.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use common::{CLIENT, HOST, answers, ask_tcp, destroy, lab, output, publish, reaches, serve_tcp, within};
use dockerd_rs_network::Protocol::Tcp;
use dockerd_rs_network::{Controller, Error, IpamPool, NetworkSpec};

fn spec(name: &str) -> NetworkSpec {
    NetworkSpec {
        name: name.to_owned(),
        ..NetworkSpec::default()
    }
}

fn with_subnet(name: &str, subnet: &str) -> NetworkSpec {
    let ipam = IpamPool {
        subnet: Some(subnet.parse().unwrap()),
        ..IpamPool::default()
    };
    NetworkSpec { ipam, ..spec(name) }
}

#[test]
fn the_predefined_networks_are_dockers() {
    lab(|lab| {
        let controller = lab.open();
        let networks = controller.networks();
        let shown: Vec<_> = networks
            .iter()
            .map(|n| (n.name.as_str(), n.driver.as_str(), n.scope))
            .collect();
        assert_eq!(
            shown,
            [
                ("bridge", "bridge", "local"),
                ("host", "host", "local"),
                ("none", "null", "local")
            ]
        );
        let bridge = &networks[0];
        assert_eq!(bridge.options["com.docker.network.bridge.name"], "docker0");
        assert_eq!(bridge.options["com.docker.network.bridge.default_bridge"], "true");
        assert_eq!(bridge.ipam[0].subnet.unwrap().to_string(), "172.17.0.0/16");
        assert_eq!(bridge.ipam[0].gateway.unwrap().to_string(), "172.17.0.1");
        assert_eq!(controller.network(&bridge.id[..10]).unwrap().id, bridge.id);
        for name in ["host", "none"] {
            let container = lab.try_start(&controller, name, name, &[]).unwrap();
            assert_eq!(container.endpoint.interface, "");
            assert_eq!(controller.network(name).unwrap().endpoints.len(), 1);
            container.stop(&controller);
        }
        let refused = controller.remove_network("bridge").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "bridge is a pre-defined network and cannot be removed"
        );
        let refused = controller.create_network(spec("host")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "operation is not permitted on predefined host network"
        );
        destroy(controller);
    });
}

#[test]
fn users_networks_come_and_go() {
    lab(|lab| {
        let controller = lab.open();
        let rules = output("nft list ruleset");
        let network = controller.create_network(spec("front")).unwrap();
        assert_eq!(network.ipam[0].subnet.unwrap().to_string(), "172.18.0.0/16");
        assert_eq!(network.interface, format!("br-{}", &network.id[..12]));
        let again = controller.create_network(spec("front")).unwrap_err();
        assert_eq!(again.to_string(), "network with name front already exists");
        let overlap = controller
            .create_network(with_subnet("back", "172.18.5.0/24"))
            .unwrap_err();
        assert_eq!(
            overlap.to_string(),
            "invalid pool request: Pool overlaps with other one on this address space"
        );

        let a = lab.try_start(&controller, "a", "front", &[]).unwrap();
        assert_eq!(
            controller.network("front").unwrap().endpoints,
            std::slice::from_ref(&a.endpoint)
        );
        let busy = controller.remove_network("front").unwrap_err().to_string();
        assert!(
            busy.starts_with("error while removing network: network front has active endpoints (name:\"name-of-a\"")
        );
        let server = serve_tcp(&lab.client, 80);
        within(&a.netns, || ask_tcp(CLIENT, 80));
        drop(server);
        a.stop(&controller);

        drop(controller);
        let controller = lab.open();
        assert_eq!(controller.network("front").unwrap(), network);
        controller.remove_network(&network.id).unwrap();
        assert!(matches!(controller.network("front"), Err(Error::NetworkNotFound(_))));
        assert!(!output("ip -o link").contains(&network.interface));
        assert_eq!(output("nft list ruleset"), rules);
        destroy(controller);
    });
}

#[test]
fn networks_are_apart_and_a_container_may_be_on_several() {
    lab(|lab| {
        let controller = lab.open();
        controller.create_network(with_subnet("front", "10.7.0.0/24")).unwrap();
        controller.create_network(with_subnet("back", "10.8.0.0/24")).unwrap();
        let a = lab
            .try_start(&controller, "a", "front", &[publish("", 8080, 80, Tcp)])
            .unwrap();
        let b = lab.try_start(&controller, "b", "back", &[]).unwrap();
        let server = serve_tcp(&a.netns, 80);
        assert!(
            !within(&b.netns, || reaches(a.ip(), 80)),
            "two networks reach each other"
        );
        assert!(
            within(&b.netns, || answers(HOST, 8080)),
            "a published port is published to all"
        );

        let mut request = lab.request("a", "back", &[]);
        request.ipv4 = Some(Ipv4Addr::new(10, 8, 0, 77));
        let second = controller.setup(request).unwrap();
        assert_eq!((second.interface.as_str(), second.gateway), ("eth1", None));
        assert!(within(&b.netns, || answers(Ipv4Addr::new(10, 8, 0, 77), 80)));
        assert!(matches!(
            controller.setup(lab.request("a", "back", &[])),
            Err(Error::EndpointExists { .. })
        ));
        assert!(controller.disconnect("a", "back").unwrap().is_empty());
        assert!(matches!(
            controller.disconnect("a", "back"),
            Err(Error::NotConnected { .. })
        ));
        assert!(!within(&b.netns, || reaches(Ipv4Addr::new(10, 8, 0, 77), 80)));
        assert!(
            within(&lab.client, || answers(HOST, 8080)),
            "the first network suffered"
        );
        drop(server);
        a.stop(&controller);
        b.stop(&controller);
        destroy(controller);
    });
}

#[test]
fn fixed_addresses_are_for_networks_with_a_chosen_subnet() {
    lab(|lab| {
        let controller = lab.open();
        controller.create_network(with_subnet("own", "10.9.0.0/29")).unwrap();
        let fixed = |id: &str, network: &str, last: u8| {
            let mut request = lab.request(id, network, &[]);
            request.ipv4 = Some(Ipv4Addr::new(10, 9, 0, last));
            controller.setup(request)
        };
        let netns = lab.netns("a");
        let text = "user specified IP address is supported on user defined networks only";
        assert_eq!(fixed("a", "bridge", 3).unwrap_err().to_string(), text);
        assert_eq!(fixed("a", "own", 3).unwrap().ipv4.unwrap().to_string(), "10.9.0.3/29");
        assert_eq!(fixed("b", "own", 3).unwrap_err().to_string(), "Address already in use");
        assert!(
            matches!(fixed("b", "own", 1), Err(Error::AddressInUse(_))),
            "the gateway's"
        );
        assert!(matches!(fixed("b", "own", 9), Err(Error::AddressOutside(_))));
        controller.create_network(spec("any")).unwrap();
        assert!(matches!(fixed("b", "any", 3), Err(Error::FixedAddressWithoutSubnet)));
        assert!(controller.teardown("a").is_empty());
        dockerd_rs_network::netns::remove(&netns).unwrap();
        destroy(controller);
    });
}

#[test]
fn an_internal_network_has_no_way_out() {
    lab(|lab| {
        let controller = lab.open();
        controller
            .create_network(NetworkSpec {
                internal: true,
                ..spec("closed")
            })
            .unwrap();
        let a = lab.try_start(&controller, "a", "closed", &[]).unwrap();
        let b = lab
            .try_start(&controller, "b", "closed", &[publish("", 8080, 80, Tcp)])
            .unwrap();
        assert_eq!((a.endpoint.gateway, b.endpoint.ports.len()), (None, 0));
        let (inside, outside) = (serve_tcp(&b.netns, 80), serve_tcp(&lab.client, 80));
        within(&a.netns, || {
            assert!(answers(b.ip(), 80));
            common::run("ip route add default via 172.18.0.1");
            assert!(!reaches(CLIENT, 80), "a route of its own lets a container out");
        });
        assert!(
            !within(&lab.client, || reaches(HOST, 8080)),
            "a published port lets the outside in"
        );
        drop((inside, outside));
        a.stop(&controller);
        b.stop(&controller);
        destroy(controller);
    });
}

#[test]
fn addresses_run_out_in_words_and_come_again() {
    lab(|lab| {
        let controller = lab.open();
        controller.create_network(with_subnet("tiny", "10.9.0.0/30")).unwrap();
        let a = lab.try_start(&controller, "a", "tiny", &[]).unwrap();
        let full = lab.try_start(&controller, "b", "tiny", &[]).err().unwrap();
        let id = controller.network("tiny").unwrap().id;
        let text = format!("no available IPv4 addresses on this network's address pools: tiny ({id})");
        assert_eq!(full.to_string(), text);
        a.stop(&controller);
        lab.try_start(&controller, "b", "tiny", &[]).unwrap().stop(&controller);
        destroy(controller);
    });
}

#[test]
fn two_hundred_endpoints_eight_at_a_time() {
    lab(|lab| {
        let controller = lab.open();
        let shared: &Controller = &controller;
        let ports = &[publish("127.0.0.1", 0, 80, Tcp), publish("", 0, 81, Tcp)];
        // Threads started here inherit this host's namespace.
        let mut containers: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|worker| {
                    scope.spawn(move || {
                        let ids = (0..25).map(|n| format!("c{worker}-{n}"));
                        ids.map(|id| lab.start(shared, &id, ports)).collect::<Vec<_>>()
                    })
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        let addresses: BTreeSet<_> = containers.iter().map(common::Container::ip).collect();
        let host_ports: BTreeSet<_> = containers.iter().flat_map(|c| [c.port(0), c.port(1)]).collect();
        assert_eq!((addresses.len(), host_ports.len()), (200, 400));
        let (first, last) = (&containers[0], &containers[199]);
        let server = serve_tcp(&last.netns, 80);
        within(&first.netns, || ask_tcp(last.ip(), 80));
        ask_tcp(Ipv4Addr::LOCALHOST, last.port(0));
        drop(server);
        std::thread::scope(|scope| {
            while !containers.is_empty() {
                let share = containers.split_off(containers.len().saturating_sub(25));
                scope.spawn(move || share.into_iter().for_each(|container| container.stop(shared)));
            }
        });
        assert!(shared.network("bridge").unwrap().endpoints.is_empty());
        destroy(controller);
    });
}

#[test]
fn settings_of_the_default_bridge_hold() {
    lab(|lab| {
        let mut config = lab.config();
        config.bip = Some("10.5.0.1/24".parse().unwrap());
        config.fixed_cidr = Some("10.5.0.64/26".parse().unwrap());
        config.mtu = 1400;
        let controller = Controller::open(config.clone()).unwrap();
        let a = lab.start(&controller, "a", &[]);
        assert_eq!(a.endpoint.ipv4.unwrap().to_string(), "10.5.0.64/24");
        assert!(within(&a.netns, || output("ip link show eth0")).contains("mtu 1400"));
        a.stop(&controller);
        drop(controller);
        // Other settings, and nobody on it: it is made anew.
        config.bip = Some("10.6.0.1/24".parse().unwrap());
        config.fixed_cidr = None;
        let controller = Controller::open(config).unwrap();
        let shown = output("ip -o -4 addr show docker0");
        assert!(shown.contains("10.6.0.1/24") && !shown.contains("10.5.0.1"), "{shown}");
        destroy(controller);
    });
}

#[test]
fn a_subnet_the_host_has_a_route_to_is_avoided() {
    lab(|lab| {
        common::run(&format!("ip route add 172.17.4.0/24 via {CLIENT}"));
        let controller = lab.open();
        assert_eq!(
            controller.network("bridge").unwrap().ipam[0]
                .subnet
                .unwrap()
                .to_string(),
            "172.18.0.0/16"
        );
        destroy(controller);
    });
}

#[test]
fn options_of_a_network_hold() {
    lab(|lab| {
        let controller = lab.open();
        let options: BTreeMap<_, _> = [
            ("com.docker.network.bridge.name", "br-own"),
            ("com.docker.network.bridge.enable_icc", "false"),
            ("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let network = controller
            .create_network(NetworkSpec { options, ..spec("own") })
            .unwrap();
        assert_eq!(network.interface, "br-own");
        let a = lab
            .try_start(&controller, "a", "own", &[publish("", 8080, 80, Tcp)])
            .unwrap();
        let b = lab.try_start(&controller, "b", "own", &[]).unwrap();
        assert_eq!(a.endpoint.ports[0].host_ip, Ipv4Addr::LOCALHOST);
        let server = serve_tcp(&a.netns, 80);
        assert!(!within(&b.netns, || reaches(a.ip(), 80)));
        assert!(answers(Ipv4Addr::LOCALHOST, 8080));
        assert!(!within(&lab.client, || reaches(HOST, 8080)));
        drop(server);
        a.stop(&controller);
        b.stop(&controller);
        destroy(controller);
    });
}

#[test]
fn seven_hundred_ports_of_one_container_are_one_change() {
    lab(|lab| {
        let controller = lab.open();
        // More than fit one message of the batch.
        let ports: Vec<_> = (20_000..20_700).map(|port| publish("", port, port, Tcp)).collect();
        let a = lab.start(&controller, "a", &ports);
        let servers: Vec<_> = [20_000, 20_500, 20_699].map(|port| serve_tcp(&a.netns, port)).into();
        for port in [20_000, 20_500, 20_699] {
            within(&lab.client, || ask_tcp(HOST, port));
        }
        drop(servers);
        drop(controller);
        let controller = lab.open();
        assert_eq!(controller.endpoints("a")[0].ports.len(), 700);
        a.stop(&controller);
        assert!(
            !output("nft list ruleset").contains("elements = { tcp"),
            "ports are left"
        );
        destroy(controller);
    });
}

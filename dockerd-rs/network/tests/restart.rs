//! The daemon dies and comes again; others meddle with what is ours.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::net::{Ipv4Addr, TcpListener};

use common::{HOST, Talk, answers, ask_tcp, destroy, lab, output, publish, reaches, run, serve_tcp, within};
use dockerd_rs_network::Protocol::Tcp;
use dockerd_rs_network::{Alive, Controller, Error};

fn alive(ids: &[&str]) -> Vec<Alive> {
    ids.iter()
        .map(|id| Alive {
            container_id: (*id).to_owned(),
        })
        .collect()
}

#[test]
fn connections_live_through_a_restart_and_everything_is_known_again() {
    lab(|lab| {
        let controller = lab.open();
        let bridge_id = controller.network("bridge").unwrap().id;
        let a = lab.start(&controller, "a", &[publish("", 8080, 80, Tcp)]);
        let server = serve_tcp(&a.netns, 80);
        within(&lab.client, || {
            let mut talk = Talk::open(HOST, 8080).unwrap();
            talk.ask().unwrap();
            talk
        });
        let mut from_outside = within(&lab.client, || Talk::open(HOST, 8080).unwrap());
        let mut from_host = Talk::open(Ipv4Addr::LOCALHOST, 8080).unwrap();
        from_outside.ask().unwrap();
        from_host.ask().unwrap();

        drop(controller);
        from_outside.ask().unwrap();
        assert!(
            within(&lab.client, || answers(HOST, 8080)),
            "not served while the daemon is down"
        );

        let controller = lab.open();
        let restored = controller.restore(&alive(&["a"]));
        assert!(restored.failures.is_empty(), "{:?}", restored.failures);
        assert_eq!(restored.kept, std::slice::from_ref(&a.endpoint));
        assert_eq!(controller.endpoints("a"), restored.kept);
        assert_eq!(controller.network("bridge").unwrap().id, bridge_id);
        from_outside.ask().unwrap();
        from_host.ask().unwrap();
        ask_tcp(HOST, 8080);

        let taken = lab
            .try_start(&controller, "b", "bridge", &[publish("", 8080, 80, Tcp)])
            .err()
            .unwrap();
        assert!(
            taken
                .to_string()
                .ends_with("Bind for 0.0.0.0:8080 failed: port is already allocated"),
            "{taken}"
        );
        assert!(TcpListener::bind((HOST, 8080)).is_err(), "the port is not held");
        let c = lab.start(&controller, "c", &[]);
        assert_eq!(
            c.ip().to_string(),
            "172.17.0.4",
            "an address in use, or one just used, came again"
        );
        drop((server, from_outside, from_host));
        a.stop(&controller);
        c.stop(&controller);
        destroy(controller);
    });
}

#[test]
fn what_died_with_the_daemon_is_taken_away() {
    lab(|lab| {
        let controller = lab.open();
        let dead = lab.start(&controller, "dead", &[publish("", 8080, 80, Tcp)]);
        let living = lab.start(&controller, "living", &[]);
        // A link of an attachment that was not written down any more.
        run("ip link add vethstray type veth peer name vethpeer");
        run("ip link set vethstray master docker0");
        drop(controller);

        let controller = lab.open();
        let restored = controller.restore(&alive(&["living"]));
        assert!(restored.failures.is_empty(), "{:?}", restored.failures);
        assert_eq!((restored.removed, restored.kept.len()), (vec!["dead".to_owned()], 1));
        let links = output("ip -o link");
        assert!(
            !links.contains(&dead.endpoint.host_interface) && !links.contains("vethstray"),
            "{links}"
        );
        assert!(links.contains(&living.endpoint.host_interface));
        drop(TcpListener::bind((HOST, 8080)).unwrap());
        dockerd_rs_network::netns::remove(&dead.netns).unwrap();
        living.stop(&controller);
        destroy(controller);
    });
}

#[test]
fn a_port_that_was_taken_while_the_daemon_was_down_is_told() {
    lab(|lab| {
        let controller = lab.open();
        let a = lab.start(&controller, "a", &[publish("", 8080, 80, Tcp)]);
        let server = serve_tcp(&a.netns, 80);
        drop(controller);
        let thief = TcpListener::bind((HOST, 8080)).unwrap();
        let controller = lab.open();
        let restored = controller.restore(&alive(&["a"]));
        let told: Vec<_> = restored.failures.iter().map(ToString::to_string).collect();
        let text = "hold port 8080/tcp of name-of-a: \
            failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp: address already in use";
        assert_eq!(told, [text]);
        assert!(
            within(&lab.client, || answers(HOST, 8080)),
            "the container is not served any more"
        );
        drop((thief, server));
        a.stop(&controller);
        destroy(controller);
    });
}

fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(100));
}

#[test]
fn flushed_rules_are_put_back() {
    lab(|lab| {
        let controller = lab.open();
        let a = lab.start(&controller, "a", &[publish("", 8080, 80, Tcp)]);
        let server = serve_tcp(&a.netns, 80);
        let before = output("nft list ruleset");
        assert!(
            before.contains("elements = { \"docker0\" }"),
            "not readable to an administrator: {before}"
        );
        let served = || within(&lab.client, || answers(HOST, 8080));
        assert!(served());

        // Nobody calls us: the daemon notices by itself.
        for command in [
            "nft flush table ip docker-rs",
            "nft delete table ip docker-rs",
            "nft flush ruleset",
        ] {
            run(command);
            let tries = (0..100)
                .take_while(|_| output("nft list ruleset") != before)
                .map(|_| pause());
            assert!(tries.count() < 100, "not put back after {command}");
            assert!(served());
        }

        run("nft flush ruleset");
        let b = lab.start(&controller, "b", &[publish("", 8081, 80, Tcp)]);
        assert!(served(), "the next container's set-up did not find the table gone");
        run("nft flush ruleset");
        b.stop(&controller);
        assert!(served(), "the next container's end did not find the table gone");
        assert_eq!(output("nft list ruleset"), before);

        drop(controller);
        run("nft flush ruleset");
        let controller = lab.open();
        assert!(served());
        assert_eq!(output("nft list ruleset"), before);
        drop(server);
        a.stop(&controller);
        destroy(controller);
    });
}

#[test]
fn a_bridge_or_namespace_taken_away_by_hand_does_not_stop_anything() {
    lab(|lab| {
        let controller = lab.open();
        let a = lab.start(&controller, "a", &[]);
        run("ip link del docker0");
        let b = lab.start(&controller, "b", &[publish("", 8080, 80, Tcp)]);
        let server = serve_tcp(&b.netns, 80);
        assert!(within(&lab.client, || answers(HOST, 8080)));
        drop(server);
        run(&format!("ip link del {}", a.endpoint.host_interface));
        dockerd_rs_network::netns::remove(&a.netns).unwrap();
        a.stop(&controller);
        b.stop(&controller);
        assert!(controller.teardown("a").is_empty(), "a second teardown");
        destroy(controller);
    });
}

#[test]
fn a_failed_attachment_leaves_nothing() {
    lab(|lab| {
        let controller = lab.open();
        let links = output("ip -o link");
        let rules = output("nft list ruleset");
        let request = lab.request("ghost", "bridge", &[publish("", 8080, 80, Tcp)]);
        assert!(
            matches!(controller.setup(request), Err(Error::Io { .. })),
            "a namespace that is not there"
        );
        // An interface of that name stands in the container's way.
        let netns = lab.netns("full");
        within(&netns, || run("ip link add eth0 type bridge"));
        let error = controller
            .setup(lab.request("full", "bridge", &[publish("", 8080, 80, Tcp)]))
            .unwrap_err();
        assert!(error.to_string().contains("create link veth"), "{error}");
        dockerd_rs_network::netns::remove(&netns).unwrap();
        assert_eq!((output("ip -o link"), output("nft list ruleset")), (links, rules));
        drop(TcpListener::bind((HOST, 8080)).unwrap());
        assert!(controller.endpoints("ghost").is_empty());
        destroy(controller);
    });
}

#[test]
fn two_daemons_share_a_host() {
    lab(|lab| {
        let first = lab.open();
        let mut config = lab.config();
        config.state_dir = lab.dir.path().join("state2");
        config.bridge = "docker1".to_owned();
        let second = Controller::open(config).unwrap();
        let a = lab.start(&first, "a", &[publish("", 8080, 80, Tcp)]);
        let b = lab.start(&second, "b", &[publish("", 8081, 80, Tcp)]);
        assert_eq!(b.ip().to_string(), "172.18.0.2");
        let servers = (serve_tcp(&a.netns, 80), serve_tcp(&b.netns, 80));
        within(&lab.client, || assert!(answers(HOST, 8080) && answers(HOST, 8081)));
        assert!(
            !within(&b.netns, || reaches(a.ip(), 80)),
            "two bridges reach each other"
        );
        let taken = lab
            .try_start(&second, "c", "bridge", &[publish("", 8080, 80, Tcp)])
            .err()
            .unwrap();
        let text = "failed to bind host port for 0.0.0.0:8080:172.18.0.3:80/tcp: address already in use";
        assert!(taken.to_string().ends_with(text), "{taken}");
        drop(servers);
        a.stop(&first);
        b.stop(&second);
        destroy(second);
        destroy(first);
    });
}

#[test]
fn a_daemon_that_lost_its_state_takes_its_bridge_over_and_cleans_it() {
    lab(|lab| {
        let controller = lab.open();
        let lost = lab.start(&controller, "lost", &[publish("", 8080, 80, Tcp)]);
        drop(controller);
        std::fs::remove_dir_all(lab.dir.path().join("state")).unwrap();
        let controller = lab.open();
        assert!(controller.restore(&[]).failures.is_empty());
        assert!(!output("ip -o link").contains(&lost.endpoint.host_interface));
        assert!(!output("nft list ruleset").contains("8080"));
        dockerd_rs_network::netns::remove(&lost.netns).unwrap();
        destroy(controller);
        // That forwarding was off before is lost with the state.
        run("sysctl -q -w net.ipv4.ip_forward=0");
    });
}

#[test]
fn an_administrators_bridge_stays_his() {
    lab(|lab| {
        run("ip link add br9 type bridge");
        run("ip addr add 10.50.0.7/24 dev br9");
        let mut config = lab.config();
        config.bridge = "br9".to_owned();
        let controller = Controller::open(config).unwrap();
        let a = lab.start(&controller, "a", &[]);
        assert_eq!(
            (a.ip().to_string().as_str(), a.endpoint.gateway),
            ("10.50.0.1", Some(Ipv4Addr::new(10, 50, 0, 7)))
        );
        a.stop(&controller);
        destroy(controller);
        assert!(
            output("ip -o -4 addr show br9").contains("10.50.0.7/24"),
            "deleted or readdressed"
        );
        run("ip link del br9");
    });
}

//! The daemon is killed at any line, and the disk is full.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{destroy, lab, output, publish};
use dockerd_rs_network::Protocol::{Tcp, Udp};
use dockerd_rs_network::{Config, Controller, EndpointRequest, Error, NetnsRef, NetworkSpec, netns};

/// Where the process that is to be killed finds its directory.
const DIRECTORY: &str = "NETWORK_TEST_KILLED_IN";

#[test]
fn a_daemon_killed_at_any_line_leaves_nothing_that_the_next_does_not_take_away() {
    if let Some(dir) = std::env::var_os(DIRECTORY) {
        come_and_go(Path::new(&dir));
    }
    lab(|lab| {
        let mut removed = 0;
        for round in 0..25_u64 {
            let mut daemon = Command::new(std::env::current_exe().unwrap());
            daemon.args([
                "--exact",
                "a_daemon_killed_at_any_line_leaves_nothing_that_the_next_does_not_take_away",
            ]);
            daemon
                .env(DIRECTORY, lab.dir.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut daemon = daemon.spawn().unwrap();
            // Some rounds hit the start, most hit what comes after it.
            std::thread::sleep(Duration::from_millis(2 + round * 7 % 90));
            daemon.kill().unwrap();
            daemon.wait().unwrap();

            let controller = lab.open();
            let restored = controller.restore(&[]);
            assert!(restored.failures.is_empty(), "round {round}: {:?}", restored.failures);
            removed += restored.removed.len();
            let links = output("ip -o link");
            assert!(!links.contains(": veth"), "round {round}: {links}");
            let rules = output("nft list ruleset");
            assert!(
                !rules.contains("= { tcp") && !rules.contains("= { udp"),
                "round {round}: {rules}"
            );
            let endpoints = fs::read_dir(lab.dir.path().join("state/endpoints")).unwrap().count();
            assert_eq!(endpoints, 0, "round {round}");
            // Every address and port can be had again.
            lab.start(&controller, "after", &[publish("", 8001, 80, Tcp)])
                .stop(&controller);
            for entry in fs::read_dir(lab.dir.path().join("netns")).unwrap() {
                netns::remove(&entry.unwrap().path()).unwrap();
            }
            if round % 5 == 4 {
                destroy(controller);
                // When the kill came before it was written down who had switched it on.
                fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
            }
        }
        assert!(removed > 0, "no daemon was killed at work");
    });
}

/// Containers and networks come and go, for ever.
fn come_and_go(dir: &Path) -> ! {
    let controller = Controller::open(Config::new(dir.join("state"))).unwrap();
    controller.restore(&[]);
    std::thread::scope(|scope| {
        for worker in 0..4_u16 {
            let controller = &controller;
            scope.spawn(move || {
                for n in 0.. {
                    let id = format!("c{worker}-{n}");
                    let path = dir.join("netns").join(&id);
                    netns::create(&path).unwrap();
                    let request = EndpointRequest {
                        container_id: id.clone(),
                        container_name: id.clone(),
                        network: "bridge".to_owned(),
                        netns: NetnsRef::Path(path.clone()),
                        mac: None,
                        ipv4: None,
                        aliases: Vec::new(),
                        ports: vec![publish("", 8000 + worker, 80, Tcp), publish("", 0, 53, Udp)],
                    };
                    controller.setup(request).unwrap();
                    controller.teardown(&id);
                    netns::remove(&path).unwrap();
                    let name = format!("n{worker}");
                    controller
                        .create_network(NetworkSpec {
                            name: name.clone(),
                            ..NetworkSpec::default()
                        })
                        .unwrap();
                    controller.remove_network(&name).unwrap();
                }
            });
        }
    });
    unreachable!("the workers never end");
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    lab(|lab| {
        let disk = lab.dir.path().join("disk");
        fs::create_dir(&disk).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", &disk, "tmpfs", flags, Some(c"size=256k")).unwrap();
        let config = Config {
            state_dir: disk.join("state"),
            ..lab.config()
        };
        let controller = Controller::open(config).unwrap();
        let (links, rules) = (output("ip -o link"), output("nft list ruleset"));
        let mut filler = vec![0; 1 << 20];
        while !filler.is_empty() {
            let name = disk.join(format!("filler{}", filler.len()));
            if fs::write(&name, &filler).is_err() {
                let _ = fs::remove_file(&name);
            }
            filler.truncate(filler.len() / 2);
        }
        let refused = lab
            .try_start(&controller, "a", "bridge", &[publish("", 8080, 80, Tcp)])
            .err()
            .unwrap();
        assert!(
            matches!(&refused, Error::Io { source, .. } if source.raw_os_error() == Some(libc::ENOSPC)),
            "{refused}"
        );
        let network = NetworkSpec {
            name: "front".to_owned(),
            ..NetworkSpec::default()
        };
        assert!(matches!(
            controller.create_network(network.clone()),
            Err(Error::Io { .. })
        ));
        assert_eq!((output("ip -o link"), output("nft list ruleset")), (links, rules));
        for entry in fs::read_dir(&disk).unwrap().map(Result::unwrap) {
            if entry.file_name().to_string_lossy().starts_with("filler") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        lab.start(&controller, "a", &[publish("", 8080, 80, Tcp)])
            .stop(&controller);
        controller.create_network(network).unwrap();
        destroy(controller);
        rustix::mount::unmount(&disk, rustix::mount::UnmountFlags::DETACH).unwrap();
    });
}

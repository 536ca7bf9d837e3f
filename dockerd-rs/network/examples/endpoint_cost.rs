//! Measures what an endpoint costs: run it as root in a network namespace of its own, `unshare -n endpoint_cost [DIR [ports]]`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use dockerd_rs_network::{Config, Controller, EndpointRequest, NetnsRef, PortBinding, Protocol, netns};

fn main() {
    let dir = std::env::args()
        .nth(1)
        .map_or_else(|| std::env::temp_dir().join("endpoint-cost"), Into::into);
    let controller = Controller::open(Config::new(dir.join("state"))).unwrap();
    let mut spent: [Vec<Duration>; 5] = Default::default();
    let mut time = |step: usize, work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        spent[step].push(start.elapsed());
    };
    for n in 0..100 {
        let path = dir.join(format!("ns{n}"));
        let id = format!("container{n}");
        let binding = |protocol| PortBinding {
            container_port: 80,
            protocol,
            host_ip: None,
            host_port: 0,
            host_port_end: 0,
        };
        let mut address = std::net::Ipv4Addr::UNSPECIFIED;
        time(0, &mut || netns::create(&path).unwrap());
        time(1, &mut || {
            let request = EndpointRequest {
                container_id: id.clone(),
                container_name: id.clone(),
                network: "bridge".to_owned(),
                netns: NetnsRef::Path(path.clone()),
                mac: None,
                ipv4: None,
                aliases: Vec::new(),
                ports: if std::env::args().len() > 2 {
                    vec![binding(Protocol::Tcp), binding(Protocol::Udp)]
                } else {
                    Vec::new()
                },
            };
            address = controller.setup(request).unwrap().ipv4.unwrap().addr();
        });
        // Nobody listens: the refusal is the container's first packet.
        time(4, &mut || assert!(std::net::TcpStream::connect((address, 9)).is_err()));
        time(2, &mut || assert!(controller.teardown(&id).is_empty()));
        time(3, &mut || netns::remove(&path).unwrap());
    }
    for (name, mut times) in ["netns create", "setup", "teardown", "netns remove", "first packet"]
        .into_iter()
        .zip(spent)
    {
        times.sort();
        println!("{name:14} median {:?}  95% {:?}", times[50], times[95]);
    }
    assert!(controller.destroy().is_empty());
}

//! From a [`Ruleset`] to the text that `iptables-restore` reads: pure. The rules say what the nftables table says, see
//! `firewall/plan.rs`.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::firewall::{Publication, Ruleset};

/// The names of our chains.
#[derive(Debug)]
pub(super) struct Chains {
    prefix: String,
}

/// A rule in a chain of the system that leads to one of ours.
#[derive(Debug)]
pub(super) struct Jump {
    pub(super) table: &'static str,
    chain: &'static str,
    matches: &'static [&'static str],
    target: String,
}

impl Jump {
    /// The command line to check (`-C`), insert (`-I`) or delete (`-D`) it.
    pub(super) fn arguments<'a>(&'a self, action: &'a str) -> Vec<&'a str> {
        let mut arguments = vec![action, self.chain];
        arguments.extend(self.matches);
        arguments.extend(["-j", &self.target]);
        arguments
    }
}

/// Our chains by table.
const CHAINS: [(&str, &[&str]); 3] = [
    ("raw", &["RAW"]),
    ("nat", &["DNAT", "POST"]),
    ("filter", &["FORWARD", "IN", "OUT"]),
];

impl Chains {
    /// Chains for the daemon whose nftables table would have this name; a chain's name has at most 28 bytes.
    pub(super) fn new(table: &str) -> Self {
        if table == "docker-rs" {
            return Self {
                prefix: "DOCKER-RS".to_owned(),
            };
        }
        let mut hasher = DefaultHasher::new();
        table.hash(&mut hasher);
        Self {
            prefix: format!("DOCKER-RS-{:08x}", hasher.finish() & 0xffff_ffff),
        }
    }

    fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.prefix)
    }

    pub(super) fn jumps(&self) -> Vec<Jump> {
        let jump = |table, chain, matches, part| Jump {
            table,
            chain,
            matches,
            target: self.name(part),
        };
        vec![
            jump("raw", "PREROUTING", &[], "RAW"),
            jump(
                "nat",
                "PREROUTING",
                &["-m", "addrtype", "--dst-type", "LOCAL", "!", "-d", "127.0.0.0/8"],
                "DNAT",
            ),
            jump("nat", "OUTPUT", &["-m", "addrtype", "--dst-type", "LOCAL"], "DNAT"),
            jump("nat", "POSTROUTING", &[], "POST"),
            jump("filter", "FORWARD", &[], "FORWARD"),
        ]
    }

    /// Replaces our chains, and makes those that are missing.
    pub(super) fn restore(&self, rules: &Ruleset) -> String {
        let mut text = String::new();
        for (table, parts) in CHAINS {
            let _ = writeln!(text, "*{table}");
            for part in parts {
                let _ = writeln!(text, ":{} - [0:0]", self.name(part));
            }
            for (part, rule) in rules_of(table, rules, self) {
                let _ = writeln!(text, "-A {} {rule}", self.name(part));
            }
            text.push_str("COMMIT\n");
        }
        text
    }

    /// Deletes our chains, to which nothing may jump but they themselves: emptied, and made where missing, before.
    pub(super) fn delete(&self) -> String {
        let mut text = String::new();
        for (table, parts) in CHAINS {
            let _ = writeln!(text, "*{table}");
            for part in parts {
                let _ = writeln!(text, ":{} - [0:0]", self.name(part));
            }
            for part in parts {
                let _ = writeln!(text, "-X {}", self.name(part));
            }
            text.push_str("COMMIT\n");
        }
        text
    }
}

fn rules_of(table: &str, rules: &Ruleset, chains: &Chains) -> Vec<(&'static str, String)> {
    match table {
        "raw" => raw(rules),
        "nat" => nat(rules),
        _ => filter(rules, chains),
    }
}

fn raw(rules: &Ruleset) -> Vec<(&'static str, String)> {
    let loopback =
        |bridge: &String| ["-d", "-s"].map(|side| ("RAW", format!("-i {bridge} {side} 127.0.0.0/8 -j DROP")));
    rules.bridges.keys().flat_map(loopback).collect()
}

fn nat(rules: &Ruleset) -> Vec<(&'static str, String)> {
    // Ports on one address come before those on all.
    let (anywhere, somewhere): (Vec<_>, Vec<_>) = rules.ports.iter().partition(|port| port.host_ip.is_unspecified());
    let mut out: Vec<_> = somewhere
        .into_iter()
        .chain(anywhere)
        .map(|port| ("DNAT", translation(port)))
        .collect();
    for (name, bridge) in &rules.bridges {
        let subnet = bridge.subnet.network();
        out.push(("POST", format!("-o {name} -s 127.0.0.0/8 -j MASQUERADE")));
        if bridge.masquerade && !bridge.internal {
            out.push(("POST", format!("-s {subnet} ! -o {name} -j MASQUERADE")));
        }
        out.push((
            "POST",
            format!("-s {subnet} -o {name} -m conntrack --ctstate DNAT -j MASQUERADE"),
        ));
    }
    out
}

fn translation(port: &Publication) -> String {
    let protocol = port.protocol;
    let to = if port.host_ip.is_unspecified() {
        String::new()
    } else {
        format!("-d {}/32 ", port.host_ip)
    };
    format!(
        "{to}-p {protocol} -m {protocol} --dport {} -j DNAT --to-destination {}:{}",
        port.host_port, port.container_ip, port.container_port
    )
}

fn filter(rules: &Ruleset, chains: &Chains) -> Vec<(&'static str, String)> {
    let known = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT".to_owned();
    let mut out = Vec::new();
    for name in rules.bridges.keys() {
        out.push(("FORWARD", format!("-o {name} -j {}", chains.name("IN"))));
    }
    for name in rules.bridges.keys() {
        out.push(("FORWARD", format!("-i {name} -j {}", chains.name("OUT"))));
    }
    out.push(("IN", known.clone()));
    for (name, _) in rules.bridges.iter().filter(|(_, bridge)| bridge.icc) {
        out.push(("IN", format!("-i {name} -o {name} -j ACCEPT")));
    }
    for port in &rules.ports {
        let (protocol, ip, to) = (port.protocol, port.container_ip, port.container_port);
        let rule = format!("-d {ip}/32 -p {protocol} -m {protocol} --dport {to} -m conntrack --ctstate DNAT -j ACCEPT");
        out.push(("IN", rule));
    }
    out.push(("IN", "-j DROP".to_owned()));
    out.push(("OUT", known));
    for (name, _) in rules.bridges.iter().filter(|(_, bridge)| bridge.internal) {
        out.push(("OUT", format!("-i {name} -j DROP")));
    }
    out.push(("OUT", "-j ACCEPT".to_owned()));
    out
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::firewall::BridgeRules;
    use crate::types::Protocol;

    #[test]
    fn the_rules_read_like_dockers() {
        let subnet = "172.17.0.1/16".parse().unwrap();
        let port = |host_ip: [u8; 4], host_port| Publication {
            protocol: Protocol::Udp,
            host_ip: host_ip.into(),
            host_port,
            container_ip: Ipv4Addr::new(172, 17, 0, 2),
            container_port: 53,
        };
        let rules = Ruleset {
            bridges: [(
                "docker0".to_owned(),
                BridgeRules {
                    subnet,
                    masquerade: true,
                    icc: true,
                    internal: false,
                },
            )]
            .into(),
            ports: [port([0, 0, 0, 0], 53), port([127, 0, 0, 1], 53)].into(),
            guard: false,
        };
        let text = Chains::new("docker-rs").restore(&rules);
        let dnat: Vec<_> = text.lines().filter(|line| line.contains("-j DNAT")).collect();
        let end = "-p udp -m udp --dport 53 -j DNAT --to-destination 172.17.0.2:53";
        assert_eq!(
            dnat,
            [
                format!("-A DOCKER-RS-DNAT -d 127.0.0.1/32 {end}"),
                format!("-A DOCKER-RS-DNAT {end}")
            ]
        );
        assert!(text.contains("-A DOCKER-RS-POST -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n"));
        let last = text.lines().rfind(|line| line.starts_with("-A DOCKER-RS-IN"));
        assert_eq!(last, Some("-A DOCKER-RS-IN -j DROP"));
        assert_eq!(text.matches("COMMIT\n").count(), 3);
    }

    #[test]
    fn names_fit_and_differ() {
        let (one, two) = (Chains::new("docker-rs-br1"), Chains::new("docker-rs-br2"));
        assert_ne!(one.name("DNAT"), two.name("DNAT"));
        assert!(
            CHAINS
                .iter()
                .flat_map(|(_, parts)| *parts)
                .all(|part| one.name(part).len() <= 28)
        );
    }
}

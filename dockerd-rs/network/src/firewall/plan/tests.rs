//! The table as data.

use std::net::Ipv4Addr;

use super::*;
use crate::firewall::BridgeRules;
use crate::types::Protocol;

fn port(host_ip: [u8; 4], host_port: u16, container_port: u16) -> Publication {
    let container_ip = Ipv4Addr::new(172, 17, 0, 2);
    Publication {
        protocol: Protocol::Tcp,
        host_ip: host_ip.into(),
        host_port,
        container_ip,
        container_port,
    }
}

fn bridge(name: &str, subnet: &str, internal: bool) -> (String, BridgeRules) {
    let subnet = subnet.parse().unwrap();
    (
        name.to_owned(),
        BridgeRules {
            subnet,
            masquerade: true,
            icc: !internal,
            internal,
        },
    )
}

fn rules() -> Ruleset {
    Ruleset {
        bridges: [
            bridge("docker0", "172.17.0.0/16", false),
            bridge("br-in", "172.18.0.0/16", true),
        ]
        .into(),
        ports: [
            port([0, 0, 0, 0], 8080, 80),
            port([0, 0, 0, 0], 8081, 80),
            port([127, 0, 0, 1], 9090, 90),
        ]
        .into(),
        guard: false,
    }
}

fn elements<'a>(table: &'a Table, name: &str) -> Vec<&'a Element> {
    let (_, elements) = table.elements.iter().find(|(set, _)| *set == name).unwrap();
    elements.iter().collect()
}

fn chain<'a>(table: &'a Table, name: &str) -> &'a [Vec<Expr>] {
    &table.chains.iter().find(|chain| chain.name == name).unwrap().rules
}

#[test]
fn ports_become_elements_with_padded_words() {
    let table = table(&rules());
    let [first, second] = elements(&table, PORTS)[..] else {
        panic!("two ports on all addresses")
    };
    assert_eq!(first.key, [6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
    assert_eq!(first.data.as_deref(), Some(&[172, 17, 0, 2, 0, 80, 0, 0][..]));
    assert_eq!(second.key, [6, 0, 0, 0, 0x1f, 0x91, 0, 0]);
    let [only] = elements(&table, PORTS_BY_ADDRESS)[..] else {
        panic!("one port on an address")
    };
    assert_eq!(only.key, [127, 0, 0, 1, 6, 0, 0, 0, 0x23, 0x82, 0, 0]);
    assert_eq!(
        elements(&table, PUBLISHED).len(),
        2,
        "a container's port published twice is one element"
    );
}

#[test]
fn every_element_has_the_length_its_set_declares() {
    let table = table(&rules());
    for set in &table.sets {
        for element in elements(&table, set.name) {
            assert_eq!(element.key.len(), set.key_len, "{}", set.name);
            assert_eq!(
                element.data.as_ref().map(Vec::len),
                set.data.map(|(_, length)| length),
                "{}",
                set.name
            );
        }
    }
}

#[test]
fn internal_bridges_neither_talk_nor_leave() {
    let table = table(&rules());
    let name = |bridge| key(name_bytes(bridge));
    assert_eq!(elements(&table, INTERNAL), [&name("br-in")]);
    assert_eq!(elements(&table, TALKING), [&key(name_bytes("docker0").repeat(2))]);
    let masquerades = chain(&table, "postrouting")
        .iter()
        .flatten()
        .filter(|e| **e == Expr::Masquerade)
        .count();
    assert_eq!(masquerades, 4, "loopback, docker0 out, and one hairpin for each bridge");
}

#[test]
fn a_port_more_is_not_a_rule_more() {
    let few = table(&rules());
    let mut more = rules();
    more.ports.extend((1..1000).map(|n| port([0, 0, 0, 0], n, n)));
    assert_eq!(table(&more).chains, few.chains);
}

#[test]
fn what_is_for_a_bridge_and_fits_nothing_is_dropped() {
    for guard in [false, true] {
        let table = table(&Ruleset { guard, ..rules() });
        assert_eq!(chain(&table, TO_BRIDGE).last(), Some(&verdict(Verdict::Drop)));
        assert_eq!(chain(&table, "forward").last() == Some(&verdict(Verdict::Drop)), guard);
    }
}

#[test]
fn chains_are_there_before_they_are_jumped_to() {
    let table = table(&rules());
    for (index, chain) in table.chains.iter().enumerate() {
        for expr in chain.rules.iter().flatten() {
            if let Expr::Verdict(Verdict::Jump(target)) = expr {
                assert!(
                    table.chains[..index].iter().any(|earlier| earlier.name == *target),
                    "{target}"
                );
            }
        }
    }
}

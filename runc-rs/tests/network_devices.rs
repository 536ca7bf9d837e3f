//! Devices of the host that are moved into a container. Each test has a network namespace of its own for "the host".
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::process::Command;

use common::{Bundle, Outcome, program};
use serde_json::json;

/// Runs `script` in a new network namespace. `RUNC` is our program.
fn in_own_network(bundle: &Bundle, script: &str) -> Outcome {
    bundle.write_config();
    let runc = format!("{} --root {}", program().display(), bundle.state_root().display());
    Command::new("unshare")
        .args(["--net", "/bin/sh", "-ec", script])
        .env("RUNC", runc)
        .env("ID", &bundle.id)
        .current_dir(bundle.dir.path())
        .output()
        .unwrap()
        .into()
}

/// Two devices on "the host": `eth5` with addresses of several kinds, and `eth6`.
const DEVICES: &str = "ip link add eth5 type veth peer name peer5; ip link add eth6 type veth peer name peer6; \
    ip link set peer5 up; ip link set peer6 up; ip link set eth5 up; ip addr add 10.9.8.7/24 broadcast 10.9.8.255 dev eth5; \
    ip addr add 10.1.1.1 peer 10.1.1.2/32 dev eth5; ip addr add 169.254.1.1/16 scope link dev eth5; \
    ip addr add 10.7.7.7/24 valid_lft 1000 preferred_lft 1000 dev eth5; ip addr add fd00::7/64 nodad dev eth5;";

const SHOW: &str = "ip -o addr show | awk '{print $2, $3, $4, $5, $6}' | grep -v 'scope link' | grep -v '^lo'; ip link show dev inner | grep -c UP; ip -o link | grep -c eth6";

#[test]
fn devices_are_moved_renamed_and_keep_their_addresses() {
    let mut bundle = Bundle::new();
    bundle.set("/linux/netDevices", json!({"eth5": {"name": "inner"}, "eth6": {}}));
    bundle.script(SHOW);
    let script = format!("{DEVICES} $RUNC run $ID; ip link show eth5 2>/dev/null || echo gone");
    let outcome = in_own_network(&bundle, &script);
    let expected = "inner inet 10.9.8.7/24 brd 10.9.8.255\ninner inet 10.1.1.1 peer 10.1.1.2/32\ninner inet6 fd00::7/64 scope global\n1\n1\ngone\n";
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
    bundle.assert_nothing_left();
}

#[test]
fn devices_are_moved_into_a_namespace_of_a_user_namespace_and_a_joined_one() {
    let mut bundle = Bundle::new();
    bundle.set("/linux/netDevices", json!({"eth5": {"name": "inner"}}));
    bundle.script("ip -o -4 addr show dev inner | grep -c '10.9.8.7/24'");
    let maps = json!([{"containerID": 0, "hostID": 0, "size": 1000}]);
    let own = bundle.config.clone();
    bundle.push("/linux/namespaces", json!({"type": "user"}));
    bundle
        .set("/linux/uidMappings", maps.clone())
        .set("/linux/gidMappings", maps);
    let outcome = in_own_network(&bundle, &format!("{DEVICES} $RUNC run $ID"));
    assert_eq!(outcome.stdout, "1\n", "{}", outcome.stderr);
    bundle.config = own;
    let path = bundle.dir.path().join("netns");
    std::fs::write(&path, "").unwrap();
    bundle.set("/linux/namespaces/1", json!({"type": "network", "path": path}));
    let script = format!("{DEVICES} unshare --net mount --bind /proc/self/ns/net netns; $RUNC run $ID; umount netns");
    let outcome = in_own_network(
        &bundle,
        &format!("exec unshare --mount --propagation private /bin/sh -ec \"{script}\""),
    );
    assert_eq!(outcome.stdout, "1\n", "{}", outcome.stderr);
}

#[test]
fn what_cannot_be_moved_is_an_error_and_leaves_nothing() {
    let mut bundle = Bundle::new();
    for (devices, words) in [
        (
            json!({"nowhere0": {}}),
            "link not found for interface nowhere0 on runtime namespace: no such device",
        ),
        (
            json!({"eth5": {"name": "lo"}}),
            "fail to move network device: file exists",
        ),
        (json!({"eth5": {"name": "a/b"}}), "invalid network device name"),
    ] {
        bundle.set("/linux/netDevices", devices);
        let error = in_own_network(&bundle, &format!("{DEVICES} $RUNC run $ID")).err();
        assert!(error.contains(words), "{error}");
        bundle.assert_nothing_left();
    }
    bundle.set(
        "/linux/namespaces",
        json!([{"type": "mount"}, {"type": "pid"}, {"type": "uts"}]),
    );
    bundle.set("/linux/netDevices", json!({"eth5": {}}));
    let error = bundle.run().err();
    assert!(
        error.contains("unable to move network devices without a private NET namespace"),
        "{error}"
    );
}

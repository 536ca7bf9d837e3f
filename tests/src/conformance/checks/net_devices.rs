//! config-linux.md: network devices. The runtime is run in a network namespace of the check's own, so that nothing of the machine's is moved.

use std::process::Command;

use serde_json::json;

use crate::conformance::bundle::{Bundle, finish};
use crate::conformance::trial::{Done, Stop, Trial, elsewhere};

/// A network namespace with a pair of devices; gone when dropped.
struct Net(String);

impl Net {
    fn new(bundle: &Bundle) -> Result<Self, Stop> {
        let net = Self(bundle.id.clone());
        let script = "set -e; ip netns add $0; ip -n $0 link set lo up; ip -n $0 link add one type veth peer name two; \
            ip -n $0 link set one address 02:00:00:00:00:77 mtu 1400 up; ip -n $0 address add 192.0.2.7/24 dev one; \
            [ ! -e /proc/sys/net/ipv6 ] || ip -n $0 address add 2001:db8::7/64 dev one nodad; ip -n $0 link set two up";
        let status = Command::new("sh").args(["-c", script, &net.0]).status()?;
        if status.success() {
            return Ok(net);
        }
        Err("can't make a network namespace".to_owned().into())
    }

    /// A command of the runtime in this namespace.
    fn call(&self, bundle: &Bundle, args: &[&str]) -> crate::conformance::bundle::Said {
        let inner = bundle.command(args);
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.0))
            .arg(inner.get_program())
            .args(inner.get_args());
        finish(command.current_dir(&bundle.dir), &bundle.dir)
    }

    fn run(&self, bundle: &Bundle) -> crate::conformance::bundle::Said {
        bundle.write();
        self.call(bundle, &["run", &bundle.id])
    }

    /// The names of the devices in it.
    fn devices(&self) -> Result<String, Stop> {
        let said = Command::new("ip").args(["-n", &self.0, "-br", "link"]).output()?;
        Ok(String::from_utf8_lossy(&said.stdout).into_owned())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

/// A bundle with a network namespace of its own that gets `one` by this name.
fn with_device<'a>(t: &Trial<'a>, name: &str) -> Result<(Bundle<'a>, Net), Stop> {
    if t.subject.place.rootless {
        return elsewhere("an ordinary user has no network devices to give");
    }
    let mut bundle = t.bundle();
    let net = Net::new(&bundle)?;
    bundle.namespace("network", None);
    bundle.set("/linux/netDevices", json!({"one": {"name": name}}));
    Ok((bundle, net))
}

/// Moved, with its new name, its addresses and attributes, and up.
pub fn moved(t: &mut Trial) -> Done {
    let (mut bundle, net) = with_device(t, "eth7")?;
    bundle.script("busybox ip address show dev eth7");
    let said = net.run(&bundle).ok()?;
    t.must("linux.net-devices.moved", said.contains("eth7"), &said);
    // Kernels may be without IPv6.
    let ipv6 = std::path::Path::new("/proc/sys/net/ipv6").exists();
    let has_family = |part: &&&str| ipv6 || !part.contains("::");
    let kept = ["02:00:00:00:00:77", "mtu 1400", "192.0.2.7/24", "2001:db8::7/64"];
    t.must(
        "linux.net-devices.attributes",
        kept.iter().filter(has_family).all(|part| said.contains(*part)),
        &said,
    );
    t.must(
        "linux.net-devices.up",
        said.split('>').next().is_some_and(|flags| flags.contains("UP")),
        &said,
    );
    Ok(())
}

/// `lo` is there already.
pub fn name_is_taken(t: &mut Trial) -> Done {
    let (mut bundle, net) = with_device(t, "lo")?;
    bundle.script("true");
    t.refused("linux.net-devices.exists", &net.run(&bundle));
    t.must(
        "linux.net-devices.exists",
        net.devices()?.contains("one"),
        "the device is gone",
    );
    Ok(())
}

/// The kernel chooses the number.
pub fn template(t: &mut Trial) -> Done {
    let (mut bundle, net) = with_device(t, "port%d")?;
    bundle.script("busybox ip link");
    let said = net.run(&bundle).ok()?;
    t.must("linux.net-devices.template", said.contains("port0"), said);
    Ok(())
}

/// What the container does to the device stays as it is, and the device goes with the namespace: a virtual one is destroyed, and its peer with it.
pub fn left_alone(t: &mut Trial) -> Done {
    let (mut bundle, net) = with_device(t, "eth7")?;
    bundle.set(
        "/process/capabilities",
        json!({"bounding": ["CAP_NET_ADMIN"], "permitted": ["CAP_NET_ADMIN"], "effective": ["CAP_NET_ADMIN"]}),
    );
    bundle.script(
        "busybox ip link set eth7 down; busybox ip link set eth7 name mine; echo $$ >/began; while :; do sleep 1; done",
    );
    bundle.write();
    net.call(&bundle, &["create", &bundle.id]).ok()?;
    net.call(&bundle, &["start", &bundle.id]).ok()?;
    bundle.appears("began")?;
    let pid = bundle.pid()?;
    bundle.state()?;
    let inside = Command::new("nsenter")
        .args(["-t", &pid.to_string(), "-n", "ip", "-br", "link"])
        .output()?;
    let inside = String::from_utf8_lossy(&inside.stdout).into_owned();
    t.must(
        "linux.net-devices.not-managed",
        inside.contains("mine") && inside.contains("DOWN"),
        &inside,
    );
    bundle.stop()?;
    bundle.delete().ok()?;
    let devices = net.devices()?;
    t.must(
        "linux.net-devices.not-back",
        !devices.contains("one") && !devices.contains("mine"),
        devices,
    );
    Ok(())
}

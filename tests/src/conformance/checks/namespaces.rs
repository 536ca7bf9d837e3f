//! config-linux.md: namespaces.

use serde_json::json;

use super::{field, namespace};
use crate::conformance::trial::{Done, Trial, elsewhere};

/// Names in a configuration and in `/proc/PID/ns`.
const KINDS: [(&str, &str); 6] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
];

const FOREVER: &str = "while :; do sleep 1; done";

/// Whether the kernel has time namespaces.
fn has_time() -> bool {
    std::path::Path::new("/proc/self/ns/time").exists()
}

/// One namespace of each type, new.
pub fn new_ones(t: &mut Trial) -> Done {
    let id = "linux.namespaces.new";
    let mut bundle = t.bundle();
    bundle.script(FOREVER);
    for (kind, _) in KINDS {
        bundle.namespace(kind, None);
    }
    bundle.started()?;
    let pid = bundle.pid()?;
    for (kind, link) in KINDS {
        let (own, seen) = (namespace("self", link), namespace(pid, link));
        t.must(
            id,
            seen.starts_with(link) && seen != own,
            format_args!("{kind}: {seen}, ours is {own}"),
        );
    }
    if !t.subject.place.rootless {
        let own = namespace("self", "user");
        t.same(id, namespace(pid, "user"), own);
    }
    Ok(())
}

/// What is not listed is the runtime's.
pub fn inherited(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.script(FOREVER);
    for kind in ["uts", "ipc", "cgroup"] {
        bundle.without_namespace(kind);
    }
    if !t.subject.place.rootless {
        bundle.without_namespace("network");
        bundle.without_namespace("pid");
    }
    bundle.started()?;
    let pid = bundle.pid()?;
    let listed: Vec<String> = bundle.config["linux"]["namespaces"]
        .as_array()
        .map(|list| list.iter().map(|entry| entry["type"].to_string()).collect())
        .unwrap_or_default();
    for (kind, link) in KINDS {
        if !listed.contains(&format!("\"{kind}\"")) {
            t.same(
                "linux.namespaces.inherit",
                namespace(pid, link),
                namespace("self", link),
            );
        }
    }
    Ok(())
}

/// Each type by the path of another container's.
pub fn join(t: &mut Trial) -> Done {
    let id = "linux.namespaces.join";
    if t.subject.place.rootless {
        return elsewhere(
            "another container's namespaces belong to its user namespace, which has to be joined too: done as root",
        );
    }
    let mut owner = t.bundle();
    owner.script(FOREVER);
    owner.namespace("network", None).namespace("cgroup", None);
    owner.started()?;
    let first = owner.pid()?;
    for (kind, link) in KINDS.into_iter().filter(|(kind, _)| *kind != "mount") {
        let mut bundle = t.bundle();
        bundle.namespace(kind, Some(&format!("/proc/{first}/ns/{link}")));
        bundle.script(FOREVER);
        bundle.started()?;
        let pid = bundle.pid()?;
        t.same(id, namespace(pid, link), namespace(first, link));
    }
    Ok(())
}

/// Entries that no runtime may accept.
pub fn invalid(t: &mut Trial) -> Done {
    let own = "/proc/self/ns/uts";
    let cases = [
        ("linux.namespaces.type-mismatch", json!({"type": "ipc", "path": own})),
        (
            "linux.namespaces.type-mismatch",
            json!({"type": "network", "path": "/dev/null"}),
        ),
        (
            "linux.namespaces.path-absolute",
            json!({"type": "ipc", "path": "ipc-of-nobody"}),
        ),
    ];
    for (id, entry) in cases {
        let mut bundle = t.bundle();
        bundle.script("true");
        let kind = entry["type"].as_str().unwrap_or_default().to_owned();
        bundle.without_namespace(&kind);
        bundle.push("/linux/namespaces", entry.clone());
        let said = bundle.run();
        t.must(id, said.refused(), format_args!("{entry}: {said:?}"));
    }
    // A relative path of a namespace that is there: refused for being relative, not for being missing.
    let mut relative = t.bundle();
    relative.script("true");
    std::os::unix::fs::symlink("/proc/self/ns/ipc", relative.dir.join("ipc"))?;
    relative.namespace("ipc", Some("ipc"));
    t.refused("linux.namespaces.path-absolute", &relative.run());
    let mut twice = t.bundle();
    twice.script("true");
    twice.push("/linux/namespaces", json!({"type": "uts"}));
    t.refused("linux.namespaces.twice", &twice.run());
    Ok(())
}

/// The mappings as the container's process has them, and files that it makes belong to whom they say.
pub fn user_mappings(t: &mut Trial) -> Done {
    let id = "linux.user-namespace.mappings";
    let mut bundle = t.bundle();
    if t.subject.place.rootless {
        let said = bundle.tell("cat /proc/self/uid_map")?;
        let own = rustix::process::getuid().as_raw().to_string();
        t.same(
            id,
            said.split_whitespace().collect::<Vec<_>>(),
            vec!["0", own.as_str(), "1"],
        );
        return Ok(());
    }
    // sysfs belongs to the network namespace, which has to be the user namespace's.
    bundle.namespace("user", None).namespace("network", None);
    bundle.set("/linux/uidMappings", json!([{"containerID": 0, "hostID": 100_000, "size": 1000}, {"containerID": 1000, "hostID": 200_000, "size": 5}]));
    bundle.set(
        "/linux/gidMappings",
        json!([{"containerID": 0, "hostID": 300_000, "size": 1000}]),
    );
    std::os::unix::fs::chown(bundle.rootfs(), Some(100_000), Some(300_000))?;
    let said = bundle.tell("cat /proc/self/uid_map /proc/self/gid_map; echo x >/made")?;
    let numbers: Vec<&str> = said.split_whitespace().collect();
    t.same(
        id,
        numbers,
        vec!["0", "100000", "1000", "1000", "200000", "5", "0", "300000", "1000"],
    );
    let made = std::fs::metadata(bundle.rootfs().join("made"))?;
    let owner = {
        use std::os::unix::fs::MetadataExt as _;
        (made.uid(), made.gid())
    };
    t.same(id, owner, (100_000, 300_000));
    Ok(())
}

/// Clocks that are off by what was asked for.
pub fn time_offsets(t: &mut Trial) -> Done {
    let id = "linux.time-offsets";
    if !has_time() {
        return elsewhere("the guest's kernel has no time namespaces");
    }
    let mut bundle = t.bundle();
    bundle.namespace("time", None);
    bundle.set(
        "/linux/timeOffsets",
        json!({"monotonic": {"secs": 172_800, "nanosecs": 7}, "boottime": {"secs": 604_800}}),
    );
    let said = bundle.tell("cat /proc/self/timens_offsets")?;
    let words: Vec<&str> = said.split_whitespace().collect();
    t.same(id, words, vec!["monotonic", "172800", "7", "boottime", "604800", "0"]);
    Ok(())
}

/// Host and domain name.
pub fn names(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.set("/hostname", json!("conformance-host"));
    t.same(
        "config.hostname",
        bundle.tell("cat /proc/sys/kernel/hostname")?.trim(),
        "conformance-host",
    );
    let mut bundle = t.bundle();
    bundle.set("/domainname", json!("conformance.test"));
    let said = bundle.tell("cat /proc/sys/kernel/domainname")?;
    t.same("config.domainname", field(&said, ""), "conformance.test");
    Ok(())
}

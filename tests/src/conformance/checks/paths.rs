//! config-linux.md: masked and read-only paths, the root's propagation, sysctls, personality, memory policy, RDT.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::conformance::trial::{Done, Trial, elsewhere};

/// A file, a directory, one in `/proc`, and one that is not there.
pub fn masked(t: &mut Trial) -> Done {
    let id = "linux.masked-paths";
    let mut bundle = t.bundle();
    fs::write(bundle.rootfs().join("mnt/secret"), "secret")?;
    fs::create_dir(bundle.rootfs().join("mnt/dir"))?;
    fs::write(bundle.rootfs().join("mnt/dir/secret"), "secret")?;
    bundle.set(
        "/linux/maskedPaths",
        json!(["/mnt/secret", "/mnt/dir", "/proc/version", "/proc/acpi", "/not/there"]),
    );
    let said = bundle.tell("cat /mnt/secret /proc/version; ls -A /mnt/dir; (echo x >/mnt/dir/x) 2>/dev/null || echo no; [ -e /not ] || echo none")?;
    t.same(id, said, "no\nnone\n");
    t.same(id, fs::read_to_string(bundle.rootfs().join("mnt/secret"))?, "secret");
    Ok(())
}

/// A file and a directory with a mount below it.
pub fn readonly(t: &mut Trial) -> Done {
    let id = "linux.readonly-paths";
    let mut bundle = t.bundle();
    fs::write(bundle.rootfs().join("mnt/file"), "text")?;
    fs::create_dir(bundle.rootfs().join("mnt/dir"))?;
    bundle.set(
        "/linux/readonlyPaths",
        json!(["/mnt/file", "/mnt/dir", "/proc/sys", "/not/there"]),
    );
    let said = bundle.tell(
        "cat /mnt/file; for f in /mnt/file /mnt/dir/x /proc/sys/kernel/hostname; do (echo x >$f) 2>/dev/null && echo $f; done; \
         (echo x >/mnt/other) && echo other; [ -e /not ] || echo none",
    )?;
    t.same(id, said, "textother\nnone\n");
    Ok(())
}

/// Paths that are not absolute.
pub fn relative_masked(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.script("true");
    bundle.set("/linux/maskedPaths", json!(["proc/version"]));
    t.refused("linux.masked-paths.absolute", &bundle.run());
    Ok(())
}

/// Paths that are not absolute.
pub fn relative_readonly(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.script("true");
    bundle.set("/linux/readonlyPaths", json!(["proc/sys"]));
    t.refused("linux.readonly-paths.absolute", &bundle.run());
    Ok(())
}

/// The root mount's tags in the container's mount table.
pub fn root_propagation(t: &mut Trial) -> Done {
    let id = "linux.rootfs-propagation";
    for propagation in [
        "private",
        "shared",
        "slave",
        "unbindable",
        "rprivate",
        "rslave",
        "rshared",
    ] {
        let mut bundle = t.bundle();
        bundle.set("/linux/rootfsPropagation", json!(propagation));
        let table = bundle.tell("cat /proc/self/mountinfo")?;
        let root = table
            .lines()
            .find(|line| line.split(' ').nth(4) == Some("/"))
            .unwrap_or_default();
        let tags: Vec<&str> = root.split(' ').skip(6).take_while(|word| *word != "-").collect();
        let tag = |name: &str| tags.iter().any(|tag| tag.starts_with(name));
        let holds = match propagation.trim_start_matches('r') {
            "private" => tags.is_empty(),
            "shared" => tag("shared:"),
            // A slave of a private mount is a private mount: nobody to receive from.
            "slave" => !tag("shared:") && !tag("unbindable"),
            _ => tag("unbindable"),
        };
        t.must(id, holds && !root.is_empty(), format_args!("{propagation}: {root}"));
    }
    Ok(())
}

/// Of the container's own namespaces, in both notations; the host's stay.
pub fn sysctls(t: &mut Trial) -> Done {
    let id = "linux.sysctl";
    let before = fs::read_to_string("/proc/sys/kernel/shmmni")?;
    let mut bundle = t.bundle();
    bundle.namespace("network", None);
    bundle.set(
        "/linux/sysctl",
        json!({"kernel.shmmni": "1234", "net.ipv4.ip_forward": "1", "net/ipv4/ip_default_ttl": "77"}),
    );
    let said =
        bundle.tell("cat /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_default_ttl")?;
    t.same(id, said, "1234\n1\n77\n");
    t.same(id, fs::read_to_string("/proc/sys/kernel/shmmni")?, before);
    Ok(())
}

/// The process's number of it, as `personality(2)` has them.
pub fn personality(t: &mut Trial) -> Done {
    for (domain, number) in [("LINUX32", "00000008"), ("LINUX", "00000000")] {
        let mut bundle = t.bundle();
        bundle.set("/linux/personality", json!({"domain": domain}));
        let said = bundle.tell("cat /proc/self/personality")?;
        t.same("linux.personality", said.trim(), number);
    }
    Ok(())
}

/// The policy of the process's memory, as `numa_maps` shows it.
pub fn memory_policy(t: &mut Trial) -> Done {
    if !Path::new("/proc/self/numa_maps").exists() {
        return elsewhere("the guest's kernel has no NUMA");
    }
    for (value, shown) in [
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        (
            json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
            "interleave=static:0",
        ),
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
    ] {
        let mut bundle = t.bundle();
        bundle.set("/linux/memoryPolicy", value);
        let said = bundle.tell("cat /proc/self/numa_maps")?;
        let policies: Vec<&str> = said.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        t.must(
            "linux.memory-policy",
            policies.contains(&shown),
            format_args!("{shown}: {policies:?}"),
        );
    }
    Ok(())
}

/// A mode, and a flag, that nobody knows.
pub fn memory_policy_invalid(t: &mut Trial) -> Done {
    for value in [
        json!({"mode": "MPOL_NOSUCH"}),
        json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NOSUCH"]}),
    ] {
        let mut bundle = t.bundle();
        bundle.script("true");
        bundle.set("/linux/memoryPolicy", value);
        t.refused("linux.memory-policy.invalid", &bundle.run());
    }
    Ok(())
}

/// There is no resctrl to write to.
pub fn rdt_absent(t: &mut Trial) -> Done {
    if fs::read_to_string("/proc/self/mountinfo")?.contains(" - resctrl ") {
        return elsewhere("resctrl is mounted here");
    }
    let mut bundle = t.bundle();
    bundle.script("true");
    bundle.set(
        "/linux/intelRdt",
        json!({"closID": "conformance", "l3CacheSchema": "L3:0=f"}),
    );
    t.refused("linux.rdt.absent", &bundle.create());
    Ok(())
}

//! features.md and features-linux.md: what the runtime says of itself is so.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::conformance::trial::{Done, Stop, Trial, elsewhere};

/// The document, of runtimes that have one: the specification lets them be without.
fn document(t: &Trial) -> Result<Value, Stop> {
    let bundle = t.bundle();
    let said = bundle.call(&["features"]);
    if said.refused() {
        return elsewhere("the runtime has no features document, which it may be without");
    }
    serde_json::from_str(&said.out).map_err(|error| format!("features: {error}: {}", said.out).into())
}

/// The strings at a JSON pointer; none when nothing is told there.
fn strings(document: &Value, pointer: &str) -> Vec<String> {
    let list = document.pointer(pointer).and_then(Value::as_array);
    list.map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default()
}

/// Both versions are ones that a configuration may have.
pub fn versions(t: &mut Trial) -> Done {
    let document = document(t)?;
    let mut numbers = Vec::new();
    for (id, field) in [
        ("features.version-min", "ociVersionMin"),
        ("features.version-max", "ociVersionMax"),
    ] {
        let version = document[field].as_str().unwrap_or_default().to_owned();
        let mut bundle = t.bundle();
        bundle.set("/ociVersion", json!(version));
        bundle.script("echo here");
        let said = bundle.run();
        t.must(id, said.out == "here\n", format_args!("{version:?}: {said:?}"));
        let number = version
            .split(['.', '-', '+'])
            .map(|part| part.parse::<u32>().unwrap_or(0));
        numbers.push(number.take(3).collect::<Vec<_>>());
    }
    t.must("features.version-order", numbers[0] <= numbers[1], &numbers);
    Ok(())
}

/// Only what the specification defines, with the types that it says.
pub fn known_properties(t: &mut Trial) -> Done {
    let document = document(t)?;
    let names = |value: &Value| -> BTreeSet<String> {
        value
            .as_object()
            .map(|map| map.keys().cloned().collect())
            .unwrap_or_default()
    };
    let within = |seen: &Value, known: &[&str]| names(seen).iter().all(|name| known.contains(&name.as_str()));
    let top = [
        "ociVersionMin",
        "ociVersionMax",
        "hooks",
        "mountOptions",
        "linux",
        "annotations",
        "potentiallyUnsafeConfigAnnotations",
    ];
    let linux = [
        "namespaces",
        "capabilities",
        "cgroup",
        "seccomp",
        "apparmor",
        "selinux",
        "intelRdt",
        "memoryPolicy",
        "mountExtensions",
        "netDevices",
    ];
    let seccomp = [
        "enabled",
        "actions",
        "operators",
        "archs",
        "knownFlags",
        "supportedFlags",
    ];
    let cgroup = ["v1", "v2", "systemd", "systemdUser", "rdma"];
    let holds = within(&document, &top)
        && within(&document["linux"], &linux)
        && within(&document["linux"]["seccomp"], &seccomp)
        && within(&document["linux"]["cgroup"], &cgroup);
    t.must("features.defined-only", holds, &document);
    let annotations = document.get("annotations").and_then(Value::as_object);
    let strings = annotations.is_none_or(|map| map.values().all(Value::is_string));
    t.must("features.annotations", strings, &document["annotations"]);
    Ok(())
}

/// Every hook that is told, in one life.
pub fn hooks_told(t: &mut Trial) -> Done {
    let document = document(t)?;
    let told = strings(&document, "/hooks");
    let mut bundle = t.bundle();
    bundle.mount("/mnt", "bind", ".", &["bind"]);
    let shell = bundle.rootfs().join("bin/busybox");
    for hook in &told {
        let (path, at) = if hook == "startContainer" {
            (json!("/bin/busybox"), "/mnt".to_owned())
        } else {
            (json!(shell), bundle.dir.display().to_string())
        };
        bundle.push(
            &format!("/hooks/{hook}"),
            json!({"path": path, "args": ["touch", format!("{at}/called-{hook}")]}),
        );
    }
    bundle.script("true");
    bundle.started()?;
    bundle.wait_for("stopped")?;
    bundle.delete().ok()?;
    let missing: Vec<&String> = told
        .iter()
        .filter(|hook| !bundle.dir.join(format!("called-{hook}")).exists())
        .collect();
    t.must("features.hooks", missing.is_empty() && !told.is_empty(), missing);
    Ok(())
}

/// Every option on a tmpfs of its own, which refuses what the runtime would take for the filesystem's. The bind mounts and mappings have a source.
pub fn mount_options(t: &mut Trial) -> Done {
    let document = document(t)?;
    let told = strings(&document, "/mountOptions");
    let mut bundle = t.bundle();
    std::fs::create_dir(bundle.dir.join("data"))?;
    for option in told
        .iter()
        .filter(|option| !matches!(option.as_str(), "mand" | "idmap" | "ridmap"))
    {
        let at = format!("/mnt/{option}");
        match option.as_str() {
            "bind" | "rbind" => bundle.mount(&at, "bind", "data", &[option]),
            "remount" => bundle
                .mount(&at, "tmpfs", "tmpfs", &[])
                .mount(&at, "tmpfs", "tmpfs", &["remount"]),
            "tmpcopyup" => bundle.mount("/tmp", "tmpfs", "tmpfs", &[option]),
            _ => bundle.mount(&at, "tmpfs", "tmpfs", &[option]),
        };
    }
    bundle.script("echo here");
    let said = bundle.run();
    t.must(
        "features.mount-options",
        said.out == "here\n" && !told.is_empty(),
        &said,
    );
    Ok(())
}

/// Each type of namespace, in a container that has all.
pub fn namespaces_told(t: &mut Trial) -> Done {
    let document = document(t)?;
    let told = strings(&document, "/linux/namespaces");
    let links = |kind: &str| {
        std::path::Path::new("/proc/self/ns").join(match kind {
            "network" => "net",
            "mount" => "mnt",
            other => other,
        })
    };
    let mut bundle = t.bundle();
    for kind in told.iter().filter(|kind| links(kind).exists()) {
        bundle.namespace(kind, None);
        if kind == "user" && !t.subject.place.rootless {
            let map = json!([{"containerID": 0, "hostID": 0, "size": 1000}]);
            bundle.set("/linux/uidMappings", map.clone());
            bundle.set("/linux/gidMappings", map);
        }
    }
    bundle.script("echo here");
    let said = bundle.run();
    t.must("features.namespaces", said.out == "here\n" && !told.is_empty(), &said);
    Ok(())
}

/// No name that is told is called unknown. What the machine itself lacks may be refused.
pub fn capabilities(t: &mut Trial) -> Done {
    let document = document(t)?;
    let told = strings(&document, "/linux/capabilities");
    let mut bundle = t.bundle();
    bundle.set("/process/capabilities", json!({"bounding": told}));
    bundle.script("echo here");
    let said = bundle.run();
    t.must(
        "features.capabilities",
        !said.err.contains("unknown") && !told.is_empty(),
        &said,
    );
    Ok(())
}

/// A profile with each word that is told.
pub fn seccomp_words(t: &mut Trial) -> Done {
    let document = document(t)?;
    if document["linux"]["seccomp"]["enabled"] != true {
        return Err("seccomp is not told to be enabled".to_owned().into());
    }
    let rule = |action: &str, op: Option<&str>| {
        let args = op.map_or(
            json!([]),
            |op| json!([{"index": 0, "value": 1, "valueTwo": 1, "op": op}]),
        );
        json!({"names": ["acct"], "action": action, "args": args})
    };
    let mut profiles: Vec<(&str, String, Value)> = Vec::new();
    let base = |rules: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    for action in strings(&document, "/linux/seccomp/actions")
        .iter()
        .filter(|action| *action != "SCMP_ACT_NOTIFY")
    {
        // A rule that does what the default does already is one that libseccomp refuses.
        let mut profile = base(json!([rule(action, None)]));
        if action == "SCMP_ACT_ALLOW" {
            profile["defaultAction"] = json!("SCMP_ACT_LOG");
        }
        profiles.push(("features.seccomp-actions", action.clone(), profile));
    }
    for op in strings(&document, "/linux/seccomp/operators") {
        profiles.push((
            "features.seccomp-operators",
            op.clone(),
            base(json!([rule("SCMP_ACT_ERRNO", Some(&op))])),
        ));
    }
    let mut archs = base(json!([rule("SCMP_ACT_ERRNO", None)]));
    archs["architectures"] = json!(strings(&document, "/linux/seccomp/archs"));
    // Byte orders can't be mixed in one filter of libseccomp: one container for each.
    for arch in strings(&document, "/linux/seccomp/archs") {
        let mut one = archs.clone();
        one["architectures"] = json!([arch]);
        profiles.push(("features.seccomp-archs", arch, one));
    }
    for (id, list) in [
        ("features.seccomp-known-flags", "knownFlags"),
        ("features.seccomp-supported-flags", "supportedFlags"),
    ] {
        for flag in strings(&document, &format!("/linux/seccomp/{list}")) {
            if flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" {
                continue; // Only with a listener, which the checks of notify have.
            }
            let mut profile = base(json!([rule("SCMP_ACT_ERRNO", None)]));
            profile["flags"] = json!([flag]);
            profiles.push((id, flag, profile));
        }
        t.must(id, true, "");
    }
    for (id, word, profile) in profiles {
        let mut bundle = t.bundle();
        bundle.set("/process/noNewPrivileges", json!(true));
        bundle.set("/linux/seccomp", profile);
        bundle.script("echo here");
        let said = bundle.run();
        // An architecture of the other byte order is known, but no filter of this machine can have it.
        let endian = id == "features.seccomp-archs"
            && (said.err.contains("endian") || said.err.contains("argument out of domain"));
        t.must(id, said.out == "here\n" || endian, format_args!("{word}: {said:?}"));
    }
    Ok(())
}

/// Modes and flags of memory policies.
pub fn memory_policy(t: &mut Trial) -> Done {
    let document = document(t)?;
    let modes = strings(&document, "/linux/memoryPolicy/modes");
    if modes.is_empty() {
        return elsewhere("the runtime tells of no memory policies, which it may be without");
    }
    for mode in modes {
        let mut bundle = t.bundle();
        let nodes = if matches!(mode.as_str(), "MPOL_DEFAULT" | "MPOL_LOCAL") {
            ""
        } else {
            "0"
        };
        bundle.set("/linux/memoryPolicy", json!({"mode": mode, "nodes": nodes}));
        bundle.script("echo here");
        let said = bundle.run();
        // A mode that the kernel does not have is known all the same.
        let kernel = said.err.contains("nvalid argument") || said.err.contains("not implemented");
        t.must(
            "features.memory-policy",
            said.out == "here\n" || kernel,
            format_args!("{mode}: {said:?}"),
        );
    }
    Ok(())
}

/// Told as enabled exactly when a mapping of nothing is refused.
pub fn idmap(t: &mut Trial) -> Done {
    let document = document(t)?;
    let told = document.pointer("/linux/mountExtensions/idmap/enabled") == Some(&json!(true));
    let mut bundle = t.bundle();
    bundle.script("true");
    std::fs::create_dir(bundle.dir.join("data"))?;
    bundle.push(
        "/mounts",
        json!({"destination": "/mnt/i", "type": "bind", "source": "data", "options": ["rbind"],
               "uidMappings": [{"containerID": 0, "hostID": 5000, "size": 1}]}),
    );
    let looked_at = bundle.run().refused();
    t.same("features.idmap", told, looked_at);
    Ok(())
}

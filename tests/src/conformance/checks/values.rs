//! config.md: version, root, annotations, and what is to be made of values that are unknown or wrong.

use std::fs;

use serde_json::{Value, json};

use crate::conformance::trial::{Done, Trial};

/// Versions that no runtime supports, and strings that are no version.
pub fn version(t: &mut Trial) -> Done {
    for version in ["not a version", "1", "99.0.0", ""] {
        let mut bundle = t.bundle();
        bundle.script("true");
        bundle.set("/ociVersion", json!(version));
        let said = bundle.run();
        t.must("config.version", said.refused(), format_args!("{version:?}: {said:?}"));
    }
    for version in ["1.0.0", "1.0.2"] {
        let mut bundle = t.bundle();
        bundle.set("/ociVersion", json!(version));
        t.same("config.version", bundle.tell("echo here")?.trim(), "here");
    }
    Ok(())
}

/// No root, a root that is not there, and a root that is a file.
pub fn root_is_required(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.script("true");
    bundle.set("/root", Value::Null);
    t.refused("config.root", &bundle.run());
    fs::write(bundle.dir.join("file"), "")?;
    for path in ["nowhere", "file"] {
        bundle.set("/root", json!({"path": path}));
        t.refused("config.root.path", &bundle.run());
    }
    Ok(())
}

/// An absolute path, and one relative to the bundle that is not `rootfs`.
pub fn root_paths(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.set("/root/path", json!(bundle.rootfs()));
    t.same(
        "config.root.path-relative",
        bundle.tell("echo absolute")?.trim(),
        "absolute",
    );
    let mut other = t.bundle();
    fs::create_dir(other.dir.join("deep"))?;
    fs::rename(other.rootfs(), other.dir.join("deep/tree"))?;
    other.set("/root/path", json!("deep/tree"));
    t.same(
        "config.root.path-relative",
        other.tell("echo relative")?.trim(),
        "relative",
    );
    Ok(())
}

/// Read-only, and not.
pub fn root_readonly(t: &mut Trial) -> Done {
    for (readonly, result) in [(true, "no"), (false, "yes")] {
        let mut bundle = t.bundle();
        bundle.set("/root/readonly", json!(readonly));
        let said = bundle.tell("(echo x >/file) 2>/dev/null && echo yes || echo no")?;
        t.same("config.root.readonly", said.trim(), result);
    }
    Ok(())
}

/// Annotations of other types.
pub fn annotations(t: &mut Trial) -> Done {
    for (id, value) in [
        ("config.annotations.map", json!(["a", "b"])),
        ("config.annotations.map", json!("text")),
        ("config.annotations.values", json!({"org.example.number": 5})),
        ("config.annotations.values", json!({"org.example.object": {}})),
    ] {
        let mut bundle = t.bundle();
        bundle.script("true");
        bundle.set("/annotations", value);
        t.refused(id, &bundle.run());
    }
    Ok(())
}

/// An annotation without a name.
pub fn empty_annotation_key(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.script("true");
    bundle.set("/annotations", json!({"": "value"}));
    t.refused("config.annotations.key-empty", &bundle.run());
    Ok(())
}

/// Annotations that nobody knows, an empty value, and one in the reserved namespace.
pub fn unknown_annotations(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.set(
        "/annotations",
        json!({"org.example.unknown": "", "org.opencontainers.unknown": "x", "plain": "y"}),
    );
    t.same("config.annotations.unknown", bundle.tell("echo here")?.trim(), "here");
    Ok(())
}

/// Properties that nobody knows, at every depth.
pub fn unknown_properties(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    for at in [
        "/unknown",
        "/process/unknown",
        "/process/user/unknown",
        "/process/capabilities/unknown",
        "/root/unknown",
        "/mounts/0/unknown",
        "/linux/unknown",
        "/linux/namespaces/0/unknown",
        "/linux/resources/unknown",
        "/linux/resources/memory/unknown",
        "/hooks/unknown",
    ] {
        bundle.set(at, json!([{"a": 1}]));
    }
    t.same("config.extensibility", bundle.tell("echo here")?.trim(), "here");
    Ok(())
}

/// Values outside of what a field can have.
pub fn invalid_values(t: &mut Trial) -> Done {
    let cases: [(&str, Value); 12] = [
        ("/linux/namespaces/0/type", json!("nosuchnamespace")),
        ("/linux/rootfsPropagation", json!("sideways")),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_NOSUCH"})),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NOSUCH"]}),
        ),
        ("/linux/personality", json!({"domain": "PLAN9"})),
        ("/process/user/uid", json!(-1)),
        ("/process/user/uid", json!("root")),
        ("/process/args", json!("sh")),
        ("/process/terminal", json!("yes")),
        (
            "/linux/devices",
            json!([{"type": "z", "path": "/dev/odd", "major": 1, "minor": 3}]),
        ),
        ("/mounts/0/destination", json!(5)),
        ("/linux/sysctl", json!({"vm.swappiness": "1"})),
    ];
    for (pointer, value) in cases {
        let mut bundle = t.bundle();
        bundle.script("true");
        bundle.set(pointer, value.clone());
        let said = bundle.run();
        t.must(
            "config.valid-values",
            said.refused(),
            format_args!("{pointer} {value}: {said:?}"),
        );
    }
    Ok(())
}

//! runtime.md: what is refused, and that a refusal leaves nothing behind.

use serde_json::{Value, json};

use super::{cgroups_named, mounts_below};
use crate::conformance::trial::{Done, Trial};

/// Every operation wants to know of which container.
pub fn without_an_id(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.script("true");
    bundle.write();
    for (verb, id) in [
        ("state", "runtime.query-state.no-id"),
        ("create", "runtime.create.no-arguments"),
        ("start", "runtime.start.no-id"),
        ("kill", "runtime.kill.no-id"),
        ("delete", "runtime.delete.no-id"),
    ] {
        t.refused(id, &bundle.call(&[verb]));
    }
    // The bundle is the working directory unless it is named.
    let nowhere = bundle.dir.join("nowhere").display().to_string();
    t.refused(
        "runtime.create.no-arguments",
        &bundle.call(&["create", "--bundle", &nowhere, &bundle.id]),
    );
    Ok(())
}

/// There is no such container.
pub fn unknown_container(t: &mut Trial) -> Done {
    let bundle = t.bundle();
    t.refused("runtime.query-state.unknown", &bundle.call(&["state", &bundle.id]));
    t.refused("runtime.delete.unknown", &bundle.delete());
    Ok(())
}

/// Ids that could not be the name of a directory, or would be one elsewhere.
pub fn invalid_ids(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.script("true");
    bundle.write();
    for id in ["", ".", "..", "a/b", "../escaped"] {
        let said = bundle.call(&["create", id]);
        if said.went_well() {
            bundle.call(&["delete", "--force", id]);
        }
        t.must(
            "runtime.create.id-invalid",
            said.refused(),
            format_args!("{id:?}: {said:?}"),
        );
    }
    let above = t.subject.base.path().join("escaped");
    t.must("runtime.create.id-invalid", !above.exists(), above);
    Ok(())
}

/// Environments that can't be made, at each step of making one: the answer is an error, and nothing is left.
pub fn leave_nothing(t: &mut Trial) -> Done {
    let broken: [(&str, Value); 6] = [
        ("/root/path", json!("no-such-directory")),
        ("/mounts/0/type", json!("nosuchfilesystem")),
        ("/linux/namespaces/0/path", json!("/nonexistent/namespace")),
        ("/hooks", json!({"createRuntime": [{"path": "/nonexistent/hook"}]})),
        ("/linux/sysctl", json!({"kernel.nosuchsysctl": "1"})),
        ("/process/cwd", json!("relative")),
    ];
    for (pointer, value) in broken {
        let mut bundle = t.bundle();
        bundle.script("true");
        bundle.set(pointer, value);
        let said = bundle.create();
        let rest = (
            cgroups_named(&bundle.id),
            mounts_below(&bundle.dir),
            bundle.state_directory().exists(),
        );
        for id in ["runtime.lifecycle.environment-error", "runtime.create.cannot-apply"] {
            t.must(id, said.refused(), format_args!("{pointer}: {said:?}"));
        }
        let gone = bundle.call(&["state", &bundle.id]).refused();
        t.must(
            "runtime.create.cannot-apply",
            gone,
            format_args!("{pointer}: a container is there"),
        );
        t.must(
            "runtime.errors.as-before",
            rest == (vec![], vec![], false),
            format_args!("{pointer}: {rest:?}"),
        );
    }
    Ok(())
}

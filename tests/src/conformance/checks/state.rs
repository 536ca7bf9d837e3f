//! runtime.md: the state.

use std::fs;

use serde_json::{Value, json};

use crate::conformance::bundle::Bundle;
use crate::conformance::trial::{Done, Trial};

/// The state has all that it has to have, at each step of a container's life.
pub fn complete(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.set("/annotations", json!({"org.example.key": "value"}));
    bundle.script("echo $$ >/began; while :; do sleep 1; done");
    bundle.created()?;
    check(t, &bundle, "created")?;
    bundle.start().ok()?;
    bundle.appears("began")?;
    check(t, &bundle, "running")?;
    bundle.stop()?;
    check(t, &bundle, "stopped")
}

fn check(t: &mut Trial, bundle: &Bundle, status: &str) -> Done {
    let state = bundle.state()?;
    t.must("runtime.query-state.returns", state.is_object(), &state);
    let version = state["ociVersion"].as_str().unwrap_or_default();
    t.must("runtime.state.oci-version", version.starts_with("1."), version);
    t.same("runtime.state.id", state["id"].as_str(), Some(bundle.id.as_str()));
    t.same("runtime.state.status", state["status"].as_str(), Some(status));
    t.same("runtime.state.status-other", state["status"].as_str(), Some(status));
    let path = fs::canonicalize(&bundle.dir)?;
    t.same("runtime.state.bundle", state["bundle"].as_str(), path.to_str());
    t.same(
        "runtime.state.annotations",
        state["annotations"]["org.example.key"].as_str(),
        Some("value"),
    );
    let pid = state["pid"].as_i64();
    if status != "stopped" {
        // The host's number of a process that is the first of its own pid namespace.
        let seen = fs::read_to_string(format!("/proc/{}/status", pid.unwrap_or(0)))?;
        let numbers = format!("{}\t1", pid.unwrap_or(0));
        t.must(
            "runtime.state.pid",
            super::field(&seen, "NSpid").ends_with(&numbers),
            &state,
        );
    }
    t.must("runtime.state.schema", of_the_schema(&state), &state);
    Ok(())
}

/// The types of `schema/state-schema.json`.
fn of_the_schema(state: &Value) -> bool {
    let strings = ["ociVersion", "id", "status", "bundle"];
    let annotations = state
        .get("annotations")
        .is_none_or(|map| map.as_object().is_some_and(|map| map.values().all(Value::is_string)));
    strings.iter().all(|name| state[name].is_string())
        && state
            .get("pid")
            .is_none_or(|pid| pid.as_i64().is_some_and(|pid| pid >= 0))
        && annotations
}

/// A second container of the same id is refused, and the first is not touched.
pub fn id_is_taken(t: &mut Trial) -> Done {
    let mut first = t.bundle();
    first.script("while :; do sleep 1; done");
    first.started()?;
    let pid = first.pid()?;
    let mut second = t.bundle();
    second.script("true");
    second.write();
    let said = second.call(&["create", &first.id]);
    t.refused("runtime.create.id-taken", &said);
    t.refused("runtime.state.id-unique", &said);
    t.same("runtime.create.id-taken", first.pid()?, pid);
    t.same("runtime.create.id-taken", first.status()?, "running");
    Ok(())
}

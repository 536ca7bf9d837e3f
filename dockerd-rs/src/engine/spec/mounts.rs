//! The mounts of a container, in order.

use runtime_spec::engine;
use serde_json::{Value, json};

use super::{Bind, Input, Namespace};

/// Docker's default mounts, less those that a mount of the container covers, then the container's own: parents before what is in them.
pub(super) fn mounts(input: &Input<'_>) -> Vec<Value> {
    let host_config = &input.record.host_config;
    let shm = u64::try_from(host_config.shm_size)
        .ok()
        .filter(|size| *size > 0)
        .unwrap_or(engine::DEFAULT_SHM_SIZE);
    let mut own: Vec<(String, Value)> = input
        .binds
        .iter()
        .map(|bind| (bind.destination.clone(), bind_mount(bind)))
        .collect();
    own.extend(
        input
            .record
            .mounts
            .iter()
            .filter(|mount| mount.kind == "tmpfs")
            .map(|mount| (mount.destination.clone(), tmpfs(&mount.destination, &mount.options))),
    );
    own.sort_by_key(|(destination, _)| destination.split('/').filter(|part| !part.is_empty()).count());
    let covered = |destination: &str| own.iter().any(|(own, _)| own == destination);
    let defaults = engine::default_mounts(host_config.privileged, shm);
    let mut all: Vec<Value> = Vec::new();
    for mount in defaults {
        let destination = mount.destination().display().to_string();
        if covered(&destination) {
            continue;
        }
        // With the host's or another container's ipc namespace, the queues and the shared memory are the other's too.
        let value = match (&input.ipc, destination.as_str()) {
            (Namespace::Host, "/dev/shm" | "/dev/mqueue") => json!({
                "destination": destination, "type": "bind", "source": destination, "options": ["rbind", "rprivate"]
            }),
            _ => json!(mount),
        };
        all.push(value);
    }
    all.extend(own.into_iter().map(|(_, mount)| mount));
    all
}

fn bind_mount(bind: &Bind) -> Value {
    let propagation = if bind.propagation.is_empty() {
        "rprivate"
    } else {
        bind.propagation.as_str()
    };
    let mut options = vec![if bind.non_recursive { "bind" } else { "rbind" }, propagation];
    if !bind.rw {
        options.push("ro");
    }
    json!({"destination": bind.destination, "type": "bind", "source": bind.source, "options": options})
}

fn tmpfs(destination: &str, options: &[String]) -> Value {
    let mut all: Vec<&str> = Vec::new();
    for (default, contrary) in [("noexec", "exec"), ("nosuid", "suid"), ("nodev", "dev")] {
        if !options.iter().any(|option| option == contrary) {
            all.push(default);
        }
    }
    all.extend(
        options
            .iter()
            .map(String::as_str)
            .filter(|option| !matches!(*option, "noexec" | "nosuid" | "nodev")),
    );
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": all})
}

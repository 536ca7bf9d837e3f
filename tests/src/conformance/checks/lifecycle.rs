//! runtime.md: create, start, kill and delete.

use std::fs;

use serde_json::json;

use super::{cgroups_named, mounts_below, namespace};
use crate::conformance::trial::{Done, Trial};

/// A script that goes on until it is killed.
const FOREVER: &str = "echo $$ >/began; while :; do sleep 1; done";

/// A container's life from create to delete, with a look at each step.
pub fn whole_life(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.set("/hostname", json!("whole-life"));
    bundle.script(&format!("hostname >/name; {FOREVER}"));
    bundle.created()?;
    let pid = bundle.pid()?;
    t.must("runtime.create.new", bundle.status()? == "created", "not created");
    let own = namespace("self", "uts");
    t.must("runtime.lifecycle.environment", namespace(pid, "uts") != own, &own);
    t.must(
        "runtime.lifecycle.not-yet",
        !bundle.rootfs().join("name").exists(),
        "the program ran",
    );
    bundle.start().ok()?;
    bundle.appears("began")?;
    let name = bundle.appears("name")?;
    t.same("runtime.lifecycle.run", name.trim(), "whole-life");
    t.same("runtime.start.runs", name.trim(), "whole-life");
    t.same("runtime.lifecycle.environment", name.trim(), "whole-life");
    t.same("runtime.operations", bundle.pid()?, pid);
    bundle.stop()?;
    bundle.delete().ok()?;
    for id in ["runtime.scope", "runtime.operations"] {
        t.must(id, bundle.call(&["state", &bundle.id]).refused(), "there after delete");
    }
    let rest = (
        cgroups_named(&bundle.id),
        mounts_below(&bundle.dir),
        bundle.state_directory().exists(),
    );
    for id in ["runtime.lifecycle.destroyed", "runtime.delete.deletes"] {
        t.same(id, rest.clone(), (vec![], vec![], false));
    }
    // The id is free again.
    t.must(
        "runtime.delete.deletes",
        bundle.create().went_well(),
        "the id is not free",
    );
    Ok(())
}

/// What is configured is there before `start`: but not the program.
pub fn applied_by_create(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.set("/hostname", json!("applied"));
    bundle.mount("/mnt/deep/er", "tmpfs", "tmpfs", &["size=64k"]);
    bundle.script("echo ran >/ran");
    bundle.created()?;
    let pid = bundle.pid()?;
    let id = "runtime.create.applied";
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    t.must(id, mounts.contains(" /mnt/deep/er "), mounts);
    if !t.subject.place.rootless {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        t.must(id, cgroups.contains(&bundle.id), cgroups);
    }
    t.must(
        id,
        namespace(pid, "ipc") != namespace("self", "ipc"),
        "the ipc namespace is ours",
    );
    let later = "runtime.create.args-not-applied";
    t.must(later, !bundle.rootfs().join("ran").exists(), "the program ran");
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
    t.must(later, !line.starts_with("/bin/sh"), line);
    bundle.start().ok()?;
    bundle.wait_for("stopped")?;
    t.same(later, bundle.appears("ran")?.trim(), "ran");
    Ok(())
}

/// `config.json` is read by `create`, and never again.
pub fn config_is_read_once(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.script("echo before >/which");
    bundle.created()?;
    let mut changed = bundle.config.clone();
    changed["process"]["args"][2] = json!("echo after >/which");
    fs::write(bundle.dir.join("config.json"), changed.to_string())?;
    bundle.start().ok()?;
    bundle.wait_for("stopped")?;
    t.same(
        "runtime.lifecycle.config-frozen",
        bundle.appears("which")?.trim(),
        "before",
    );
    fs::write(bundle.dir.join("config.json"), "no more")?;
    t.must(
        "runtime.lifecycle.config-frozen",
        bundle.delete().went_well(),
        "not deleted",
    );
    Ok(())
}

/// `start` is for created containers: not for running, stopped or unknown ones.
pub fn start_only_when_created(t: &mut Trial) -> Done {
    let id = "runtime.start.not-created";
    let mut bundle = t.bundle();
    t.refused(id, &bundle.start());
    bundle.script(&format!("echo x >>/times; {FOREVER}"));
    bundle.started()?;
    bundle.appears("began")?;
    let pid = bundle.pid()?;
    t.refused(id, &bundle.start());
    t.same(id, (bundle.status()?.as_str(), bundle.pid()?), ("running", pid));
    bundle.stop()?;
    t.refused(id, &bundle.start());
    t.same(id, bundle.status()?, "stopped");
    t.same(id, bundle.appears("times")?, "x\n");
    Ok(())
}

/// A configuration without a process can't be started.
pub fn no_process(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    if let Some(config) = bundle.config.as_object_mut() {
        config.remove("process");
    }
    // Refused by `create` already, or by `start`.
    let created = bundle.create();
    let said = if created.went_well() { bundle.start() } else { created };
    for id in ["runtime.start.no-process", "config.process.required"] {
        t.refused(id, &said);
    }
    Ok(())
}

/// A container that has ended gets no signal.
pub fn kill_only_the_living(t: &mut Trial) -> Done {
    let id = "runtime.kill.not-alive";
    let mut bundle = t.bundle();
    t.refused(id, &bundle.kill("TERM"));
    bundle.script("true");
    bundle.started()?;
    bundle.wait_for("stopped")?;
    t.refused(id, &bundle.kill("TERM"));
    t.same(id, bundle.status()?, "stopped");
    Ok(())
}

/// The signal is the one that was named: by name, with `SIG`, or by number; also of a container that is only created.
pub fn kill_sends_the_signal(t: &mut Trial) -> Done {
    let id = "runtime.kill.signal";
    let mut bundle = t.bundle();
    let traps = "trap 'echo usr1 >/usr1' USR1; trap 'echo usr2 >/usr2' USR2; trap 'echo hup >/hup' HUP";
    // `read` on a fifo is interrupted by a trap; `sleep` would have to end first.
    bundle.script(&format!(
        "{traps}; mkfifo /f; echo $$ >/began; while :; do read x <>/f; done"
    ));
    bundle.started()?;
    bundle.appears("began")?;
    for (signal, file) in [("USR1", "usr1"), ("SIGUSR2", "usr2"), ("1", "hup")] {
        bundle.kill(signal).ok()?;
        t.same(id, bundle.appears(file)?.trim(), file);
    }
    t.same(id, bundle.status()?, "running");
    t.refused(id, &bundle.kill("NOSUCHSIGNAL"));
    bundle.stop()?;
    let mut created = t.bundle();
    created.script("true");
    created.created()?;
    created.kill("KILL").ok()?;
    created.wait_for("stopped")?;
    Ok(())
}

/// A running container is not deleted.
pub fn delete_only_the_stopped(t: &mut Trial) -> Done {
    let id = "runtime.delete.running";
    let mut bundle = t.bundle();
    bundle.script(FOREVER);
    bundle.started()?;
    let pid = bundle.pid()?;
    t.refused(id, &bundle.delete());
    t.same(id, (bundle.status()?.as_str(), bundle.pid()?), ("running", pid));
    Ok(())
}

/// A container that is created is not deleted either.
pub fn delete_only_the_created(t: &mut Trial) -> Done {
    let id = "runtime.delete.created";
    let mut bundle = t.bundle();
    bundle.script("true");
    bundle.created()?;
    t.refused(id, &bundle.delete());
    t.must(
        id,
        bundle.status().is_ok_and(|status| status == "created"),
        "not there any more",
    );
    Ok(())
}

/// What the container used but did not make stays: the bundle, the sources of its mounts, the namespaces that it joined, a cgroup of its parent.
pub fn delete_spares_the_rest(t: &mut Trial) -> Done {
    let id = "runtime.delete.only-own";
    let mut owner = t.bundle();
    owner.script(FOREVER);
    owner.started()?;
    let ipc = format!("/proc/{}/ns/ipc", owner.pid()?);
    let mut bundle = t.bundle();
    let source = bundle.dir.join("source");
    fs::create_dir(&source)?;
    fs::write(source.join("file"), "kept")?;
    bundle.mount("/mnt", "bind", &source.display().to_string(), &["rbind"]);
    if !t.subject.place.rootless {
        bundle.namespace("ipc", Some(&ipc));
    }
    t.same(id, bundle.tell("cat /mnt/file")?.trim(), "kept");
    t.same(id, fs::read_to_string(source.join("file"))?, "kept");
    t.must(id, bundle.dir.join("config.json").exists(), "no config.json");
    t.must(id, bundle.rootfs().join("bin/busybox").exists(), "no root filesystem");
    t.same(id, owner.status()?, "running");
    if !t.subject.place.rootless {
        t.must(
            id,
            !cgroups_named(&owner.id).is_empty(),
            "the other container's cgroups are gone",
        );
    }
    Ok(())
}

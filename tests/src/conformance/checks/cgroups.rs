//! config-linux.md: control groups, their paths and their owners.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde_json::json;

use crate::conformance::bundle::Bundle;
use crate::conformance::subject::Place;
use crate::conformance::trial::{Done, Stop, Trial, elsewhere};

const FOREVER: &str = "while :; do sleep 1; done";

/// Ends a check that an ordinary user's containers, which have no cgroups here, can't answer.
pub(super) fn needs_cgroups(t: &Trial) -> Done {
    if t.subject.place.rootless {
        return elsewhere("an ordinary user without a delegated cgroup has none to give");
    }
    Ok(())
}

/// The directory of a process's cgroup in a controller's hierarchy.
pub(super) fn directory(place: Place, pid: u64, controller: &str) -> Result<PathBuf, Stop> {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let mut found = table.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        let fits = if place.v2 {
            names.is_empty()
        } else {
            names.split(',').any(|name| name == controller)
        };
        fits.then(|| path.trim_start_matches('/').to_owned())
    });
    let path = found.next().ok_or_else(|| format!("no {controller} in {table}"))?;
    let root = if place.v2 {
        PathBuf::from("/sys/fs/cgroup")
    } else {
        PathBuf::from("/sys/fs/cgroup").join(controller)
    };
    Ok(root.join(path))
}

/// The cgroup of a container, below the mount.
fn place_of(bundle: &Bundle, controller: &str) -> Result<String, Stop> {
    let place = bundle.subject.place;
    let path = directory(place, bundle.pid()?, controller)?;
    let root = if place.v2 {
        "/sys/fs/cgroup".to_owned()
    } else {
        format!("/sys/fs/cgroup/{controller}")
    };
    Ok(path.display().to_string().trim_start_matches(root.as_str()).to_owned())
}

/// Twice the same path: twice the same cgroup, which for cgroupfs starts at the mount.
pub fn paths(t: &mut Trial) -> Done {
    needs_cgroups(t)?;
    let mut seen = Vec::new();
    let path = if t.subject.place.systemd {
        format!("system.slice:{}:same", t.subject.mark())
    } else {
        format!("/{}/same/one", t.subject.mark())
    };
    for _ in 0..2 {
        let mut bundle = t.bundle();
        bundle.script(FOREVER);
        bundle.set("/linux/cgroupsPath", json!(path));
        bundle.started()?;
        seen.push(place_of(&bundle, "pids")?);
    }
    t.same("linux.cgroups-path.consistent", &seen[0], &seen[1]);
    let wanted = if t.subject.place.systemd {
        format!("/system.slice/{}-same.scope", t.subject.mark())
    } else {
        path
    };
    t.same("linux.cgroups-path.absolute", &seen[0], &wanted);
    Ok(())
}

/// With systemd, a path that names no slice; with cgroupfs, one that leads out of the hierarchy: refused, or taken as one within.
pub fn invalid_path(t: &mut Trial) -> Done {
    needs_cgroups(t)?;
    let id = "linux.cgroups-path.invalid";
    let mut bundle = t.bundle();
    bundle.script(FOREVER);
    if t.subject.place.systemd {
        bundle.set("/linux/cgroupsPath", json!("/not/of/systemd"));
        t.refused(id, &bundle.create());
        return Ok(());
    }
    bundle.set("/linux/cgroupsPath", json!(format!("/../../{}/out", t.subject.mark())));
    let said = bundle.create();
    let within = said.went_well() && place_of(&bundle, "pids")?.ends_with("/out");
    t.must(id, said.refused() || within, said);
    Ok(())
}

/// A cgroup that is frozen: a container in it would never come to run.
pub fn frozen(t: &mut Trial) -> Done {
    needs_cgroups(t)?;
    if t.subject.place.systemd {
        return elsewhere("systemd makes the cgroup: there is none to freeze before");
    }
    let mut bundle = t.bundle();
    bundle.script("true");
    let path = format!("{}/frozen", t.subject.mark());
    bundle.set("/linux/cgroupsPath", json!(format!("/{path}")));
    let (directory, file, word, thaw) = if t.subject.place.v2 {
        (PathBuf::from("/sys/fs/cgroup").join(path), "cgroup.freeze", "1", "0")
    } else {
        (
            PathBuf::from("/sys/fs/cgroup/freezer").join(path),
            "freezer.state",
            "FROZEN",
            "THAWED",
        )
    };
    fs::create_dir_all(&directory)?;
    fs::write(directory.join(file), word)?;
    let said = bundle.create();
    // Whatever came of it can't be cleaned up while it is frozen.
    if directory.exists() {
        fs::write(directory.join(file), thaw)?;
    }
    drop(bundle);
    let _ = fs::remove_dir(&directory);
    t.refused("linux.cgroup.unfit", &said);
    Ok(())
}

/// A writable cgroup mount in a user namespace: the container's root owns its cgroup, and files of the kernel's list that are not there are no matter.
pub fn delegated(t: &mut Trial) -> Done {
    needs_cgroups(t)?;
    if !t.subject.place.v2 {
        return elsewhere("cgroup v1 is not delegated");
    }
    let id = "linux.cgroup-ownership.missing-files";
    let mut bundle = t.bundle();
    bundle
        .namespace("user", None)
        .namespace("cgroup", None)
        .namespace("network", None);
    bundle.set(
        "/linux/uidMappings",
        json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]),
    );
    bundle.set(
        "/linux/gidMappings",
        json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]),
    );
    std::os::unix::fs::chown(bundle.rootfs(), Some(100_000), Some(100_000))?;
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev"]);
    bundle.script("mkdir /sys/fs/cgroup/below && echo made >/made; while :; do sleep 1; done");
    bundle.started()?;
    t.same(id, bundle.appears("made")?.trim(), "made");
    let directory = directory(t.subject.place, bundle.pid()?, "")?;
    t.same(id, fs::metadata(directory.join("cgroup.procs"))?.uid(), 100_000);
    // Not the limits: the container could lift its own.
    t.same(id, fs::metadata(directory.join("pids.max"))?.uid(), 0);
    Ok(())
}

//! config-linux.md: devices, and runtime-linux.md: links and descriptors.

use std::fs;

use serde_json::json;

use crate::conformance::trial::{Done, Trial, elsewhere};

/// The four links.
pub fn links(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    let said = bundle.tell("for f in fd stdin stdout stderr; do busybox readlink /dev/$f; done")?;
    let links: Vec<&str> = said.lines().collect();
    t.same(
        "runtime-linux.dev-links",
        links,
        vec!["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"],
    );
    Ok(())
}

/// The shell has 0 to 2; a fourth is the directory that `ls` reads.
pub fn descriptors(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.set("/process/args", json!(["/bin/busybox", "ls", "/proc/self/fd"]));
    let said = bundle.run().ok()?;
    t.same(
        "runtime-linux.fds",
        said.split_whitespace().collect::<Vec<_>>(),
        vec!["0", "1", "2", "3"],
    );
    Ok(())
}

/// Device number, and one use of each.
pub fn defaults(t: &mut Trial) -> Done {
    let id = "linux.default-devices";
    let mut bundle = t.bundle();
    let said = bundle.tell(
        "cd /dev; busybox stat -c '%n %F %t:%T' null zero full random urandom tty; \
         echo x >null && echo written; busybox head -c 4 zero | busybox od -An -tx1; \
         (echo x >full) 2>/dev/null || echo full; busybox head -c 3 urandom | busybox wc -c",
    )?;
    for (name, number) in [
        ("null", "1:3"),
        ("zero", "1:5"),
        ("full", "1:7"),
        ("random", "1:8"),
        ("urandom", "1:9"),
        ("tty", "5:0"),
    ] {
        t.must(
            id,
            said.contains(&format!("{name} character special file {number}\n")),
            format_args!("{name}: {said}"),
        );
    }
    let uses: Vec<&str> = said.lines().skip(6).map(str::trim).collect();
    t.same(id, uses, vec!["written", "00 00 00 00", "full", "3"]);
    Ok(())
}

/// Two masters that the container opens are its own first ones.
pub fn ptmx(t: &mut Trial) -> Done {
    let id = "linux.default-devices.ptmx";
    let mut bundle = t.bundle();
    let said = bundle.tell("exec 5<>/dev/ptmx; ls /dev/pts; busybox stat -L -c %t:%T /dev/ptmx")?;
    t.same(
        id,
        said.split_whitespace().collect::<Vec<_>>(),
        vec!["0", "ptmx", "5:2"],
    );
    Ok(())
}

/// A character device, a block device and a fifo, in and outside of `/dev`, with mode and owner.
pub fn listed(t: &mut Trial) -> Done {
    if t.subject.place.rootless {
        return elsewhere("an ordinary user can't make devices: they are bound from the host, with its modes");
    }
    let mut bundle = t.bundle();
    bundle.set(
        "/linux/devices",
        json!([
            {"type": "c", "path": "/dev/mine", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 11, "gid": 22},
            {"type": "u", "path": "/dev/deep/er/mine", "major": 1, "minor": 7, "fileMode": 0o666, "uid": 0, "gid": 0},
            {"type": "b", "path": "/elsewhere/loop", "major": 7, "minor": 3, "fileMode": 0o600},
            {"type": "p", "path": "/dev/pipe", "fileMode": 0o622},
        ]),
    );
    let said =
        bundle.tell("busybox stat -c '%n %F %t:%T %a %u %g' /dev/mine /dev/deep/er/mine /elsewhere/loop /dev/pipe")?;
    let lines: Vec<&str> = said.lines().collect();
    let kinds = [
        "/dev/mine character special file 1:5 ",
        "/dev/deep/er/mine character special file 1:7 ",
        "/elsewhere/loop block special file 7:3 ",
        "/dev/pipe fifo 0:0 ",
    ];
    let modes = ["640 11 22", "666 0 0", "600 0 0", "622 0 0"];
    for (line, (kind, mode)) in lines.iter().zip(kinds.iter().zip(modes)) {
        t.must("linux.devices.available", line.starts_with(kind), line);
        t.must("linux.devices.mode", line.ends_with(mode), line);
    }
    t.same("linux.devices.available", lines.len(), 4);
    Ok(())
}

/// A file at the path that is something else.
pub fn mismatch(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.script("true");
    fs::create_dir(bundle.rootfs().join("elsewhere"))?;
    fs::write(bundle.rootfs().join("elsewhere/null"), "a file")?;
    bundle.set(
        "/linux/devices",
        json!([{"type": "c", "path": "/elsewhere/null", "major": 1, "minor": 3}]),
    );
    t.refused("linux.devices.mismatch", &bundle.create());
    t.same(
        "linux.devices.mismatch",
        fs::read_to_string(bundle.rootfs().join("elsewhere/null"))?,
        "a file",
    );
    Ok(())
}

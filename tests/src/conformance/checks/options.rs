//! config.md: the mount options that are not the filesystem's.

use std::process::Command;

use serde_json::json;

use crate::conformance::bundle::Bundle;
use crate::conformance::trial::{Done, Stop, Trial, elsewhere};

/// An option, what else is given before it, and what the mount table has to have and not to have.
struct Case {
    option: &'static str,
    before: &'static [&'static str],
    has: &'static [&'static str],
    lacks: &'static [&'static str],
}

const fn case(
    option: &'static str,
    before: &'static [&'static str],
    has: &'static [&'static str],
    lacks: &'static [&'static str],
) -> Case {
    Case {
        option,
        before,
        has,
        lacks,
    }
}

/// tmpfs refuses options that it does not know, so an option without a trace in the table was at least understood by the runtime.
const CASES: &[Case] = &[
    case("async", &["sync"], &[], &["sync"]),
    case("atime", &["noatime"], &[], &["noatime"]),
    case("defaults", &[], &["rw"], &["nosuid", "nodev", "noexec"]),
    case("dev", &["nodev"], &[], &["nodev"]),
    case("diratime", &["nodiratime"], &[], &["nodiratime"]),
    case("dirsync", &[], &["dirsync"], &[]),
    case("exec", &["noexec"], &[], &["noexec"]),
    case("iversion", &[], &[], &[]),
    case("lazytime", &[], &["lazytime"], &[]),
    case("loud", &["silent"], &[], &[]),
    case("noatime", &[], &["noatime"], &["relatime"]),
    case("nodev", &[], &["nodev"], &[]),
    case("nodiratime", &[], &["nodiratime"], &[]),
    case("noexec", &[], &["noexec"], &[]),
    case("noiversion", &["iversion"], &[], &[]),
    case("nolazytime", &["lazytime"], &[], &["lazytime"]),
    case("norelatime", &["relatime"], &[], &["noatime"]),
    case("nostrictatime", &["strictatime"], &["relatime"], &[]),
    case("nosuid", &[], &["nosuid"], &[]),
    case("relatime", &[], &["relatime"], &["noatime"]),
    case("ro", &[], &["ro"], &[]),
    case("rw", &["ro"], &[], &["ro"]),
    case("silent", &[], &[], &[]),
    case("strictatime", &[], &[], &["relatime", "noatime"]),
    case("suid", &["nosuid"], &[], &["nosuid"]),
    case("sync", &[], &["sync"], &[]),
    case("nosymfollow", &[], &["nosymfollow"], &[]),
    case("symfollow", &["nosymfollow"], &[], &["nosymfollow"]),
];

/// One container with a tmpfs for each option. When the runtime refuses that, one container for each option.
pub fn each(t: &mut Trial) -> Done {
    let mut all = t.bundle();
    for case in CASES {
        add(&mut all, case);
    }
    let table = all.tell("cat /proc/self/mountinfo");
    for case in CASES {
        let table = match &table {
            Ok(table) => table.clone(),
            Err(_) => {
                let mut one = t.bundle();
                add(&mut one, case);
                one.script("cat /proc/self/mountinfo");
                let said = one.run();
                format!("{}{}", said.out, said.err)
            }
        };
        let line = line_of(&table, &format!("/mnt/{}", case.option));
        let flags: Vec<&str> = line.split([' ', ',']).collect();
        let holds = !line.is_empty()
            && case.has.iter().all(|flag| flags.contains(flag))
            && !case.lacks.iter().any(|flag| flags.contains(flag));
        let seen = if line.is_empty() { table.as_str() } else { line };
        t.must(format!("config.mounts.option.{}", case.option), holds, seen);
    }
    remount(t)?;
    copy_up(t)
}

fn add(bundle: &mut Bundle, case: &Case) {
    let options: Vec<&str> = case.before.iter().copied().chain([case.option]).collect();
    bundle.mount(&format!("/mnt/{}", case.option), "tmpfs", "tmpfs", &options);
}

/// The line of a mount point in a mount table.
fn line_of<'t>(table: &'t str, destination: &str) -> &'t str {
    table
        .lines()
        .find(|line| line.split(' ').nth(4) == Some(destination))
        .unwrap_or_default()
}

/// `remount` changes the mount that is there.
fn remount(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.mount("/mnt/again", "tmpfs", "tmpfs", &["nosuid"]);
    bundle.mount("/mnt/again", "tmpfs", "tmpfs", &["remount", "ro", "nosuid"]);
    bundle.script("cat /proc/self/mountinfo");
    let said = bundle.run();
    let lines = said.out.lines().filter(|line| line.contains(" /mnt/again ")).count();
    let line = line_of(&said.out, "/mnt/again");
    t.must(
        "config.mounts.option.remount",
        lines == 1 && line.contains(" ro,nosuid"),
        format_args!("{line} {}", said.err),
    );
    Ok(())
}

/// `tmpcopyup` fills the new tmpfs with what it hides.
fn copy_up(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    let hidden = bundle.rootfs().join("mnt/hidden");
    std::fs::create_dir(&hidden)?;
    std::fs::write(hidden.join("file"), "copied")?;
    bundle.mount("/mnt/hidden", "tmpfs", "tmpfs", &["tmpcopyup"]);
    bundle.script("cat /mnt/hidden/file; busybox stat -f -c %T /mnt/hidden");
    let said = bundle.run();
    t.must("config.mounts.option.tmpcopyup", said.out == "copiedtmpfs\n", &said);
    Ok(())
}

/// A mount of the host with another one below it, both shared; gone when dropped.
struct Shared(std::path::PathBuf);

impl Shared {
    fn new(bundle: &Bundle) -> Result<Self, Stop> {
        let top = bundle.dir.join("shared");
        let script = "set -e; mkdir $0; mount -t tmpfs shared $0; mount --make-shared $0; mkdir $0/below; mount -t tmpfs below $0/below";
        let status = Command::new("sh").args(["-c", script]).arg(&top).status()?;
        if status.success() {
            return Ok(Self(top));
        }
        Err(format!("can't mount at {}", top.display()).into())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-R").arg(&self.0).status();
    }
}

/// bind and rbind, and how the bound mounts propagate. The source is shared, so that a slave has a master.
pub fn propagation(t: &mut Trial) -> Done {
    if t.subject.place.rootless {
        return elsewhere("an ordinary user can't make a shared mount for the container to have");
    }
    let mut bundle = t.bundle();
    let shared = Shared::new(&bundle)?;
    let source = shared.0.display().to_string();
    let options = [
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "unbindable",
        "runbindable",
    ];
    bundle.mount("/mnt/bind", "none", &source, &["bind"]);
    bundle.mount("/mnt/rbind", "none", &source, &["rbind"]);
    for option in options {
        bundle.mount(&format!("/mnt/{option}"), "none", &source, &["rbind", option]);
    }
    let table = bundle.tell("cat /proc/self/mountinfo")?;
    for (option, below) in [("bind", false), ("rbind", true)] {
        let (top, under) = (
            line_of(&table, &format!("/mnt/{option}")),
            line_of(&table, &format!("/mnt/{option}/below")),
        );
        let seen = format!("{top} / {under}");
        t.must(
            format!("config.mounts.option.{option}"),
            !top.is_empty() && under.is_empty() != below,
            seen,
        );
    }
    for option in options {
        let recursive = option.starts_with('r');
        for (at, counts) in [("", true), ("/below", recursive)] {
            let line = line_of(&table, &format!("/mnt/{option}{at}"));
            let tags: Vec<&str> = line.split(' ').skip(6).take_while(|word| *word != "-").collect();
            let tag = |name: &str| tags.iter().any(|tag| tag.starts_with(name));
            let holds = match option.trim_start_matches('r') {
                "private" => tags.is_empty(),
                "shared" => tag("shared:"),
                "slave" => tag("master:") && !tag("shared:"),
                _ => tag("unbindable"),
            };
            t.must(
                format!("config.mounts.option.{option}"),
                !line.is_empty() && (holds || !counts),
                line,
            );
        }
    }
    Ok(())
}

/// Recursive attributes reach the mount below the one that is bound.
pub fn recursive(t: &mut Trial) -> Done {
    let id = "config.mounts.recursive";
    if t.subject.place.rootless {
        return elsewhere("an ordinary user can't make a mount with another below it for the container to have");
    }
    let cases = [
        ("rro", "ro"),
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnoatime", "noatime"),
        ("rnodiratime", "nodiratime"),
        ("rnosymfollow", "nosymfollow"),
    ];
    let mut bundle = t.bundle();
    let shared = Shared::new(&bundle)?;
    let source = shared.0.display().to_string();
    for (option, _) in cases {
        bundle.mount(&format!("/mnt/{option}"), "none", &source, &["rbind", option]);
    }
    bundle.mount(
        "/mnt/back",
        "none",
        &source,
        &["rbind", "rnosuid", "rsuid", "rro", "rrw"],
    );
    bundle.set("/process/user", json!({"uid": 0, "gid": 0}));
    let table = bundle.tell("cat /proc/self/mountinfo")?;
    for (option, flag) in cases {
        for at in ["", "/below"] {
            let line = line_of(&table, &format!("/mnt/{option}{at}"));
            let flags = line.split(' ').nth(5).unwrap_or_default();
            t.must(
                id,
                flags.split(',').any(|seen| seen == flag),
                format_args!("{option}: {line}"),
            );
        }
    }
    let back = line_of(&table, "/mnt/back/below");
    t.must(id, back.contains(" rw") && !back.contains("nosuid"), back);
    Ok(())
}

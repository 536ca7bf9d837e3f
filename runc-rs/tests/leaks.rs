//! What the caller of the runtime has must not reach a container or a hook: descriptors, environment, capabilities.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Bundle, Outcome};
use serde_json::json;

/// What stands in the caller's environment and nowhere else.
const SECRET: &str = "cUg3-the-callers-own-ktW9";

/// Calls the program as a careless caller does: with descriptors open, low and high, none of them close-on-exec, and a secret in its
/// environment.
fn leaky(bundle: &Bundle, before: &[&str], args: &[&str]) -> Outcome {
    let log = bundle.dir.path().join("leaky.log");
    let out = File::create(&log).unwrap();
    let open = "exec 3</ 4</etc 5</etc/hostname 6>>/dev/null 17</ 63</etc 254</ 1000</ 4095</etc 9999</; exec \"$@\"";
    let status = Command::new("/bin/bash")
        .args(["-c", open, "bash"])
        .args(before)
        .arg(common::program())
        .arg("--root")
        .arg(bundle.state_root())
        .args(args)
        .current_dir(bundle.dir.path())
        .env("SECRET", SECRET)
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .status()
        .unwrap();
    let text = fs::read_to_string(&log).unwrap();
    Outcome {
        code: status.code().unwrap_or(-1),
        stdout: text.clone(),
        stderr: text,
    }
}

/// Prints the descriptors of the shell that runs it (a list of names would be open itself), and its environment.
const SHOW: &str = "n=0; while [ $n -lt 40 ]; do [ -e /proc/self/fd/$n ] && echo fd $n; n=$((n+1)); done; \
    for n in 63 254 1000 4095 9999; do [ -e /proc/self/fd/$n ] && echo fd $n; done; env";

fn assert_clean(text: &str, who: &str) {
    let fds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("fd ")).collect();
    assert_eq!(fds, ["0", "1", "2"], "{who}: {text}");
    assert!(!text.contains("SECRET"), "{who}: {text}");
}

#[test]
fn run_and_exec_pass_on_the_standard_streams_and_the_configured_environment() {
    let mut bundle = Bundle::new();
    bundle.script(SHOW).write_config();
    let text = leaky(&bundle, &[], &["run", &bundle.id]).ok();
    assert_clean(&text, "run");
    bundle.set("/process/args", json!(["/bin/env"])).write_config();
    let text = leaky(&bundle, &[], &["run", &bundle.id]).ok();
    assert_eq!(text, "PATH=/bin\nHOME=/\n");
    bundle.sleeping();
    for args in [vec!["exec"], vec!["exec", "--env", "A=b"]] {
        let all = [args.as_slice(), &[&bundle.id, "/bin/sh", "-c", SHOW]].concat();
        assert_clean(&leaky(&bundle, &[], &all).ok(), "exec");
    }
}

#[test]
fn preserved_descriptors_are_those_asked_for() {
    let mut bundle = Bundle::new();
    bundle.script(SHOW).write_config();
    let three = |text: &str| text.lines().filter(|line| line.starts_with("fd ")).count();
    let text = leaky(&bundle, &[], &["run", "--preserve-fds", "2", &bundle.id]).ok();
    assert_eq!(three(&text), 5, "{text}");
    bundle.sleeping();
    let id = bundle.id.clone();
    let text = leaky(
        &bundle,
        &[],
        &["exec", "--preserve-fds", "1", &id, "/bin/sh", "-c", SHOW],
    )
    .ok();
    assert_eq!(three(&text), 4, "{text}");
}

/// Whether the writable memory of a process has the text anywhere.
fn remembers(pid: i64, text: &str) -> Option<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let (start, end) = (
            u64::from_str_radix(start, 16).unwrap(),
            u64::from_str_radix(end, 16).unwrap(),
        );
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        memory.seek(SeekFrom::Start(start)).unwrap();
        // Guard pages cannot be read.
        if memory.read_exact(&mut bytes).is_ok() && bytes.windows(text.len()).any(|found| found == text.as_bytes()) {
            return Some(line.to_owned());
        }
    }
    None
}

#[test]
fn a_process_that_waits_for_start_has_nothing_of_the_callers() {
    let mut bundle = Bundle::new();
    bundle.script("true").write_config();
    leaky(&bundle, &[], &["create", &bundle.id]).ok();
    let pid = bundle.state()["pid"].as_i64().unwrap();
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(environment.iter().all(|byte| *byte == 0), "{environment:?}");
    assert_eq!(remembers(pid, SECRET), None);
    assert!(
        remembers(pid, "/bin/true").is_some() || remembers(pid, "true").is_some(),
        "nothing was read"
    );
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let path = entry.unwrap().path();
        let number: u32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let target = fs::read_link(&path).unwrap();
        // The channel and the fifo on which it waits, no directory and no file of the host.
        let own = ["socket:", "/exec.fifo"]
            .iter()
            .any(|word| target.to_string_lossy().contains(word));
        assert!(number < 3 || own, "{number} -> {}", target.display());
    }
}

/// A hook that appends what it sees to a file beside the root filesystem, or to `/seen` in it.
fn hook(shell: &str, file: &Path) -> serde_json::Value {
    let script = format!("cat >/dev/null; ({SHOW}) >> {}; echo 'end' >> {0}", file.display());
    json!([{"path": shell, "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}])
}

#[test]
fn hooks_get_the_state_and_nothing_else() {
    let mut bundle = Bundle::new();
    let seen = |kind: &str| bundle.dir.path().join(kind);
    let kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    let files: Vec<(&str, PathBuf)> = kinds.iter().map(|kind| (*kind, seen(kind))).collect();
    for (kind, file) in &files {
        bundle.set(&format!("/hooks/{kind}"), hook("/bin/sh", file));
    }
    bundle.set("/hooks/startContainer", hook("/bin/sh", Path::new("/seen")));
    bundle.script("true").write_config();
    leaky(&bundle, &[], &["run", "--preserve-fds", "3", &bundle.id]).ok();
    let inside = ("startContainer", bundle.rootfs().join("seen"));
    for (kind, file) in files.iter().chain([&inside]) {
        let text = fs::read_to_string(file).unwrap_or_else(|_| panic!("{kind} did not run"));
        assert!(text.ends_with("end\n"), "{kind}: {text}");
        assert_clean(&text, kind);
    }
}

#[test]
fn capabilities_of_the_caller_are_not_the_containers() {
    let mut bundle = Bundle::new();
    let inherit = [
        "setpriv",
        "--inh-caps",
        "+chown,+net_raw",
        "--ambient-caps",
        "+chown,+net_raw",
    ];
    let grep = ["/bin/grep", "Cap", "/proc/self/status"];
    bundle.set("/process/args", json!(grep)).write_config();
    let sets = |text: &str| -> Vec<(String, u64)> {
        let line = |line: &str| {
            let (name, value) = line.split_once(":\t")?;
            Some((name.to_owned(), u64::from_str_radix(value, 16).ok()?))
        };
        text.lines().filter_map(line).collect()
    };
    let text = leaky(&bundle, &inherit, &["run", &bundle.id]).ok();
    for (name, value) in sets(&text) {
        let expected = name == "CapInh" || name == "CapAmb";
        assert_eq!(value == 0, expected, "{name}: {text}");
    }
    // Without a word of capabilities there are none, as with runc and crun.
    bundle.config["process"].as_object_mut().unwrap().remove("capabilities");
    bundle.write_config();
    let text = leaky(&bundle, &inherit, &["run", &bundle.id]).ok();
    assert_eq!(sets(&text).len(), 5, "{text}");
    assert!(sets(&text).iter().all(|(_, value)| *value == 0), "{text}");
    bundle.sleeping();
    let id = bundle.id.clone();
    let all = [&["exec", id.as_str()], grep.as_slice()].concat();
    let text = leaky(&bundle, &inherit, &all).ok();
    assert!(sets(&text).iter().all(|(_, value)| *value == 0), "{text}");
}

//! Cgroups on the real kernel, whichever layout the machine has: the same tests hold on v1, hybrid and v2.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use oci_spec::runtime::{LinuxDeviceType, LinuxResources};
use runc_rs_cgroups::devices::{default_rules, rule};
use runc_rs_cgroups::oom::OomEvent;
use runc_rs_cgroups::{Cgroup, Error, FreezerState, Host, Mode, OomNotifier, Stats};
use serde_json::json;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A cgroup of this test run alone, emptied and removed at the end whatever happens.
struct Scratch {
    cgroup: Cgroup,
    name: String,
    children: Vec<Child>,
}

impl Scratch {
    fn new() -> Self {
        let name = format!(
            "/runc-rs-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let cgroup = Cgroup::new(&Host::detect().unwrap(), Path::new(&name)).unwrap();
        assert!(!cgroup.exists());
        cgroup.create().unwrap();
        Self {
            cgroup,
            name,
            children: Vec::new(),
        }
    }

    /// Starts a shell script that waits for a line on its stdin before anything else, and puts it into the cgroup.
    fn shell(&mut self, script: &str) -> u32 {
        let script = format!("read _; {script}");
        let child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        self.cgroup.add(pid.try_into().unwrap()).unwrap();
        self.children.push(child);
        self.go();
        pid
    }

    fn go(&mut self) {
        let child = self.children.last_mut().unwrap();
        child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn wait(&mut self) -> Option<i32> {
        self.children.pop().unwrap().wait().unwrap().code()
    }

    fn read(&self, controller: &str, file: &str) -> String {
        let path = self.cgroup.path(controller).unwrap().join(file);
        fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            .trim()
            .to_owned()
    }

    fn set(&self, resources: serde_json::Value) -> Result<(), Error> {
        self.cgroup
            .set(&serde_json::from_value::<LinuxResources>(resources).unwrap())
    }

    fn v2(&self) -> bool {
        self.cgroup.mode() == Mode::V2
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.cgroup.thaw();
        let _ = self.cgroup.kill(9);
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let deleted = self.cgroup.delete();
        if !std::thread::panicking() {
            deleted.unwrap();
            assert!(!self.cgroup.exists());
        }
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} never came true");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn controllers() -> Vec<String> {
    let host = Host::detect().unwrap();
    let v1 = host.v1.iter().flat_map(|h| h.controllers.clone());
    v1.chain(host.v2_controllers.clone()).collect()
}

#[test]
fn a_process_enters_is_listed_and_killed() {
    let mut scratch = Scratch::new();
    let pid = scratch.shell("sleep 1000 & wait");
    eventually("the shell's child", || scratch.cgroup.pids().unwrap().len() == 2);
    assert!(scratch.cgroup.pids().unwrap().contains(&i32::try_from(pid).unwrap()));
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let inside = own.lines().filter(|l| l.ends_with(&scratch.name)).count();
    assert_eq!(inside, own.lines().filter(|l| is_mounted(l)).count(), "{own}");
    scratch.cgroup.kill(9).unwrap();
    assert_eq!(scratch.wait(), None);
    eventually("the end of all", || scratch.cgroup.pids().unwrap().is_empty());
}

/// A line of /proc/PID/cgroup whose hierarchy is mounted.
fn is_mounted(line: &str) -> bool {
    let host = Host::detect().unwrap();
    let names: Vec<&str> = line.split(':').nth(1).unwrap().split(',').collect();
    match names.as_slice() {
        [""] => host.v2.is_some(),
        [first, ..] => host.v1_hierarchy(first).is_some(),
        [] => false,
    }
}

#[test]
fn limits_are_read_back() {
    let scratch = Scratch::new();
    scratch
        .set(json!({
            "memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20},
            "cpu": {"shares": 1024, "quota": 50_000, "period": 100_000},
            "pids": {"limit": 17}
        }))
        .unwrap();
    assert_eq!(scratch.read("pids", "pids.max"), "17");
    if scratch.v2() {
        assert_eq!(scratch.read("memory", "memory.max"), (64 << 20).to_string());
        assert_eq!(scratch.read("memory", "memory.low"), (32 << 20).to_string());
        assert_eq!(scratch.read("cpu", "cpu.max"), "50000 100000");
        assert_eq!(scratch.read("cpu", "cpu.weight"), "100");
        assert_eq!(scratch.read("memory", "memory.swap.max"), (32 << 20).to_string());
    } else {
        assert_eq!(scratch.read("memory", "memory.limit_in_bytes"), (64 << 20).to_string());
        assert_eq!(
            scratch.read("memory", "memory.soft_limit_in_bytes"),
            (32 << 20).to_string()
        );
        assert_eq!(
            scratch.read("memory", "memory.memsw.limit_in_bytes"),
            (96 << 20).to_string()
        );
        assert_eq!(scratch.read("cpu", "cpu.shares"), "1024");
        assert_eq!(scratch.read("cpu", "cpu.cfs_quota_us"), "50000");
        assert_eq!(scratch.read("cpu", "cpu.cfs_period_us"), "100000");
    }
    scratch
        .set(json!({"pids": {"limit": -1}, "cpu": {"quota": -1}}))
        .unwrap();
    assert_eq!(scratch.read("pids", "pids.max"), "max");
}

#[test]
fn memory_and_swap_go_up_and_down_together() {
    let scratch = Scratch::new();
    let file = if scratch.v2() {
        "memory.max"
    } else {
        "memory.limit_in_bytes"
    };
    for mib in [64_u64, 512, 32, 256, 16] {
        scratch
            .set(json!({"memory": {"limit": mib << 20, "swap": mib << 21}}))
            .unwrap();
        assert_eq!(scratch.read("memory", file), (mib << 20).to_string());
    }
    scratch.set(json!({"memory": {"limit": -1}})).unwrap();
    let unlimited = scratch.read("memory", file);
    assert!(
        unlimited == "max" || unlimited.parse::<u64>().unwrap() > 1 << 60,
        "{unlimited}"
    );
}

#[test]
fn a_period_below_the_quota_is_reached() {
    let scratch = Scratch::new();
    scratch
        .set(json!({"cpu": {"quota": 100_000, "period": 1_000_000}}))
        .unwrap();
    scratch.set(json!({"cpu": {"quota": 1_000, "period": 1_000}})).unwrap();
    scratch
        .set(json!({"cpu": {"quota": 100_000, "period": 100_000, "burst": 50_000}}))
        .unwrap();
    let burst = if scratch.v2() {
        "cpu.max.burst"
    } else {
        "cpu.cfs_burst_us"
    };
    assert_eq!(scratch.read("cpu", burst), "50000");
}

#[test]
fn the_pids_limit_holds() {
    let mut scratch = Scratch::new();
    scratch.set(json!({"pids": {"limit": 1}})).unwrap();
    scratch.shell("(exit 0) 2>/dev/null; exit 3");
    assert_eq!(scratch.wait(), Some(2), "a shell that cannot fork ends with 2");
}

#[test]
fn freezing_stops_and_thawing_goes_on() {
    let mut scratch = Scratch::new();
    let pid = scratch.shell("while :; do :; done");
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
        stat.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(scratch.cgroup.freezer_state().unwrap(), FreezerState::Thawed);
    scratch.cgroup.freeze().unwrap();
    assert_eq!(scratch.cgroup.freezer_state().unwrap(), FreezerState::Frozen);
    let still = ticks();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(ticks(), still);
    scratch.cgroup.thaw().unwrap();
    eventually("running again", || ticks() > still);
    // A frozen cgroup can be killed.
    scratch.cgroup.freeze().unwrap();
    scratch.cgroup.kill(9).unwrap();
    assert_eq!(scratch.wait(), None);
}

#[test]
fn processes_in_child_cgroups_are_found_killed_and_removed() {
    let mut scratch = Scratch::new();
    // One process from beginning to end: a shell that forks could do it before or after it is moved.
    let pid = scratch.shell("while :; do :; done");
    let mut made = Vec::new();
    for path in scratch.cgroup.paths().values() {
        let child = path.join("a/b");
        if !made.contains(&child) && !path.join("cpuset.cpus").exists() {
            fs::create_dir_all(&child).unwrap();
            fs::write(child.join("cgroup.procs"), pid.to_string()).unwrap();
            made.push(child);
        }
    }
    assert_eq!(scratch.cgroup.pids().unwrap(), [i32::try_from(pid).unwrap()]);
    scratch.cgroup.kill(9).unwrap();
    assert_eq!(scratch.wait(), None);
    scratch.cgroup.delete().unwrap();
    assert!(!scratch.cgroup.exists());
    scratch.cgroup.delete().unwrap();
    assert!(scratch.cgroup.pids().unwrap().is_empty());
}

#[test]
fn forking_processes_cannot_run_away_from_a_kill() {
    let mut scratch = Scratch::new();
    scratch.set(json!({"pids": {"limit": 200}})).unwrap();
    scratch.shell("run() { while :; do sleep 0.01; (run) & done; }; run");
    eventually("a crowd", || scratch.cgroup.pids().unwrap().len() > 20);
    scratch.cgroup.kill(9).unwrap();
    eventually("the end of all", || scratch.cgroup.pids().unwrap().is_empty());
    scratch.wait();
}

#[test]
fn other_signals_reach_everybody() {
    let mut scratch = Scratch::new();
    let ready = std::env::temp_dir().join(scratch.name.trim_start_matches('/'));
    scratch.shell(&format!(
        "trap 'exit 42' USR1; : >{}; while :; do sleep 0.01; done",
        ready.display()
    ));
    eventually("the trap", || ready.exists());
    fs::remove_file(ready).unwrap();
    scratch.cgroup.kill(libc::SIGUSR1).unwrap();
    assert_eq!(scratch.wait(), Some(42));
}

#[test]
fn device_rules_hold_and_change_while_it_runs() {
    let mut scratch = Scratch::new();
    let deny = || rule(false, LinuxDeviceType::A, None, None, "rwm");
    let set = |scratch: &Scratch, rules: Vec<_>| {
        let mut resources = LinuxResources::default();
        resources.set_devices(Some(rules));
        scratch.cgroup.set(&resources).unwrap();
    };
    let all = || std::iter::once(deny()).chain(default_rules()).collect::<Vec<_>>();
    let script = "head -c1 /dev/zero >/dev/null || exit 7; exit 0";
    set(&scratch, all());
    scratch.shell(script);
    assert_eq!(scratch.wait(), Some(0));
    set(&scratch, all().into_iter().filter(|r| r.minor() != Some(5)).collect());
    scratch.shell(&format!("exec 2>/dev/null; {script}"));
    assert_eq!(scratch.wait(), Some(7), "reading /dev/zero is forbidden");
    set(&scratch, vec![rule(true, LinuxDeviceType::A, None, None, "rwm")]);
    scratch.shell(script);
    assert_eq!(scratch.wait(), Some(0));
    set(
        &scratch,
        vec![
            rule(true, LinuxDeviceType::A, None, None, "rwm"),
            rule(false, LinuxDeviceType::C, Some(1), Some(5), "r"),
        ],
    );
    scratch.shell(&format!("exec 2>/dev/null; {script}"));
    assert_eq!(scratch.wait(), Some(7), "an exception to everything");
}

/// Where v1 has the devices, its list is exactly what the rules fold to, whatever it was before.
#[test]
fn device_lists_change_into_each_other() {
    let scratch = Scratch::new();
    let c = |minor: Option<i64>, access: &str| rule(true, LinuxDeviceType::C, Some(1), minor, access);
    let everything = rule(true, LinuxDeviceType::A, None, None, "rwm");
    let states = [
        (vec![c(Some(3), "rwm"), c(Some(5), "r")], vec!["c 1:3 rwm", "c 1:5 r"]),
        (vec![c(Some(3), "r"), c(Some(5), "rw")], vec!["c 1:3 r", "c 1:5 rw"]),
        (vec![c(None, "m"), c(Some(3), "rwm")], vec!["c 1:* m", "c 1:3 rwm"]),
        (vec![everything], vec!["a *:* rwm"]),
        (vec![c(Some(5), "w")], vec!["c 1:5 w"]),
        (vec![rule(false, LinuxDeviceType::A, None, None, "rwm")], vec![]),
        (vec![c(None, "rw")], vec!["c 1:* rw"]),
    ];
    for (rules, expected) in states {
        let mut resources = LinuxResources::default();
        resources.set_devices(Some(rules));
        scratch.cgroup.set(&resources).unwrap();
        if !scratch.v2() {
            let list = scratch.read("devices", "devices.list");
            let mut lines: Vec<&str> = list.lines().collect();
            lines.sort_unstable();
            assert_eq!(lines, expected);
        }
    }
}

#[test]
fn running_out_of_memory_is_told() {
    let mut scratch = Scratch::new();
    scratch
        .set(json!({"memory": {"limit": 24 << 20, "swap": 24 << 20}}))
        .unwrap();
    let mut notifier = OomNotifier::new(&scratch.cgroup).unwrap();
    assert_eq!(notifier.read().unwrap(), OomEvent::Nothing);
    scratch.shell("tail /dev/zero; exit 0");
    let mut seen = OomEvent::Nothing;
    while seen == OomEvent::Nothing {
        let mut poll = [rustix::event::PollFd::new(&notifier, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut poll, Some(&limit)).unwrap(), 1, "no event");
        seen = notifier.read().unwrap();
    }
    assert_eq!(seen, OomEvent::Oom);
    scratch.wait();
    scratch.cgroup.delete().unwrap();
    let mut seen = notifier.read().unwrap();
    for _ in 0..3 {
        seen = if seen == OomEvent::Gone {
            seen
        } else {
            notifier.read().unwrap()
        };
    }
    assert_eq!(seen, OomEvent::Gone);
}

#[test]
fn usage_is_counted() {
    let mut scratch = Scratch::new();
    scratch
        .set(json!({"pids": {"limit": 50}, "memory": {"limit": 256 << 20}}))
        .unwrap();
    scratch.shell("x=$(head -c 3000000 /dev/zero | tr '\\0' a); while :; do :; done");
    eventually("some use", || match scratch.cgroup.stats().unwrap() {
        Stats::V1(stats) => {
            let cpu = stats.cpu.unwrap();
            cpu.total > 20_000_000 && cpu.user > 0 && stats.memory.unwrap().usage.usage > 1_000_000
        }
        Stats::V2(stats) => stats.cpu.unwrap().usage_usec > 20_000 && stats.memory.unwrap().usage > 1_000_000,
    });
    match scratch.cgroup.stats().unwrap() {
        Stats::V1(stats) => {
            let memory = stats.memory.unwrap();
            assert_eq!(memory.usage.limit, 256 << 20);
            assert!(memory.usage.usage > 0 && memory.stat.contains_key("total_rss"));
            assert_eq!(stats.pids.unwrap().limit, 50);
            assert!(stats.pids.unwrap().current >= 1);
        }
        Stats::V2(stats) => {
            let memory = stats.memory.unwrap();
            assert_eq!(memory.usage_limit, 256 << 20);
            assert!(memory.usage > 0 && memory.stat.contains_key("anon"));
            assert_eq!(stats.pids.unwrap().limit, 50);
            assert_eq!(stats.memory_events["oom_kill"], 0);
        }
    }
}

#[test]
fn a_refused_value_is_told_with_file_and_value() {
    let scratch = Scratch::new();
    let error = scratch.set(json!({"cpu": {"quota": 1, "period": 7}})).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("failed to write \"") && text.ends_with(": invalid argument"),
        "{text}"
    );
    let error = scratch.set(json!({"unified": {"a/b": "1"}})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unified resource \"a/b\" must be a file name (no slashes)"
    );
    let error = scratch.set(json!({"unified": {"nope.max": "1"}})).unwrap_err();
    let words = if scratch.v2() {
        "controller \"nope\" not available"
    } else {
        "cannot use unified on cgroup v1"
    };
    assert!(error.to_string().ends_with(words), "{error}");
    if !controllers().iter().any(|c| c == "rdma") {
        let error = scratch.set(json!({"rdma": {"mlx": {"hcaHandles": 1}}})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot set rdma limit: container could not join or create cgroup"
        );
    }
}

#[test]
fn what_was_made_goes_again_when_creation_fails() {
    let host = Host::detect().unwrap();
    let top = format!("/runc-rs-test-fail-{}", std::process::id());
    let path = format!("{top}/a\nb");
    let cgroup = Cgroup::new(&host, Path::new(&path)).unwrap();
    let error = cgroup.create().unwrap_err().to_string();
    assert!(
        error.starts_with("mkdir /sys/fs/cgroup/") && error.ends_with(": invalid argument"),
        "{error}"
    );
    let parent = Cgroup::new(&host, Path::new(&top)).unwrap();
    assert!(!parent.exists());
}

#[test]
fn a_handle_is_loaded_from_saved_paths() {
    let mut scratch = Scratch::new();
    let pid = scratch.shell("exec sleep 1000");
    let json = serde_json::to_string(scratch.cgroup.paths()).unwrap();
    let paths: BTreeMap<String, PathBuf> = serde_json::from_str(&json).unwrap();
    let loaded = Cgroup::load(paths);
    assert_eq!(loaded, scratch.cgroup);
    assert_eq!(loaded.pids().unwrap(), [i32::try_from(pid).unwrap()]);
    assert_eq!(
        loaded.unified_fd().unwrap().is_some(),
        Host::detect().unwrap().v2.is_some()
    );
}

#[test]
fn a_path_outside_the_cgroup_filesystem_is_refused() {
    let paths = BTreeMap::from([("devices".to_owned(), PathBuf::from("/tmp"))]);
    assert!(matches!(Cgroup::load(paths).add(1), Err(Error::NotCgroup(_))));
}

#[test]
fn huge_pages_and_unified_files_are_limited_where_the_host_can() {
    let scratch = Scratch::new();
    let file = |end: &str| format!("hugetlb.2MB.{end}");
    if controllers().iter().any(|c| c == "hugetlb") {
        scratch
            .set(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}))
            .unwrap();
        let v1 = Host::detect().unwrap().v1_hierarchy("hugetlb").is_some();
        let path = scratch.cgroup.path(if v1 { "hugetlb" } else { "" }).unwrap();
        let got = fs::read_to_string(path.join(file(if v1 { "limit_in_bytes" } else { "max" }))).unwrap();
        assert_eq!(got.trim(), (4 << 20).to_string());
    } else {
        let error = scratch
            .set(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot set hugetlb limit: container could not join or create cgroup"
        );
    }
    if scratch.v2() {
        scratch
            .set(json!({"unified": {"memory.high": "1048576", "pids.max": "9"}, "pids": {"limit": 5}}))
            .unwrap();
        assert_eq!(scratch.read("memory", "memory.high"), "1048576");
        assert_eq!(scratch.read("pids", "pids.max"), "9", "unified has the last word");
    }
}

fn resources(value: serde_json::Value) -> LinuxResources {
    serde_json::from_value(value).unwrap()
}

#[test]
fn an_update_changes_all_or_nothing() {
    let scratch = Scratch::new();
    let (memory, shares) = if scratch.v2() {
        ("memory.max", "cpu.weight")
    } else {
        ("memory.limit_in_bytes", "cpu.shares")
    };
    scratch
        .set(json!({"memory": {"limit": 64 << 20, "swap": 96 << 20}, "cpu": {"shares": 1024}, "pids": {"limit": 17}}))
        .unwrap();
    let now = || {
        let files = [("memory", memory), ("cpu", shares), ("pids", "pids.max")];
        files.map(|(controller, file)| scratch.read(controller, file))
    };
    let before = now();
    // No device has this number, which is found out when all else is written.
    let refused = scratch.cgroup.update(&resources(json!({
        "memory": {"limit": 128 << 20, "swap": 256 << 20}, "cpu": {"shares": 2048}, "pids": {"limit": 18},
        "blockIO": {"throttleReadBpsDevice": [{"major": 4000, "minor": 7, "rate": 1_000_000}]}
    })));
    assert!(matches!(refused, Err(Error::Write { .. })), "{refused:?}");
    assert_eq!(now(), before);
    let taken = resources(json!({"memory": {"limit": 128 << 20, "swap": 256 << 20}, "pids": {"limit": 18}}));
    scratch.cgroup.update(&taken).unwrap();
    assert_eq!(now()[0], (128 << 20).to_string());
    assert_eq!(now()[2], "18");
}

#[test]
fn quota_and_period_change_one_without_the_other() {
    let scratch = Scratch::new();
    let now = || {
        if scratch.v2() {
            return scratch.read("cpu", "cpu.max");
        }
        let files = ["cpu.cfs_quota_us", "cpu.cfs_period_us"];
        files.map(|file| scratch.read("cpu", file)).join(" ")
    };
    scratch
        .set(json!({"cpu": {"quota": 20_000, "period": 50_000}}))
        .unwrap();
    scratch
        .cgroup
        .update(&resources(json!({"cpu": {"quota": 30_000}})))
        .unwrap();
    assert_eq!(now(), "30000 50000");
    scratch
        .cgroup
        .update(&resources(json!({"cpu": {"period": 60_000}})))
        .unwrap();
    assert_eq!(now(), "30000 60000");
}

#[test]
fn processors_are_given_and_taken() {
    if !controllers().iter().any(|name| name == "cpuset") {
        // Debian's User Mode Linux has none: then asking for it is an error.
        let refused = Scratch::new().set(json!({"cpu": {"cpus": "0"}}));
        assert!(matches!(refused, Err(Error::NoController { .. })), "{refused:?}");
        return;
    }
    let mut scratch = Scratch::new();
    scratch.set(json!({"cpu": {"cpus": "0", "mems": "0"}})).unwrap();
    assert_eq!(scratch.read("cpuset", "cpuset.cpus"), "0");
    scratch.shell("grep -q 'Cpus_allowed_list:.0$' /proc/self/status");
    assert_eq!(scratch.wait(), Some(0));
}

#[test]
fn a_cgroup_below_takes_processes() {
    let mut scratch = Scratch::new();
    let pid = scratch.shell("read _");
    for path in scratch.cgroup.paths().values() {
        let below = path.join("below");
        if !below.exists() {
            fs::create_dir(&below).unwrap();
        }
        // v1's cpuset is empty until it is told.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if below.join(file).exists() && path.join("tasks").exists() {
                fs::write(below.join(file), fs::read(path.join(file)).unwrap()).unwrap();
            }
        }
    }
    let paths = BTreeMap::from([(String::new(), PathBuf::from("below"))]);
    let below = scratch.cgroup.below(&paths).unwrap();
    below.add(pid.try_into().unwrap()).unwrap();
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let place = format!("{}/below", scratch.name);
    assert!(
        own.lines().filter(|l| is_mounted(l)).all(|l| l.ends_with(&place)),
        "{own}"
    );
    assert_eq!(scratch.cgroup.pids().unwrap(), below.pids().unwrap());
    let out = BTreeMap::from([(String::new(), PathBuf::from("../x"))]);
    assert!(matches!(scratch.cgroup.below(&out), Err(Error::NotSubCgroup(_))));
}

#[test]
fn what_the_kernel_lists_is_given_away() {
    use std::os::unix::fs::MetadataExt as _;
    let scratch = Scratch::new();
    scratch.cgroup.delegate(4321).unwrap();
    let Some(unified) = scratch.cgroup.paths().get("") else {
        return;
    };
    let owner = |file: &str| fs::metadata(unified.join(file)).unwrap().uid();
    for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
        assert_eq!(owner(file), 4321, "{file}");
    }
    assert_eq!(owner("cgroup.max.depth"), 0);
}

#[test]
fn pressure_is_told_where_the_kernel_measures_it() {
    let mut scratch = Scratch::new();
    scratch.shell("i=0; while [ $i -lt 1000 ]; do i=$((i + 1)); done");
    scratch.wait();
    let has = |file: &str| scratch.cgroup.path("").is_some_and(|path| path.join(file).exists());
    if let Stats::V2(stats) = scratch.cgroup.stats().unwrap() {
        assert_eq!(stats.cpu_pressure.is_some(), has("cpu.pressure"));
        assert_eq!(stats.memory_pressure.is_some(), has("memory.pressure"));
        assert_eq!(stats.io_pressure.is_some(), has("io.pressure"));
        assert_eq!(stats.hugetlb.is_empty(), !controllers().iter().any(|c| c == "hugetlb"));
    }
}

//! Debian's dockerd with `runc-rs` as its runtime (`--add-runtime`), beside Debian's runc under the same daemon.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use engine_tests::bundle::{Said, say};
use engine_tests::daemon::{Daemon, Engine, wait_until};
use engine_tests::image_tars::busybox_tar;
use engine_tests::programs::ours;
use engine_tests::pty::Pty;

/// A daemon that has an image and starts containers with our runtime unless told otherwise.
fn dockerd() -> Daemon {
    let runtime = format!("runc-rs={}", ours("runc-rs").display());
    let d = Daemon::start_of(
        Engine::Debian,
        &["--add-runtime", &runtime, "--default-runtime", "runc-rs"],
    );
    let tar = busybox_tar(d.directory());
    d.ok(["load", "-q", "-i", tar.to_str().unwrap()]);
    d
}

fn call(d: &Daemon, args: &[&str]) -> Said {
    say(&mut d.docker(args))
}

fn start(d: &Daemon, flags: &[&str]) {
    let args = ["run", "-d", "--name", "box"].iter().chain(flags);
    d.ok(args.chain(&["busybox", "sleep", "1000"]));
}

/// Exit code, and arguments of `docker run --rm` up to the image, and from it on.
type Run = (i32, &'static [&'static str], &'static [&'static str]);

const STATUS: &str = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups|Uid|Gid|Cpus_allowed_list)' /proc/self/status";
/// Without what is the runtimes' own affair: what lies over masked paths, and the storage's names.
const MOUNTS: &str = "grep -Ev ' /(sys/(fs/cgroup|firmware)|proc/(acpi|keys|timer_list))?[ /]' /proc/mounts | cut -d' ' -f2-4; \
    ls -l /dev | sed 's/  */ /g' | cut -d' ' -f1,3-6,10-";

/// Depends on the machine, but not on the runtime.
const ANY: i32 = -1;

const RUNS: &[Run] = &[
    (0, &[], &["echo", "hello"]),
    (42, &[], &["sh", "-c", "exit 42"]),
    (137, &["--pid", "host"], &["sh", "-c", "kill -9 $$"]),
    (126, &[], &["/etc/passwd"]),
    (126, &[], &["/etc"]),
    (127, &[], &["nonsense"]),
    (127, &[], &["/nonsense"]),
    (0, &[], &["sh", "-c", STATUS]),
    // Refused where the machine itself has not all capabilities.
    (ANY, &["--privileged"], &["sh", "-c", STATUS]),
    (
        0,
        &["--cap-drop", "ALL", "--cap-add", "CHOWN", "-u", "app"],
        &["sh", "-c", STATUS],
    ),
    (
        0,
        &[
            "--security-opt",
            "no-new-privileges",
            "--security-opt",
            "seccomp=unconfined",
        ],
        &["sh", "-c", STATUS],
    ),
    (
        0,
        &["--group-add", "extra", "-u", "5:6", "--cpuset-cpus", "0"],
        &["sh", "-c", STATUS],
    ),
    (0, &[], &["sh", "-c", MOUNTS]),
    (
        0,
        &["--read-only", "--tmpfs", "/t:size=1m,noexec", "--shm-size", "2m"],
        &["sh", "-c", MOUNTS],
    ),
    (
        0,
        &[
            "-v",
            "/etc:/mnt:ro",
            "--mount",
            "type=bind,src=/usr,dst=/usr2,bind-propagation=rprivate",
        ],
        &[
            "sh",
            "-c",
            "grep -E ' /(mnt|usr2) ' /proc/self/mountinfo | cut -d' ' -f5-7",
        ],
    ),
    (0, &["-t"], &["sh", "-c", "tty; ls -l /dev/console | cut -c1-10"]),
    (
        0,
        &["--ulimit", "nofile=100:200", "--ulimit", "core=0"],
        &["sh", "-c", "ulimit -a; ulimit -Hn"],
    ),
    (
        0,
        &["--sysctl", "net.ipv4.ip_unprivileged_port_start=0", "--hostname", "h"],
        &[
            "sh",
            "-c",
            "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; hostname",
        ],
    ),
    (
        0,
        &["--oom-score-adj", "100", "-w", "/made/here"],
        &["sh", "-c", "cat /proc/self/oom_score_adj; pwd"],
    ),
    (
        0,
        &[
            "--device",
            "/dev/null:/dev/other:r",
            "--device-cgroup-rule",
            "c 10:200 rwm",
        ],
        &[
            "sh",
            "-c",
            "cat /sys/fs/cgroup/devices/devices.list | sort; ls -l /dev/other | cut -c1-10; echo x > /dev/other",
        ],
    ),
    (
        0,
        &[
            "--memory",
            "64m",
            "--memory-swap",
            "64m",
            "--pids-limit",
            "33",
            "--cpus",
            "0.5",
            "--cpu-shares",
            "512",
        ],
        &[
            "sh",
            "-c",
            "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us cpu/cpu.shares",
        ],
    ),
    (
        0,
        &["--network", "none", "--ipc", "none"],
        &["sh", "-c", "ls /sys/class/net; ls -d /dev/shm || true"],
    ),
    (
        0,
        &["--cgroupns", "private"],
        &["sh", "-c", "cut -d: -f3 /proc/self/cgroup | sort -u"],
    ),
    (125, &["--cap-add", "nonsense"], &["true"]),
    (125, &["--sysctl", "kernel.nonsense=1"], &["true"]),
    (127, &["--sysctl", "net.nonsense=1"], &["true"]),
    (125, &["-w", "/etc/passwd"], &["true"]),
];

#[test]
fn runs_end_as_with_runc() {
    let d = dockerd();
    let mut wrong = Vec::new();
    for (code, flags, command) in RUNS {
        let run = |runtime: &str| {
            let line = ["run", "--rm", "--runtime", runtime]
                .into_iter()
                .chain(flags.iter().copied());
            let said = call(
                &d,
                &line
                    .chain(["busybox"])
                    .chain(command.iter().copied())
                    .collect::<Vec<_>>(),
            );
            (said.code, said.stdout, said.stderr)
        };
        let (ours, theirs) = (run("runc-rs"), run("runc"));
        if (*code != ANY && ours.0 != *code) || ours != theirs {
            wrong.push(format!(
                "{flags:?} {command:?}: expected {code}\n ours {ours:#?}\n runc {theirs:#?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    d.finish();
}

/// Arguments of `docker exec` up to the container, and from it on.
const EXECS: &[(&[&str], &[&str])] = &[
    (&[], &["sh", "-c", "echo out; echo err >&2; exit 9"]),
    (&[], &["sh", "-c", STATUS]),
    (&["-u", "app"], &["sh", "-c", STATUS]),
    (
        &["-u", "5:6", "-e", "A=b", "-w", "/etc"],
        &["sh", "-c", "id; pwd; echo $A"],
    ),
    (&["-u", "nobody"], &["true"]),
    (&["--privileged"], &["sh", "-c", STATUS]),
    (&["-t"], &["tty"]),
    (&["-w", "/nonsense"], &["true"]),
    (&[], &["nonsense"]),
    (&[], &["/nonsense"]),
    (&[], &["/etc/passwd"]),
    (&[], &["/etc"]),
];

#[test]
fn execs_end_as_with_runc() {
    let d = dockerd();
    for runtime in ["runc-rs", "runc"] {
        let run = ["run", "-d", "--runtime", runtime, "--name", runtime];
        d.ok(run.iter().chain(&["--cap-drop", "CHOWN", "busybox", "sleep", "1000"]));
    }
    let mut wrong = Vec::new();
    for (flags, command) in EXECS {
        let exec = |container: &'static str| {
            let line = ["exec"].into_iter().chain(flags.iter().copied()).chain([container]);
            let said = call(&d, &line.chain(command.iter().copied()).collect::<Vec<_>>());
            (said.code, said.stdout, said.stderr)
        };
        let (ours, theirs) = (exec("runc-rs"), exec("runc"));
        if ours != theirs {
            wrong.push(format!("{flags:?} {command:?}:\n ours {ours:#?}\n runc {theirs:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    d.finish();
}

#[test]
fn a_container_is_paused_updated_and_measured() {
    let d = dockerd();
    start(&d, &["--memory", "64m"]);
    let mut pty = Pty::spawn(d.docker(["exec", "-it", "box", "sh"]), 33, 99);
    pty.expect("# ");
    pty.send("while [ \"$(stty size)\" != '33 99' ]; do sleep 0.1; done; echo si''zed; tty\n");
    pty.expect("sized\r\n/dev/pts/");
    pty.send("exit 4\n");
    assert_eq!(pty.wait().0, 4);

    d.ok(["pause", "box"]);
    assert_eq!(d.ok(["inspect", "-f", "{{.State.Status}}", "box"]), "paused");
    assert!(call(&d, &["exec", "box", "true"]).stderr.contains("is paused"));
    d.ok(["unpause", "box"]);
    assert_eq!(call(&d, &["exec", "box", "true"]).code, 0);

    d.ok([
        "update",
        "--memory",
        "32m",
        "--memory-swap",
        "48m",
        "--cpus",
        "0.25",
        "--pids-limit",
        "55",
        "--cpu-shares",
        "77",
        "--cpuset-cpus",
        "0",
        "box",
    ]);
    let files = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max cpu/cpu.shares cpuset/cpuset.cpus";
    assert_eq!(
        d.ok(["exec", "box", "sh", "-c", files]),
        "33554432\n50331648\n25000\n55\n77\n0"
    );
    // More than may be with the swap: refused, and nothing changed.
    assert!(call(&d, &["update", "--memory", "640m", "box"]).code != 0);

    let stats: serde_json::Value =
        serde_json::from_str(&d.ok(["stats", "--no-stream", "--format", "{{json .}}", "box"])).unwrap();
    assert_eq!(
        (stats["PIDs"].as_str(), stats["Name"].as_str()),
        (Some("1"), Some("box"))
    );
    let memory = stats["MemUsage"].as_str().unwrap();
    assert!(memory.ends_with("/ 32MiB") && !memory.starts_with("0B"), "{stats}");
    assert!(d.ok(["top", "box"]).contains("sleep 1000"));
    let update = d.ok(["exec", "-d", "box", "touch", "/touched"]);
    assert_eq!(update, "");
    wait_until("the file", || call(&d, &["exec", "box", "ls", "/touched"]).code == 0);
    d.ok(["kill", "-s", "KILL", "box"]);
    assert_eq!(d.ok(["wait", "box"]), "137");
    d.ok(["restart", "box"]);
    d.ok(["stop", "-t", "1", "box"]);
    assert_eq!(d.ok(["inspect", "-f", "{{.State.ExitCode}}", "box"]), "137");
    d.finish();
}

#[test]
fn a_container_may_share_what_another_has() {
    let d = dockerd();
    start(&d, &["--ipc", "shareable", "--hostname", "shared"]);
    let link = |name: &str| format!("readlink /proc/self/ns/{name}");
    for (flag, namespace) in [("--pid", "pid"), ("--network", "net"), ("--ipc", "ipc")] {
        let seen = d.ok([
            "run",
            "--rm",
            flag,
            "container:box",
            "busybox",
            "sh",
            "-c",
            &link(namespace),
        ]);
        assert_eq!(seen, d.ok(["exec", "box", "sh", "-c", &link(namespace)]), "{namespace}");
    }
    let host = |name: &str| {
        std::fs::read_link(format!("/proc/self/ns/{name}"))
            .unwrap()
            .display()
            .to_string()
    };
    for (flag, namespace) in [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts")] {
        let seen = d.ok(["run", "--rm", flag, "host", "busybox", "sh", "-c", &link(namespace)]);
        assert_eq!(seen, host(namespace), "{namespace}");
        assert_ne!(d.ok(["exec", "box", "sh", "-c", &link(namespace)]), host(namespace));
    }
    d.finish();
}

#[test]
fn too_much_memory_is_the_end_and_is_told() {
    let d = dockerd();
    // The program's child has the memory, so that its end alone would not be the container's.
    let eat = "tail /dev/zero; echo $?";
    assert_eq!(
        d.ok([
            "run",
            "--name",
            "eater",
            "--memory",
            "16m",
            "--memory-swap",
            "16m",
            "busybox",
            "sh",
            "-c",
            eat
        ]),
        "137"
    );
    assert_eq!(
        call(
            &d,
            &[
                "run",
                "--name",
                "box",
                "--memory",
                "16m",
                "--memory-swap",
                "16m",
                "busybox",
                "tail",
                "/dev/zero"
            ]
        )
        .code,
        137
    );
    assert_eq!(
        d.ok(["inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", "box"]),
        "true 137"
    );
    d.finish();
}

#[test]
fn health_is_asked_for_and_logs_are_read() {
    let d = dockerd();
    let health = [
        "--health-cmd",
        "test -e /well",
        "--health-interval",
        "300ms",
        "--health-retries",
        "2",
    ];
    let script = "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.05; done";
    let run = ["run", "-d", "--name", "box"].iter().chain(&health);
    d.ok(run.chain(&["busybox", "sh", "-c", script]));
    let state = || d.ok(["inspect", "-f", "{{.State.Health.Status}}", "box"]);
    wait_until("sickness", || state() == "unhealthy");
    d.ok(["exec", "box", "touch", "/well"]);
    wait_until("health", || state() == "healthy");
    d.ok(["stop", "-t", "0", "box"]);
    let log = d.ok(["logs", "box"]);
    assert!(
        log.lines()
            .enumerate()
            .all(|(number, line)| line == format!("line {number}")),
        "{log}"
    );
    d.finish();
}

#[test]
fn twenty_at_once_leave_nothing() {
    let d = dockerd();
    std::thread::scope(|scope| {
        for number in 0..20 {
            let d = &d;
            scope.spawn(move || {
                let text = number.to_string();
                assert_eq!(d.ok(["run", "--rm", "busybox", "echo", &text]), text);
            });
        }
    });
    assert_eq!(d.ok(["ps", "-aq"]), "");
    let left = std::fs::read_dir(d.directory().join("exec/runtime-runc-rs/moby")).map(Iterator::count);
    assert_eq!(left.unwrap_or(0), 0, "the runtime's records");
    d.finish();
}

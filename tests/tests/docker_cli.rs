//! A day of the real `docker` CLI: pull, run, publish, attach, exec, stop, and every common flag of `run`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

use engine_tests::daemon::{Daemon, Manager, fetch, wait_until};
use engine_tests::image_tars::{PAGE, busybox_tar, nginx_tar};
use engine_tests::pty::Pty;
use engine_tests::registry::Registry;

macro_rules! over_each {
    ($($name:ident),* $(,)?) => {
        mod embedded { $( #[test] fn $name() { super::$name(super::Manager::Embedded); } )* }
        mod ours { $( #[test] fn $name() { super::$name(super::Manager::Ours); } )* }
        mod debian { $( #[test] fn $name() { super::$name(super::Manager::Debian); } )* }
    };
}

over_each!(
    nginx_is_pulled_run_published_and_stopped,
    exit_codes_are_dockers,
    a_hundred_mebibytes_go_in_and_come_back,
    flags_of_run_arrive,
    exec_has_a_terminal,
    logs_are_followed_and_cut,
    restart_policies_are_carried_out,
    names_and_states_conflict_in_dockers_words,
    volumes_keep_and_share_data,
    two_hundred_runs_leave_nothing,
);

fn with_busybox(manager: Manager) -> Daemon {
    let daemon = Daemon::start_with(manager, &[]);
    let tar = busybox_tar(daemon.directory());
    daemon.ok(["load", "-q", "-i", tar.to_str().unwrap()]);
    daemon
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn nginx_is_pulled_run_published_and_stopped(manager: Manager) {
    let d = Daemon::start_with(manager, &[]);
    let registry = Registry::start(&d);
    registry.push(&nginx_tar(d.directory()), "web:latest");
    let image = format!("{}/web", registry.host);
    // Not there yet: `run` pulls it.
    d.ok(["run", "-d", "--name", "web", "-p", "127.0.0.1:8080:80", &image]);
    wait_until("the page", || fetch(&d, "127.0.0.1:8080") == PAGE);
    assert_eq!(d.ok(["port", "web"]), "80/tcp -> 127.0.0.1:8080");
    assert!(d.ok(["ps", "--filter", "name=web"]).contains("127.0.0.1:8080->80/tcp"));
    wait_until("the log line", || d.ok(["logs", "web"]).contains("GET / HTTP/1.1"));
    let taken = d.output(["run", "--rm", "-p", "127.0.0.1:8080:80", &image]);
    assert_eq!(taken.status.code(), Some(125));
    assert!(
        stderr(&taken).contains("Bind for 127.0.0.1:8080 failed: port is already allocated"),
        "{}",
        stderr(&taken)
    );
    d.ok(["stop", "-t", "30", "web"]);
    assert_eq!(
        d.ok(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "web"]),
        "exited 0"
    );
    d.ok(["start", "web"]);
    wait_until("the page again", || fetch(&d, "127.0.0.1:8080") == PAGE);
    drop(registry);
    d.finish();
}

fn exit_codes_are_dockers(manager: Manager) {
    let d = with_busybox(manager);
    let code = |args: &[&str]| d.output(args).status.code().unwrap();
    assert_eq!(code(&["run", "--rm", "busybox", "true"]), 0);
    assert_eq!(code(&["run", "--rm", "busybox", "false"]), 1);
    assert_eq!(code(&["run", "--rm", "--nonsense", "busybox", "true"]), 125);
    assert_eq!(code(&["run", "--rm", "--memory", "1k", "busybox", "true"]), 125);
    assert_eq!(code(&["run", "--rm", "busybox", "/etc/passwd"]), 126);
    assert_eq!(code(&["run", "--rm", "busybox", "nonsense"]), 127);
    let killed = ["run", "--rm", "--name", "shot", "busybox", "sleep", "1000"];
    std::thread::scope(|scope| {
        let run = scope.spawn(|| code(&killed));
        wait_until("a container", || d.output(["kill", "shot"]).status.success());
        assert_eq!(run.join().unwrap(), 137);
    });
    let missing = d.output(["run", "--rm", "127.0.0.1:1/none", "true"]);
    assert_eq!(missing.status.code(), Some(125));
    assert!(stderr(&missing).contains("Unable to find image '127.0.0.1:1/none:latest' locally"));
    d.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    assert_eq!(code(&["exec", "box", "sh", "-c", "exit 9"]), 9);
    assert_eq!(code(&["exec", "box", "nonsense"]), 127);
    assert_eq!(code(&["kill", "box"]), 0);
    assert_eq!(d.ok(["wait", "box"]), "137");
    assert!(stderr(&d.output(["exec", "box", "true"])).contains("is not running"));
    d.finish();
}

fn a_hundred_mebibytes_go_in_and_come_back(manager: Manager) {
    let d = with_busybox(manager);
    let mut sent = vec![0; 100 << 20];
    File::open("/dev/urandom").unwrap().read_exact(&mut sent).unwrap();
    let mut run = d.docker(["run", "--rm", "-i", "--log-driver", "none", "busybox", "cat"]);
    let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        stdin.write_all(&sent).unwrap();
        sent
    });
    let mut got = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut got).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let sent = writer.join().unwrap();
    assert!(sent == got, "{} bytes of {} came back", got.len(), sent.len());
    d.finish();
}

fn flags_of_run_arrive(manager: Manager) {
    let d = with_busybox(manager);
    let run = |flags: &[&str], script: &str| {
        d.ok(["run", "--rm"]
            .iter()
            .chain(flags)
            .chain(&["busybox", "sh", "-c", script])
            .copied())
    };
    let host = d.directory().join("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::set_permissions(&host, std::fs::Permissions::from_mode(0o777)).unwrap();
    let bind = format!("{}:/mnt", host.display());
    run(&["-v", &bind], "echo from inside > /mnt/file");
    assert_eq!(std::fs::read_to_string(host.join("file")).unwrap(), "from inside\n");
    assert_eq!(
        run(
            &["-v", &format!("{bind}:ro")],
            "touch /mnt/x 2>/dev/null || echo refused"
        ),
        "refused"
    );
    assert_eq!(run(&["-e", "A=b c"], "echo $A"), "b c");
    assert_eq!(run(&["-w", "/made/here"], "pwd"), "/made/here");
    assert_eq!(
        run(&["-u", "app"], "id"),
        "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)"
    );
    assert_eq!(run(&["-u", "5:6"], "id -u; id -g"), "5\n6");
    assert_eq!(run(&["--hostname", "box"], "hostname; cat /etc/hostname"), "box\nbox");
    let v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let limits = if v2 {
        "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; cut -d' ' -f1 /sys/fs/cgroup/cpu.max"
    } else {
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us"
    };
    assert_eq!(
        run(&["--memory", "64m", "--pids-limit", "33", "--cpus", "0.5"], limits),
        "67108864\n33\n50000"
    );
    assert_eq!(run(&["--read-only"], "touch /x 2>/dev/null || echo refused"), "refused");
    assert_eq!(
        run(
            &["--read-only", "--tmpfs", "/t:size=1m"],
            "touch /t/x; grep -c ' /t tmpfs.*size=1024k' /proc/mounts"
        ),
        "1"
    );
    assert_eq!(
        run(&["--cap-drop", "ALL"], "grep CapBnd /proc/self/status | cut -f2"),
        "0000000000000000"
    );
    assert_eq!(
        run(
            &["--cap-drop", "ALL", "--cap-add", "CHOWN"],
            "grep CapBnd /proc/self/status | cut -f2"
        ),
        "0000000000000001"
    );
    assert_eq!(
        run(
            &["--shm-size", "2m"],
            "grep -c ' /dev/shm tmpfs.*size=2048k' /proc/mounts"
        ),
        "1"
    );
    assert_eq!(
        run(&["--add-host", "other:10.1.2.3"], "grep other /etc/hosts"),
        "10.1.2.3\tother"
    );
    assert_eq!(
        run(&["--ulimit", "nofile=100:200"], "ulimit -n; ulimit -Hn"),
        "100\n200"
    );
    assert_eq!(run(&["--entrypoint", "echo"], "x"), "sh -c x");
    d.finish();
}

/// A pty of ours as the client's terminal.
fn exec_has_a_terminal(manager: Manager) {
    let d = with_busybox(manager);
    d.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let mut pty = Pty::spawn(d.docker(["exec", "-it", "box", "sh"]), 33, 99);
    pty.expect("# ");
    pty.send("echo $((6*7)); tty\n");
    pty.expect("42\r\n/dev/pts/");
    // The client tells the size when it has started, which may be after the shell.
    pty.send("while [ \"$(stty size)\" != '33 99' ]; do sleep 0.1; done; echo si''zed\n");
    pty.expect("sized");
    pty.send("exit 4\n");
    assert_eq!(pty.wait().0, 4);
    d.finish();
}

fn logs_are_followed_and_cut(manager: Manager) {
    let d = with_busybox(manager);
    let script = "for i in $(seq 1 50); do echo out $i; echo err $i >&2; sleep 0.02; done";
    d.ok(["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    let followed = d.output(["logs", "-f", "box"]);
    let lines = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        lines(&followed.stdout),
        (1..=50).map(|n| format!("out {n}")).collect::<Vec<_>>()
    );
    assert_eq!(
        lines(&followed.stderr),
        (1..=50).map(|n| format!("err {n}")).collect::<Vec<_>>()
    );
    let tail = d.output(["logs", "--tail", "4", "box"]);
    assert_eq!(lines(&tail.stdout).len() + lines(&tail.stderr).len(), 4);
    let stamped = d.output(["logs", "-t", "box"]);
    let stamps: Vec<String> = lines(&stamped.stdout)
        .iter()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    let since = d.output(["logs", "--since", &stamps[29], "box"]);
    assert_eq!(lines(&since.stdout).first().map(String::as_str), Some("out 30"));
    d.ok([
        "run",
        "--name",
        "cut",
        "--log-opt",
        "max-size=2k",
        "--log-opt",
        "max-file=3",
        "busybox",
        "seq",
        "1",
        "500",
    ]);
    let kept = lines(&d.output(["logs", "cut"]).stdout);
    assert_eq!(kept.last().map(String::as_str), Some("500"));
    assert!(kept.len() < 500 && !kept.is_empty(), "{} lines", kept.len());
    d.finish();
}

fn restart_policies_are_carried_out(manager: Manager) {
    let d = with_busybox(manager);
    let inspect = |name: &str| {
        d.ok([
            "inspect",
            "-f",
            "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}",
            name,
        ])
    };
    d.ok([
        "run",
        "-d",
        "--name",
        "failing",
        "--restart",
        "on-failure:2",
        "busybox",
        "sh",
        "-c",
        "exit 7",
    ]);
    wait_until("the second restart", || inspect("failing") == "2 exited 7");
    d.ok([
        "run",
        "-d",
        "--name",
        "always",
        "--restart",
        "always",
        "busybox",
        "sh",
        "-c",
        "sleep 0.1",
    ]);
    wait_until("some restarts", || {
        inspect("always")
            .split(' ')
            .next()
            .is_some_and(|count| count.parse::<u32>().unwrap() > 1)
    });
    d.ok(["stop", "-t", "1", "always"]);
    assert!(inspect("always").contains("exited"));
    d.finish();
}

fn names_and_states_conflict_in_dockers_words(manager: Manager) {
    let d = with_busybox(manager);
    let id = d.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let fails = |args: &[&str]| {
        let output = d.output(args);
        assert!(!output.status.success(), "{args:?} succeeded");
        stderr(&output)
    };
    let conflict = format!(
        "Conflict. The container name \"/box\" is already in use by container \"{id}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    );
    assert!(fails(&["create", "--name", "box", "busybox"]).contains(&conflict));
    assert!(fails(&["rm", "box"]).contains("container is running: stop the container before removing or force remove"));
    assert!(fails(&["inspect", "nobody"]).contains("No such object: nobody"));
    assert!(fails(&["start", "nobody"]).contains("No such container: nobody"));
    d.ok(["pause", "box"]);
    assert!(fails(&["exec", "box", "true"]).contains("is paused"));
    assert!(d.ok(["ps"]).contains("(Paused)"));
    d.ok(["unpause", "box"]);
    d.ok(["rename", "box", "other"]);
    assert_eq!(d.ok(["ps", "--format", "{{.Names}}"]), "other");
    assert_eq!(d.ok(["ps", "-q", "--no-trunc"]), id);
    d.finish();
}

fn volumes_keep_and_share_data(manager: Manager) {
    let d = with_busybox(manager);
    d.ok([
        "run",
        "--rm",
        "-v",
        "data:/data",
        "busybox",
        "sh",
        "-c",
        "echo kept > /data/file",
    ]);
    assert_eq!(
        d.ok(["run", "--rm", "-v", "data:/data:ro", "busybox", "cat", "/data/file"]),
        "kept"
    );
    // What the image has at the place of an empty volume is copied into it.
    assert_eq!(
        d.ok(["run", "--rm", "-v", "etc:/etc", "busybox", "cat", "/etc/group"])
            .lines()
            .count(),
        3
    );
    d.ok([
        "run",
        "-d",
        "--name",
        "box",
        "-v",
        "/anonymous",
        "-v",
        "data:/data",
        "busybox",
        "sleep",
        "1000",
    ]);
    assert!(stderr(&d.output(["volume", "rm", "data"])).contains("volume is in use"));
    assert_eq!(d.ok(["volume", "ls", "-q"]).lines().count(), 3);
    d.ok(["rm", "-f", "-v", "box"]);
    assert_eq!(d.ok(["volume", "ls", "-q"]), "data\netc");
    d.ok(["volume", "rm", "data", "etc"]);
    let missing = d.output([
        "run",
        "--rm",
        "--mount",
        "type=bind,src=/nonexistent,dst=/x",
        "busybox",
        "true",
    ]);
    assert!(stderr(&missing).contains("bind source path does not exist: /nonexistent"));
    d.finish();
}

fn two_hundred_runs_leave_nothing(manager: Manager) {
    let d = with_busybox(manager);
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let d = &d;
            scope.spawn(move || {
                for run in 0..25 {
                    let text = format!("{worker}-{run}");
                    assert_eq!(d.ok(["run", "--rm", "busybox", "echo", &text]), text);
                }
            });
        }
    });
    assert_eq!(d.ok(["ps", "-aq"]), "");
    d.finish();
}

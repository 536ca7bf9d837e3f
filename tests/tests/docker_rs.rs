//! `docker-rs`, our client, over our engine and over Debian's: outputs, errors and exit codes beside those of the `docker` command.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;
use std::process::Stdio;

use engine_tests::bundle::{Said, say};
use engine_tests::daemon::{Daemon, Engine, wait_until};
use engine_tests::image_tars::{busybox_tar, image_tar};
use engine_tests::programs::ours;
use engine_tests::pty::Pty;
use engine_tests::registry::Registry;

macro_rules! over_both {
    ($($name:ident),* $(,)?) => {
        mod ours { $( #[test] fn $name() { super::$name(super::Engine::Ours); } )* }
        mod debian { $( #[test] fn $name() { super::$name(super::Engine::Debian); } )* }
    };
}

over_both!(
    a_run_ends_as_dockers_does,
    a_container_is_listed_read_entered_stopped_and_removed,
    streams_are_kept_apart_and_standard_input_arrives,
    images_are_pulled_listed_and_removed,
    a_terminal_is_ours_while_it_runs,
    the_engine_and_the_client_say_who_they_are,
);

struct Both {
    d: Daemon,
}

impl Both {
    fn start(engine: Engine) -> Self {
        let d = Daemon::start_of(engine, &[]);
        let tar = busybox_tar(d.directory());
        let both = Self { d };
        let loaded = both.ours(&["load", "-i", tar.to_str().unwrap()]).ok();
        assert_eq!(loaded, "Loaded image: busybox:latest\n");
        both
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        self.d.client(&ours("docker-rs"), args)
    }

    fn ours(&self, args: &[&str]) -> Said {
        say(&mut self.command(args))
    }

    fn docker(&self, args: &[&str]) -> Said {
        say(&mut self.d.docker(args))
    }

    /// Both clients must end alike and print the same; on standard error, what `docker` says of the engine's error must be said by ours.
    fn same(&self, args: &[&str]) -> Said {
        let (ours, docker) = (self.ours(args), self.docker(args));
        assert_eq!(
            (ours.code, &ours.stdout),
            (docker.code, &docker.stdout),
            "{args:?}: {} / {}",
            ours.stderr,
            docker.stderr
        );
        if let Some(error) = docker.stderr.lines().find(|line| line.contains("Error")) {
            let error = error.trim_start_matches("docker: ").trim_end_matches('.');
            assert!(
                ours.stderr.contains(error),
                "{args:?}: {error} is not in {}",
                ours.stderr
            );
        }
        ours
    }

    fn finish(self) {
        self.d.finish();
    }
}

/// What `run --rm` is told, and how it must end.
const RUNS: &[(i32, &[&str])] = &[
    (0, &["busybox", "echo", "hello"]),
    (1, &["busybox", "false"]),
    (42, &["busybox", "sh", "-c", "exit 42"]),
    (126, &["busybox", "/etc/passwd"]),
    (127, &["busybox", "nonsense"]),
    (125, &["--memory", "1k", "busybox", "true"]),
    (125, &["--memory", "nonsense", "busybox", "true"]),
    (125, &["--nonsense", "busybox", "true"]),
    (125, &["--runtime", "nonsense", "busybox", "true"]),
    (125, &["127.0.0.1:1/none", "true"]),
    (
        0,
        &["-e", "A=b c", "-e", "PATH", "busybox", "sh", "-c", "echo $A $PATH"],
    ),
    (0, &["-w", "/made/here", "-u", "app", "busybox", "sh", "-c", "pwd; id"]),
    (0, &["--hostname", "box", "--network", "none", "busybox", "hostname"]),
    (
        0,
        &[
            "--read-only",
            "--tmpfs",
            "/t:size=1m",
            "busybox",
            "sh",
            "-c",
            "touch /x; touch /t/x && grep -o ' /t tmpfs.*size=1024k' /proc/mounts",
        ],
    ),
    (
        0,
        &[
            "--cap-drop",
            "ALL",
            "--cap-add",
            "CHOWN",
            "busybox",
            "grep",
            "CapBnd",
            "/proc/self/status",
        ],
    ),
    (
        0,
        &[
            "--entrypoint",
            "echo",
            "-l",
            "a=b",
            "--cpus",
            "0.5",
            "--pids-limit",
            "44",
            "busybox",
            "x",
        ],
    ),
];

fn a_run_ends_as_dockers_does(engine: Engine) {
    let both = Both::start(engine);
    let volume = both.d.directory().join("volume");
    std::fs::create_dir(&volume).unwrap();
    let bind = format!("{}:/volume", volume.display());
    let write = ["-v", &bind, "busybox", "sh", "-c", "echo x >> /volume/file"];
    for (code, args) in RUNS.iter().copied().chain([(0, write.as_slice())]) {
        let line: Vec<&str> = ["run", "--rm"].iter().chain(args).copied().collect();
        assert_eq!(both.same(&line).code, code, "{args:?}");
    }
    assert_eq!(std::fs::read_to_string(volume.join("file")).unwrap(), "x\nx\n");
    std::thread::scope(|scope| {
        let shot = scope.spawn(|| both.ours(&["run", "--rm", "--name", "shot", "busybox", "sleep", "1000"]));
        wait_until("a container", || both.docker(&["kill", "shot"]).code == 0);
        assert_eq!(shot.join().unwrap().code, 137);
    });
    // All of them were to be removed.
    wait_until("the end of all", || both.ours(&["ps", "-aq"]).ok().is_empty());
    let kept = both.ours(&[
        "run",
        "-d",
        "--name",
        "kept",
        "-l",
        "a=b",
        "--restart",
        "on-failure:1",
        "busybox",
        "true",
    ]);
    let kept = kept.ok();
    let shown = "{{.Id}} {{.Config.Labels.a}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}";
    let expected = format!("{} b on-failure 1", kept.trim());
    assert_eq!(both.d.ok(["inspect", "-f", shown, "kept"]), expected);
    assert_eq!(both.same(&["run", "--name", "kept", "busybox"]).code, 125);
    both.finish();
}

/// What is asked of a container `box` that runs, and of one that is not there.
const ASKED: &[&[&str]] = &[
    &["ps", "-q"],
    &["ps", "--no-trunc", "-q"],
    &["ps", "-q", "--filter", "name=box"],
    &["ps", "-q", "--filter", "name=other"],
    &["logs", "box"],
    &["logs", "-n", "2", "box"],
    &["logs", "--tail", "0", "-t", "box"],
    &["logs", "nobody"],
    &["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 9"],
    &[
        "exec",
        "-u",
        "app",
        "-w",
        "/etc",
        "-e",
        "A=b",
        "box",
        "sh",
        "-c",
        "id -un; pwd; echo $A",
    ],
    &["exec", "box", "nonsense"],
    &["exec", "nobody", "true"],
    &["rm", "box"],
    &["rm", "nobody"],
    &["stop", "nobody"],
    &["ps", "--filter", "nonsense"],
    &["ps", "--nonsense"],
];

fn a_container_is_listed_read_entered_stopped_and_removed(engine: Engine) {
    let both = Both::start(engine);
    let script =
        "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done; trap 'exit 3' TERM; while :; do sleep 0.1; done";
    let run = [
        "run",
        "-d",
        "--name",
        "box",
        "-p",
        "127.0.0.1:8080:80",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    let id = both.ours(&run).ok().trim().to_owned();
    wait_until("the last line", || {
        both.docker(&["logs", "box"]).stderr.contains("err 5")
    });
    for args in ASKED {
        both.same(args);
    }
    assert_eq!(both.ours(&["exec", "box", "sh", "-c", "exit 9"]).code, 9);
    assert_eq!(both.ours(&["exec", "-d", "box", "touch", "/touched"]).ok(), "");
    wait_until("the file", || both.ours(&["exec", "box", "ls", "/touched"]).code == 0);
    let words = |said: Said| {
        let table = said.ok();
        let split = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        table.lines().map(split).collect::<Vec<_>>()
    };
    assert_eq!(
        words(both.ours(&["ps", "--no-trunc"])),
        words(both.docker(&["ps", "--no-trunc"]))
    );
    let stamped = both.same(&["logs", "-t", "-n", "1", "box"]);
    assert!(
        stamped.stdout.ends_with("Z out 5\n") || stamped.stderr.ends_with("Z err 5\n"),
        "{stamped:?}"
    );
    let followed = std::thread::scope(|scope| {
        let followed = scope.spawn(|| both.ours(&["logs", "-f", "box"]));
        assert_eq!(both.ours(&["stop", "-t", "30", "box"]).ok(), "box\n");
        followed.join().unwrap()
    });
    assert_eq!(
        (
            followed.code,
            followed.stdout.lines().count(),
            followed.stderr.lines().count()
        ),
        (0, 5, 5)
    );
    assert_eq!(both.d.ok(["inspect", "-f", "{{.State.ExitCode}}", "box"]), "3");
    let (code, mixed) = {
        let said = both.ours(&["rm", "nobody", "box"]);
        (said.code, (said.stdout, said.stderr))
    };
    assert_eq!(
        (code, mixed.0.as_str()),
        (1, "box\n"),
        "one that is missing keeps no other from its end"
    );
    assert!(mixed.1.contains("No such container: nobody"));
    assert!(both.docker(&["inspect", &id]).code != 0);
    let forced = both
        .ours(&["run", "-d", "-v", "/anonymous", "busybox", "sleep", "1000"])
        .ok();
    let forced = forced.trim();
    assert_eq!(both.ours(&["rm", "-f", "-v", forced]).ok(), format!("{forced}\n"));
    assert_eq!(both.docker(&["volume", "ls", "-q"]).ok(), "");
    both.finish();
}

fn streams_are_kept_apart_and_standard_input_arrives(engine: Engine) {
    let both = Both::start(engine);
    let split = both.same(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((split.stdout.as_str(), split.stderr.as_str()), ("out\n", "err\n"));
    let sent: Vec<u8> = (0..10 << 20)
        .map(|n: u32| n.wrapping_mul(2_654_435_761).to_le_bytes()[2])
        .collect();
    let sent = &sent;
    let through = |args: &[&str]| {
        let mut command = both.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(sent));
            let output = child.wait_with_output().unwrap();
            assert!(
                output.status.success() && &output.stdout == sent,
                "{args:?}: {} bytes",
                output.stdout.len()
            );
        });
    };
    through(&["run", "--rm", "-i", "busybox", "cat"]);
    both.ours(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])
        .ok();
    through(&["exec", "-i", "box", "cat"]);
    // A signal to the client is the container's.
    let script = "trap 'echo got it; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = both.command(&["run", "--rm", "--name", "told", "busybox", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    wait_until("the container", || {
        both.docker(&["logs", "told"]).stdout.contains("ready")
    });
    say(std::process::Command::new("kill").arg(child.id().to_string())).ok();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    both.finish();
}

fn images_are_pulled_listed_and_removed(engine: Engine) {
    let both = Both::start(engine);
    let registry = Registry::start(&both.d);
    let tar = image_tar(
        both.d.directory(),
        "lib:1",
        &serde_json::json!({"Cmd": ["echo", "from the registry"]}),
    );
    for tag in ["lib/box:latest", "lib/box:two", "lib/other:latest"] {
        registry.push(&tar, tag);
    }
    let (name, two) = (
        format!("{}/lib/box", registry.host),
        format!("{}/lib/box:two", registry.host),
    );
    let pulled = both.ours(&["pull", &name]).ok();
    let lines: Vec<&str> = pulled.lines().collect();
    assert_eq!(
        lines[..2],
        ["Using default tag: latest", "latest: Pulling from lib/box"],
        "{pulled}"
    );
    assert!(lines.iter().any(|line| line.ends_with(": Pull complete")), "{pulled}");
    let end = [
        format!("Status: Downloaded newer image for {name}:latest"),
        format!("{name}:latest"),
    ];
    assert_eq!(lines[lines.len() - 2..], end, "{pulled}");
    assert!(lines[lines.len() - 3].starts_with("Digest: sha256:"), "{pulled}");
    both.same(&["pull", &name]);
    assert_eq!(both.same(&["pull", "-q", &two]).stdout, format!("{two}\n"));
    for missing in [
        format!("{name}:none"),
        "127.0.0.1:1/none".to_owned(),
        "Not a Name".to_owned(),
    ] {
        let said = both.same(&["pull", "-q", &missing]);
        assert_eq!(said.code, 1, "{said:?}");
    }
    let other = format!("{}/lib/other", registry.host);
    let said = both.ours(&["run", "--rm", &other]);
    assert!(
        said.stderr.starts_with(&format!("Unable to find image '{other}")),
        "{}",
        said.stderr
    );
    assert_eq!(said.ok(), "from the registry\n");

    let sorted = |said: Said| {
        let text = said.ok();
        let mut lines: Vec<_> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        lines[1..].sort();
        lines
    };
    let columns = |args: &[&str]| (sorted(both.ours(args)), sorted(both.docker(args)));
    let (ours, docker) = columns(&["images", "--no-trunc"]);
    assert_eq!(ours, docker);
    assert_eq!(ours.len(), 5);
    // On a terminal each layer is a bar.
    both.ours(&["rmi", "-f", &name, &two, &other]).ok();
    let mut pty = Pty::spawn(both.command(&["pull", &name]), 30, 120);
    let (code, shown) = pty.wait();
    let drawn = shown.contains("\u{1b}[2K") && shown.contains("Status: Downloaded newer image");
    assert!(code == 0 && drawn, "{shown:?}");

    assert!(
        both.ours(&["rmi", &name])
            .ok()
            .starts_with(&format!("Untagged: {name}:latest\n"))
    );
    both.same(&["rmi", "nothing"]);
    both.ours(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])
        .ok();
    assert_eq!(both.same(&["rmi", "busybox"]).code, 1);
    both.ours(&["rm", "-f", "box"]).ok();
    assert!(both.ours(&["rmi", "busybox"]).ok().contains("Deleted: sha256:"));
    assert_eq!(both.ours(&["images", "-q"]).ok(), "");
    drop(registry);
    both.finish();
}

fn a_terminal_is_ours_while_it_runs(engine: Engine) {
    let both = Both::start(engine);
    let session = |args: &[&str], code: i32| {
        let mut pty = Pty::spawn(both.command(args), 33, 99);
        pty.expect("# ");
        pty.send("echo $((6*7)); tty\n");
        pty.expect("42\r\n/dev/pts/");
        pty.send("while [ \"$(stty size)\" != '33 99' ]; do sleep 0.1; done; echo si''zed\n");
        pty.expect("sized");
        // Not the client, but the program in the container gets it.
        pty.send("sh -c 'echo sl''eeping; exec sleep 1000'\n");
        pty.expect("sleeping");
        pty.send("\u{3}");
        pty.send("echo in''terrupted\n");
        pty.expect("interrupted");
        pty.send(&format!("exit {code}\n"));
        let (ended, shown) = pty.wait();
        assert_eq!(ended, code, "{shown}");
    };
    session(&["run", "--rm", "-it", "busybox"], 4);
    both.ours(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])
        .ok();
    session(&["exec", "-it", "box", "sh"], 5);
    // Without a terminal of its own the client still shows the container's.
    let shown = both.ours(&["run", "--rm", "-t", "busybox", "tty"]).ok();
    assert_eq!(shown, "/dev/pts/0\r\n");
    both.finish();
}

fn the_engine_and_the_client_say_who_they_are(engine: Engine) {
    let both = Both::start(engine);
    let version = both.ours(&["version"]).ok();
    assert!(version.starts_with("Client: docker-rs\n"), "{version}");
    for (key, name) in [
        ("Version", "Version"),
        ("APIVersion", "API version"),
        ("MinAPIVersion", "Minimum API"),
    ] {
        let value = both.d.ok(["version", "-f", &format!("{{{{.Server.{key}}}}}")]);
        let line = format!(" {:<18}{value}\n", format!("{name}:"));
        let server = &version[version.find("Server:").unwrap()..];
        assert!(server.contains(&line), "{line} is not in {version}");
    }
    both.ours(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])
        .ok();
    let info = both.ours(&["info"]).ok();
    for (key, name) in [
        ("Containers", "Containers"),
        ("ContainersRunning", " Running"),
        ("Images", "Images"),
        ("ServerVersion", "Server Version"),
        ("Driver", "Storage Driver"),
        ("LoggingDriver", "Logging Driver"),
        ("DefaultRuntime", "Default Runtime"),
        ("NCPU", "CPUs"),
        ("Name", "Name"),
        ("ID", "ID"),
        ("DockerRootDir", "Docker Root Dir"),
    ] {
        let value = both.d.ok(["info", "-f", &format!("{{{{.{key}}}}}")]);
        let line = format!("{name}: {value}\n");
        assert!(info.contains(&line), "{line} is not in {info}");
    }
    let help = both.ours(&["--help"]);
    assert_eq!(help.code, 0);
    let mut elsewhere = both.command(&["ps"]);
    let said = say(elsewhere.env("DOCKER_HOST", "unix:///nonexistent.sock"));
    assert_eq!(said.code, 1);
    let words = "Cannot connect to the Docker daemon at unix:///nonexistent.sock. Is the docker daemon running?";
    assert!(said.stderr.contains(words), "{}", said.stderr);
    both.finish();
}

//! Debian's buildah with `runc-rs` as its runtime: images built by RUN steps, and containers that it runs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use engine_tests::bundle::{Said, busybox_rootfs, say};
use engine_tests::leftovers::Snapshot;
use engine_tests::programs::{ours, peer};

/// A buildah of the test's own: storage and state in private places.
struct Buildah {
    dir: tempfile::TempDir,
    mark: String,
    before: Snapshot,
}

impl Buildah {
    fn new(name: &str) -> Self {
        let mark = format!("rcbah-{name}-{}", std::process::id());
        let before = Snapshot::take(&mark);
        let dir = tempfile::Builder::new().prefix(&format!("{mark}-")).tempdir().unwrap();
        let own = Self { dir, mark, before };
        busybox_rootfs(&own.path("context/rootfs"));
        own
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn call(&self, args: &[&str]) -> Said {
        let mut command = Command::new(peer("buildah"));
        for (flag, name) in [("--root", "root"), ("--runroot", "run")] {
            command.arg(flag).arg(self.path(name));
        }
        // What a step makes on its way is to be found by its mark.
        command.env("TMPDIR", self.dir.path());
        say(command.args(["--storage-driver", "vfs"]).args(args))
    }

    /// `buildah bud` of a Dockerfile with our runtime.
    fn build(&self, dockerfile: &str, tag: &str) -> Said {
        std::fs::write(self.path("context/Dockerfile"), dockerfile).unwrap();
        let (runtime, context) = (ours("runc-rs"), self.path("context"));
        let parent = format!("/{}", self.mark);
        let mut args = vec![
            "bud",
            "--isolation",
            "oci",
            "--runtime",
            runtime.to_str().unwrap(),
            "--network",
            "none",
        ];
        args.extend(LIMITS);
        args.extend([
            "--cgroup-parent",
            &parent,
            "--memory",
            "64m",
            "--no-cache",
            "-t",
            tag,
            context.to_str().unwrap(),
        ]);
        self.call(&args)
    }

    fn finish(self) {
        self.call(&["rm", "--all"]).ok();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        for line in mounts.lines().filter(|line| line.contains(&self.mark)) {
            // buildah's own storage mounts, not the runtime's.
            say(Command::new("umount").arg(line.split(' ').nth(4).unwrap()));
        }
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            // The parent that we named is ours to remove; what the runtime left in it keeps it.
            let _ = std::fs::remove_dir(hierarchy.path().join(&self.mark));
        }
        drop(self.dir);
        self.before.assert_unchanged(Duration::from_secs(20));
    }
}

/// What the machine lets go through (it has no CAP_SYS_RESOURCE).
const LIMITS: [&str; 4] = ["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=10000:10000"];

#[test]
fn an_image_is_built_by_steps_that_run() {
    let buildah = Buildah::new("bud");
    let steps = "FROM scratch\nCOPY rootfs /\nENV PATH=/bin A=b\nRUN echo $A > /made && ls /proc/self/fd > /fds\n\
        WORKDIR /work/here\nRUN pwd > where; mkdir /own; chown user /own 2>/dev/null || busybox chown user /own\n\
        USER user\nRUN id > /own/who\nRUN [\"/bin/sh\", \"-c\", \"echo exec form > /own/form\"]\n\
        USER root\nRUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes > /limit; grep CapEff /proc/self/status > /caps\n\
        RUN --mount=type=bind,source=rootfs/etc,target=/bound,ro cat /bound/group > /group && ! touch /bound/x 2>/dev/null\n\
        RUN --mount=type=tmpfs,target=/scratch echo x > /scratch/x && test -e /scratch/x\nRUN test ! -e /scratch/x\n";
    let built = buildah.build(steps, "made");
    assert_eq!(built.code, 0, "{}\n{}", built.stdout, built.stderr);
    let container = buildah.call(&["from", "localhost/made"]).ok();
    let root = buildah.call(&["mount", container.trim()]).ok();
    let read = |name: &str| std::fs::read_to_string(PathBuf::from(root.trim()).join(name)).unwrap();
    assert_eq!(read("made"), "b\n");
    // Standard streams and the directory itself: nothing of the host's leaks in.
    assert_eq!(read("fds"), "0\n1\n2\n3\n");
    assert_eq!(read("work/here/where"), "/work/here\n");
    assert!(
        read("own/who").starts_with("uid=1000(user) gid=1000(user)"),
        "{}",
        read("own/who")
    );
    assert_eq!(read("own/form"), "exec form\n");
    assert_eq!(read("limit"), "67108864\n");
    assert_eq!(read("group"), "root:x:0:\nuser:x:1000:\n");
    assert!(!read("caps").contains("0000000000000000"), "{}", read("caps"));
    buildah.call(&["umount", container.trim()]).ok();

    let runtime = ours("runc-rs").display().to_string();
    let run = |program: &[&str]| {
        let mut args = vec![
            "run",
            "--isolation",
            "oci",
            "--runtime",
            &runtime,
            "--network",
            "none",
            container.trim(),
            "--",
        ];
        args.extend(program);
        buildah.call(&args)
    };
    assert_eq!(run(&["/bin/cat", "/own/form"]).ok(), "exec form\n");
    assert_eq!(run(&["/bin/sh", "-c", "exit 42"]).code, 42);
    assert!(run(&["/nope"]).code != 0);
    buildah.finish();
}

#[test]
fn a_step_that_fails_is_told() {
    let buildah = Buildah::new("fail");
    let head = "FROM scratch\nCOPY rootfs /\nENV PATH=/bin\n";
    let failed = buildah.build(&format!("{head}RUN echo so far; exit 7\nRUN touch /never\n"), "failed");
    assert!(failed.code != 0 && failed.stdout.contains("so far"), "{failed:?}");
    assert!(failed.stderr.contains("exit status 7"), "{}", failed.stderr);
    let missing = buildah.build(&format!("{head}RUN [\"/nope\"]\n"), "missing");
    assert!(
        missing.code != 0 && missing.stderr.contains("no such file or directory"),
        "{missing:?}"
    );
    assert_eq!(buildah.call(&["images", "-q", "localhost/failed"]).code, 125);
    buildah.finish();
}

//! `cargo xtask quickstart`, as a person types it: what it prints is done, word by word, and afterwards nothing is left.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use engine_tests::bundle::{Said, say};
use engine_tests::leftovers::Snapshot;
use engine_tests::programs::{ours, peer};

/// A machine's network of the test's own, so that the bridge and the rules of the quickstart meet nobody's.
struct Place {
    mark: String,
    before: Snapshot,
}

impl Place {
    fn new() -> Self {
        let mark = format!("quick{}z", std::process::id());
        let before = Snapshot::take(&mark);
        say(Command::new(peer("ip")).args(["netns", "add", &mark])).ok();
        Self { mark, before }
    }

    fn directory(&self) -> PathBuf {
        PathBuf::from(format!("/tmp/{}", self.mark))
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(peer("nsenter"));
        command.arg(format!("--net=/run/netns/{}", self.mark)).arg("--");
        command.args(line.split_whitespace());
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        command
    }

    fn say(&self, line: &str) -> Said {
        say(&mut self.command(line))
    }

    /// The quickstart with the programs that are built already.
    fn quickstart(&self) -> String {
        let programs = ours("dockerd-rs").parent().unwrap().display().to_string();
        let directory = self.directory().display().to_string();
        self.say(&format!(
            "cargo xtask quickstart --programs {programs} --directory {directory}"
        ))
        .ok()
    }

    /// The real client, pointed where the quickstart said.
    fn docker(&self, host: &str, line: &str) -> String {
        let mut command = self.command(&format!("docker {line}"));
        command.env("DOCKER_HOST", host).env_remove("DOCKER_CONTEXT");
        say(&mut command).ok()
    }

    /// Nothing of the engine may be left: not in the network namespace either, where things carry no mark.
    fn assert_clean(&self) {
        assert!(!self.directory().exists());
        assert_eq!(self.say("nft list ruleset").ok(), "");
        let links = self.say("ip -o link").ok();
        assert_eq!(links.lines().count(), 1, "only lo: {links}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.directory().exists() {
            let log = std::fs::read_to_string(self.directory().join("dockerd-rs.log"));
            eprintln!("{}", log.unwrap_or_default());
            let programs = ours("dockerd-rs").parent().unwrap().display().to_string();
            let directory = self.directory().display().to_string();
            self.say(&format!(
                "cargo xtask quickstart --programs {programs} --directory {directory} --remove"
            ));
        }
        say(Command::new(peer("ip")).args(["netns", "del", &self.mark]));
    }
}

/// The line of a text that begins with this, past its indentation.
fn line<'a>(text: &'a str, begin: &str) -> &'a str {
    let found = text.lines().map(str::trim).find(|line| line.starts_with(begin));
    found.unwrap_or_else(|| panic!("no line begins with {begin:?} in:\n{text}"))
}

/// The pid of a container in the background, and its control groups.
fn start_sleeper(place: &Place, host: &str) -> (String, Vec<PathBuf>) {
    // The image's only program ends at once; one that stays comes from the host.
    let busybox = peer("busybox").display().to_string();
    let run = format!("run -d -v {busybox}:/busybox --entrypoint /busybox hello-world sleep 1000");
    let id = place.docker(host, &run).trim().to_owned();
    let pid = place.docker(host, &format!("inspect -f {{{{.State.Pid}}}} {id}"));
    let pid = pid.trim().to_owned();
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let groups = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let hierarchy = controllers.trim_start_matches("name=");
        let hybrid = Path::new("/sys/fs/cgroup/unified").exists();
        let hierarchy = if hierarchy.is_empty() && hybrid {
            "unified"
        } else {
            hierarchy
        };
        let group = Path::new("/sys/fs/cgroup")
            .join(hierarchy)
            .join(path.trim_start_matches('/'));
        (path.contains(&id) && group.exists()).then_some(group)
    });
    let groups: Vec<_> = groups.collect();
    assert!(!groups.is_empty(), "{text}");
    (pid, groups)
}

#[test]
fn everything_that_it_prints_is_true_and_nothing_is_left() {
    let place = Place::new();
    let said = place.quickstart();
    let text = &said[..said.find("The engine is running").expect("the explanation")];
    assert!(text.contains("Hello from a container."), "{said}");
    let host = line(&said, "export DOCKER_HOST=").trim_start_matches("export DOCKER_HOST=");
    let again = place.docker(host, line(&said, "docker run").trim_start_matches("docker "));
    assert!(text.contains(again.trim()), "{again} is not what the quickstart showed");
    assert!(place.docker(host, "version").contains("Server:"));
    let log = line(&said, "Its log is").trim_start_matches("Its log is ");
    let log = log.split(". ").next().unwrap();
    assert!(Path::new(log).is_file(), "{log}");
    let remove = line(&said, "cargo xtask quickstart");

    let (pid, groups) = start_sleeper(&place, host);
    place.say(remove).ok();
    place.assert_clean();
    assert!(!Path::new(&format!("/proc/{pid}/exe")).exists(), "the container runs");
    let left: Vec<_> = groups.iter().filter(|group| group.exists()).collect();
    assert!(left.is_empty(), "{left:?}");

    // An engine that was killed has left more than a directory.
    let said = place.quickstart();
    let (_, groups) = start_sleeper(&place, host);
    let daemon = std::fs::read_to_string(place.directory().join("dockerd-rs.pid")).unwrap();
    say(Command::new("kill").args(["-KILL", daemon.trim()])).ok();
    place.say(line(&said, "cargo xtask quickstart")).ok();
    place.assert_clean();
    let left: Vec<_> = groups.iter().filter(|group| group.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    // Nothing to remove is no failure.
    place.say(line(&said, "cargo xtask quickstart")).ok();

    say(Command::new(peer("ip")).args(["netns", "del", &place.mark])).ok();
    place.before.assert_unchanged(Duration::from_secs(10));
}

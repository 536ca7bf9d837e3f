//! What may be wrong with a state directory, a cgroup or a first process: the answer says what, other containers are not concerned, and
//! `delete --force` gets rid of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use common::Bundle;
use serde_json::{Value, json};

fn sleeper() -> Bundle {
    let mut bundle = Bundle::new();
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle.write_config();
    bundle
}

fn force(bundle: &Bundle) {
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.assert_no_process_left();
    bundle.assert_nothing_left();
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().unwrap();
    assert!(status.success(), "{program} {args:?}");
}

/// A process that is none of the container's business.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    fn assert_lives(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "the bystander is dead");
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A small tmpfs at the bundle's state directory.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn new(bundle: &Bundle, options: &str) -> Self {
        let place = bundle.state_root();
        fs::create_dir_all(&place).unwrap();
        run(
            "mount",
            &["-t", "tmpfs", "-o", options, "tmpfs", place.to_str().unwrap()],
        );
        Self(place)
    }

    fn remount(&self, options: &str) {
        run(
            "mount",
            &["-o", &format!("remount,{options}"), self.0.to_str().unwrap()],
        );
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn broken_records_concern_nobody_else() {
    let mut good = sleeper();
    good.sleeping();
    let directory = good.state_root().join("broken");
    let record = directory.join("state.json");
    let whole = fs::read(good.state_root().join(&good.id).join("state.json")).unwrap();
    let copy = whole.clone();
    let future = String::from_utf8_lossy(&whole).replace("\"version\":1", "\"version\":99999");
    type Break = Box<dyn Fn(&Path)>;
    let cases: Vec<(&str, Break)> = vec![
        ("empty", Box::new(|path| fs::write(path, "").unwrap())),
        (
            "cut off",
            Box::new(move |path| fs::write(path, &whole[..whole.len() / 2]).unwrap()),
        ),
        ("null", Box::new(|path| fs::write(path, "null").unwrap())),
        ("a list", Box::new(|path| fs::write(path, "[]").unwrap())),
        ("deep", Box::new(|path| fs::write(path, "[".repeat(1 << 20)).unwrap())),
        ("no text", Box::new(|path| fs::write(path, [0xff, 0, 0xfe]).unwrap())),
        (
            "a copy of another one",
            Box::new(move |path| fs::write(path, &copy).unwrap()),
        ),
        ("of the future", Box::new(move |path| fs::write(path, &future).unwrap())),
        (
            "large",
            Box::new(|path| fs::File::create(path).unwrap().set_len(1 << 40).unwrap()),
        ),
        (
            "a directory",
            Box::new(|path| fs::create_dir_all(path.join("deep")).unwrap()),
        ),
        ("a fifo", Box::new(|path| run("mkfifo", &[path.to_str().unwrap()]))),
        ("a link", Box::new(|path| symlink("/etc/passwd", path).unwrap())),
    ];
    for (name, break_it) in cases {
        fs::create_dir_all(&directory).unwrap();
        break_it(&record);
        for args in [
            &["state", "broken"][..],
            &["start", "broken"],
            &["exec", "broken", "true"],
            &["kill", "broken"],
        ] {
            let words = good.call(args).err();
            assert!(words.contains("state.json"), "{name}, {args:?}: {words}");
        }
        let list = good.call(&["list", "-q"]);
        assert_eq!(list.code, 0, "{name}: {}", list.stderr);
        assert_eq!(list.stdout, format!("{}\n", good.id), "{name}");
        assert!(
            list.stderr.contains("load container broken: "),
            "{name}: {}",
            list.stderr
        );
        let words = good.call(&["create", "broken"]).err();
        assert!(
            words.contains("container with given ID already exists"),
            "{name}: {words}"
        );
        good.call(&["delete", "broken"]).err();
        good.call(&["delete", "--force", "broken"]).ok();
        assert!(!directory.exists(), "{name}");
    }
    assert_eq!(good.state()["status"], "running");
    force(&good);
}

/// Changes the container's record.
fn edit(bundle: &Bundle, change: impl FnOnce(&mut Value)) {
    let path = bundle.state_root().join(&bundle.id).join("state.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut record);
    fs::write(&path, record.to_string()).unwrap();
}

#[test]
fn a_record_of_an_unknown_version_still_tells_what_to_end() {
    let mut bundle = sleeper();
    bundle.sleeping();
    edit(&bundle, |record| record["version"] = json!(99));
    let words = bundle.call(&["state", &bundle.id]).err();
    assert!(words.contains("version 99 of the record is not known"), "{words}");
    force(&bundle);
}

#[test]
fn a_reused_process_id_is_somebody_elses() {
    let mut bundle = sleeper();
    let mut bystander = Bystander::new();
    bundle.sleeping();
    let pid = bundle.state()["pid"].as_i64().unwrap();
    bundle.call(&["kill", &bundle.id, "KILL"]).ok();
    bundle.assert_no_process_left();
    assert!(pid > 0);
    edit(&bundle, |record| record["pid"] = json!(bystander.0.id()));
    assert_eq!(bundle.state()["status"], "stopped");
    assert!(
        bundle
            .call(&["kill", &bundle.id, "KILL"])
            .err()
            .contains("container not running")
    );
    assert!(
        bundle
            .exec(&["true"])
            .err()
            .contains("cannot exec in a stopped container")
    );
    force(&bundle);
    bystander.assert_lives();
}

#[test]
fn a_hostile_record_reaches_no_file_outside() {
    let mut bundle = sleeper();
    let victim = tempfile::tempdir().unwrap();
    fs::create_dir_all(victim.path().join("a/b")).unwrap();
    fs::write(victim.path().join("state.json"), "x").unwrap();
    bundle.sleeping();
    let real = bundle.state_root().join(&bundle.id);
    let before = fs::read(real.join("state.json")).unwrap();
    for path in [victim.path().to_str().unwrap(), "/", "/proc", "relative"] {
        edit(&bundle, |record| {
            record["cgroupPaths"] = json!({"devices": path, "": path})
        });
        // Refused, or nobody found.
        bundle.call(&["kill", "--all", &bundle.id, "KILL"]);
        bundle.call(&["delete", "--force", &bundle.id]).ok();
        assert!(victim.path().join("a/b").exists());
        // The cgroup is now nobody's: give it back.
        bundle.create_record(&before);
        force(&bundle);
        bundle.sleeping();
    }
    // A link in the place of a container's directory.
    symlink(victim.path(), bundle.state_root().join("link")).unwrap();
    for args in [
        &["delete", "--force", "link"][..],
        &["delete", "link"],
        &["state", "link"],
        &["start", "link"],
    ] {
        bundle.call(args).err();
    }
    assert!(victim.path().join("state.json").exists());
    assert_eq!(bundle.call(&["list", "-q"]).ok(), format!("{}\n", bundle.id));
    force(&bundle);
}

#[test]
fn a_full_disk_lets_nothing_half_made_behind() {
    let bundle = sleeper();
    let tmpfs = Tmpfs::new(&bundle, "size=1m,nr_inodes=40");
    let filler = tmpfs.0.join(".filler");
    // One page more is free each time: the filter, the record, its second writing meet the end in turn.
    let mut made = false;
    for pages in 0..8_u64 {
        fs::write(&filler, vec![0; (1 << 20) - 4096]).unwrap();
        while fs::OpenOptions::new()
            .append(true)
            .open(&filler)
            .and_then(|mut file| std::io::Write::write_all(&mut file, &[0; 4096]))
            .is_ok()
        {}
        let full = fs::metadata(&filler).unwrap().len() / 4096 * 4096;
        fs::File::options()
            .write(true)
            .open(&filler)
            .unwrap()
            .set_len(full - pages * 4096)
            .unwrap();
        let outcome = bundle.create();
        made = outcome.code == 0;
        if made {
            // On a full disk everything else still works.
            bundle.start().ok();
            assert_eq!(bundle.state()["status"], "running");
            bundle.exec(&["true"]).ok();
            bundle.call(&["delete", "--force", &bundle.id]).ok();
        } else {
            assert!(outcome.stderr.contains("no space left on device"), "{}", outcome.stderr);
        }
        fs::remove_file(&filler).unwrap();
        assert_eq!(fs::read_dir(&tmpfs.0).unwrap().count(), 0, "{pages} pages");
        bundle.assert_no_process_left();
    }
    assert!(made, "eight pages were not enough");
    for inodes in 2..8 {
        tmpfs.remount(&format!("nr_inodes={inodes}"));
        let outcome = bundle.create();
        made = outcome.code == 0;
        assert!(
            made || outcome.stderr.contains("no space left on device"),
            "{}",
            outcome.stderr
        );
        bundle.call(&["delete", "--force", &bundle.id]).ok();
        assert_eq!(fs::read_dir(&tmpfs.0).unwrap().count(), 0, "{inodes} inodes");
        bundle.assert_no_process_left();
    }
    assert!(made, "seven inodes were not enough");
    drop(tmpfs);
    bundle.assert_nothing_left();
}

#[test]
fn a_read_only_state_directory_says_so() {
    let bundle = sleeper();
    let tmpfs = Tmpfs::new(&bundle, "size=1m");
    bundle.create().ok();
    tmpfs.remount("ro");
    let words = bundle.call(&["create", "other"]).err();
    assert!(
        words.contains("mkdir") && words.contains("read-only file system"),
        "{words}"
    );
    bundle.start().ok();
    assert_eq!(bundle.state()["status"], "running");
    assert!(
        bundle
            .start()
            .err()
            .contains("cannot start an already running container")
    );
    bundle.exec(&["true"]).ok();
    let words = bundle.call(&["delete", "--force", &bundle.id]).err();
    assert!(
        words.contains("remove") && words.contains("read-only file system"),
        "{words}"
    );
    assert_eq!(bundle.state()["status"], "stopped");
    tmpfs.remount("rw");
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    drop(tmpfs);
    bundle.assert_nothing_left();
}

#[test]
fn a_cgroup_that_is_in_use_is_named_and_force_empties_it() {
    let mut bundle = sleeper();
    bundle.sleeping();
    let mut squatter = Bystander::new();
    let inner = format!("/sys/fs/cgroup/pids/{}/inner", bundle.id);
    fs::create_dir(&inner).unwrap();
    fs::write(format!("{inner}/cgroup.procs"), squatter.0.id().to_string()).unwrap();
    bundle.call(&["kill", &bundle.id, "KILL"]).ok();
    while bundle.state()["status"] != "stopped" {}
    let words = bundle.call(&["delete", &bundle.id]).err();
    assert!(words.contains(&format!("pids/{}", bundle.id)), "{words}");
    assert_eq!(bundle.state()["status"], "stopped");
    squatter.assert_lives();
    force(&bundle);
}

#[test]
fn a_stopped_first_process_can_be_joined_and_deleted() {
    let mut bundle = sleeper();
    bundle.sleeping();
    bundle.call(&["kill", &bundle.id, "STOP"]).ok();
    let pid = bundle.state()["pid"].to_string();
    run("kill", &["-STOP", &pid]);
    assert_eq!(bundle.state()["status"], "running");
    bundle.exec(&["true"]).ok();
    force(&bundle);
}

#[test]
fn frozen_containers_are_deleted() {
    let mut bundle = sleeper();
    bundle.sleeping();
    bundle.call(&["pause", &bundle.id]).ok();
    force(&bundle);
    // Frozen beneath its own cgroup, where no `resume` would look.
    bundle.sleeping();
    let pid = bundle.state()["pid"].to_string();
    let inner = format!("/sys/fs/cgroup/freezer/{}/inner", bundle.id);
    fs::create_dir(&inner).unwrap();
    fs::write(format!("{inner}/cgroup.procs"), &pid).unwrap();
    fs::write(format!("{inner}/freezer.state"), "FROZEN").unwrap();
    force(&bundle);
}

#[test]
fn ignored_children_are_waited_for_all_the_same() {
    let mut bundle = Bundle::new();
    bundle
        .script("exit 6")
        .set("/hooks", json!({"createRuntime": [{"path": "/bin/true"}]}));
    bundle.write_config();
    let script = format!(
        "trap '' CHLD; exec timeout 60 {} --root {} run --bundle {} {}",
        common::program().display(),
        bundle.state_root().display(),
        bundle.dir.path().display(),
        bundle.id
    );
    let status = Command::new("/bin/bash").args(["-c", &script]).status().unwrap();
    assert_eq!(status.code(), Some(6));
    bundle.assert_nothing_left();
}

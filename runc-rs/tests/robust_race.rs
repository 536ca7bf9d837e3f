//! Two callers at once on one container: each gets its work done or a clear refusal, none hangs, and nothing stays behind.
//!
//! `RUNC_RS_REPEAT` says how often each pair meets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::process::{Child, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use common::{Bundle, Outcome};
use runc_rs::{CreateOptions, Error, Runtime};
use serde_json::json;

const EXISTS: &str = "container with given ID already exists";
const GONE: &str = "container does not exist";
const NOT_RUNNING: &str = "container not running";

/// What a pair must come to.
enum Verdict {
    /// One does it, the other is refused.
    ExactlyOne,
    /// Both do it.
    Both,
    /// The second does it; the first does it or is refused.
    TheSecond,
    /// Either may be refused.
    Any,
}

struct Pair {
    before: fn(&Bundle),
    first: &'static [&'static str],
    second: &'static [&'static str],
    verdict: Verdict,
    /// All that a refusal may say.
    refusals: &'static [&'static str],
}

fn nothing(_: &Bundle) {}

fn created(bundle: &Bundle) {
    bundle.create().ok();
}

fn running(bundle: &Bundle) {
    bundle.create().ok();
    bundle.start().ok();
}

fn repetitions() -> usize {
    let given = std::env::var("RUNC_RS_REPEAT").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(12)
}

fn spawn(bundle: &Bundle, args: &[&str]) -> Child {
    let args: Vec<&str> = args
        .iter()
        .map(|arg| if *arg == "ID" { bundle.id.as_str() } else { arg })
        .collect();
    let log = tempfile::tempfile().unwrap();
    let mut command = bundle.command(&args);
    // A file: a container keeps its streams for longer than its creator lives.
    command.stdout(Stdio::null()).stderr(log.try_clone().unwrap());
    let child = command.spawn().unwrap();
    LOGS.with(|logs| logs.borrow_mut().push((child.id(), log)));
    child
}

thread_local! {
    static LOGS: std::cell::RefCell<Vec<(u32, std::fs::File)>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Its end; one that does not come is the failure that is looked for here.
fn finish(mut child: Child, what: &str) -> Outcome {
    use std::io::{Read, Seek};
    let end = Instant::now() + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < end, "{what} hangs");
        std::thread::sleep(Duration::from_micros(500));
    };
    let mut stderr = String::new();
    LOGS.with(|logs| {
        let mut logs = logs.borrow_mut();
        let place = logs.iter().position(|(pid, _)| *pid == child.id()).unwrap();
        let (_, mut log) = logs.swap_remove(place);
        log.rewind().unwrap();
        log.read_to_string(&mut stderr).unwrap();
    });
    Outcome {
        code: status.code().unwrap_or(-1),
        stdout: String::new(),
        stderr,
    }
}

fn meet(bundle: &Bundle, pair: &Pair, swap: bool) {
    let what = format!("{:?} against {:?}", pair.first, pair.second);
    (pair.before)(bundle);
    let (first, second) = if swap {
        let second = spawn(bundle, pair.second);
        (spawn(bundle, pair.first), second)
    } else {
        (spawn(bundle, pair.first), spawn(bundle, pair.second))
    };
    let outcomes = [finish(first, &what), finish(second, &what)];
    for outcome in &outcomes {
        // An exec that was under way ends as its process does.
        let refused = outcome.code != 0 && outcome.code != 137;
        assert!(
            !refused || pair.refusals.iter().any(|words| outcome.stderr.contains(words)),
            "{what}: {} {}",
            outcome.code,
            outcome.stderr
        );
    }
    let [first, second] = outcomes.map(|outcome| outcome.code == 0);
    match pair.verdict {
        Verdict::ExactlyOne => assert!(first != second, "{what}: {first} {second}"),
        Verdict::Both => assert!(first && second, "{what}: {first} {second}"),
        Verdict::TheSecond => assert!(second, "{what}"),
        Verdict::Any => {}
    }
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.assert_no_process_left();
    bundle.assert_nothing_left();
}

fn table(pairs: &[Pair]) {
    let mut bundle = Bundle::new();
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle.write_config();
    for pair in pairs {
        for round in 0..repetitions() {
            meet(&bundle, pair, round % 2 == 1);
        }
    }
}

const CREATE: &[&str] = &["create", "ID"];
const START: &[&str] = &["start", "ID"];
const EXEC: &[&str] = &["exec", "ID", "/bin/true"];
const KILL: &[&str] = &["kill", "ID", "KILL"];
const DELETE: &[&str] = &["delete", "ID"];
const FORCE: &[&str] = &["delete", "--force", "ID"];
const STATE: &[&str] = &["state", "ID"];
const STOPPED: &str = "cannot start a container that has stopped";

#[test]
fn two_of_a_kind() {
    use Verdict::{Both, ExactlyOne};
    let running_already = &["cannot start an already running container"];
    table(&[
        Pair {
            before: nothing,
            first: CREATE,
            second: CREATE,
            verdict: ExactlyOne,
            refusals: &[EXISTS],
        },
        Pair {
            before: created,
            first: START,
            second: START,
            verdict: ExactlyOne,
            refusals: running_already,
        },
        Pair {
            before: created,
            first: DELETE,
            second: DELETE,
            verdict: ExactlyOne,
            refusals: &[GONE],
        },
        Pair {
            before: running,
            first: FORCE,
            second: FORCE,
            verdict: Both,
            refusals: &[],
        },
        Pair {
            before: running,
            first: EXEC,
            second: EXEC,
            verdict: Both,
            refusals: &[],
        },
    ]);
}

#[test]
fn delete_against_the_others() {
    use Verdict::TheSecond;
    let exec = &[
        GONE,
        NOT_RUNNING,
        "cannot exec in a stopped container",
        "the container's process was killed by signal 9",
    ];
    let not_running = &[GONE, NOT_RUNNING];
    table(&[
        Pair {
            before: running,
            first: EXEC,
            second: FORCE,
            verdict: TheSecond,
            refusals: exec,
        },
        Pair {
            before: running,
            first: KILL,
            second: FORCE,
            verdict: TheSecond,
            refusals: not_running,
        },
        Pair {
            before: running,
            first: STATE,
            second: FORCE,
            verdict: TheSecond,
            refusals: not_running,
        },
        Pair {
            before: running,
            first: &["pause", "ID"],
            second: FORCE,
            verdict: TheSecond,
            refusals: not_running,
        },
        Pair {
            before: created,
            first: START,
            second: FORCE,
            verdict: TheSecond,
            refusals: &[GONE, STOPPED],
        },
        Pair {
            before: nothing,
            first: CREATE,
            second: FORCE,
            verdict: TheSecond,
            refusals: &[],
        },
    ]);
}

#[test]
fn a_container_that_is_being_made() {
    let creating = &[
        GONE,
        "cannot start a container in the creating state",
        "cannot exec in a container that is being created",
    ];
    table(&[
        Pair {
            before: nothing,
            first: CREATE,
            second: START,
            verdict: Verdict::Any,
            refusals: creating,
        },
        Pair {
            before: nothing,
            first: CREATE,
            second: EXEC,
            verdict: Verdict::Any,
            refusals: creating,
        },
        Pair {
            before: nothing,
            first: CREATE,
            second: KILL,
            verdict: Verdict::Any,
            refusals: &[GONE, NOT_RUNNING],
        },
        Pair {
            before: nothing,
            first: CREATE,
            second: DELETE,
            verdict: Verdict::Any,
            refusals: &[GONE],
        },
    ]);
}

#[test]
fn two_threads_of_one_program() {
    let mut bundle = Bundle::new();
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle.write_config();
    let runtime = Runtime::new(bundle.state_root());
    for _ in 0..repetitions() {
        let barrier = Barrier::new(2);
        let create = || {
            barrier.wait();
            runtime.create(&bundle.id, CreateOptions::new(bundle.dir.path()))
        };
        let results = std::thread::scope(|scope| {
            let threads = [scope.spawn(create), scope.spawn(create)];
            threads.map(|thread| thread.join().unwrap())
        });
        let made = results.iter().filter(|result| result.is_ok()).count();
        let refused = results
            .iter()
            .filter(|result| matches!(result, Err(Error::Exists(_))))
            .count();
        assert_eq!((made, refused), (1, 1), "{results:?}");
        runtime.delete(&bundle.id, true).unwrap();
        for created in results.into_iter().flatten() {
            nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(created.pid), None).unwrap();
        }
        bundle.assert_nothing_left();
    }
}

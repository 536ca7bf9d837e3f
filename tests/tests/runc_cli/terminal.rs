//! Both programs at a terminal.

use serde_json::json;

use crate::side::{self, Pair};

/// What is seen on a terminal of 33 by 99 at which somebody types a line: the shell's `line`, `PROGRAM` being the runtime.
fn on_a_terminal(side: &side::Side, line: &str) -> (i32, String) {
    let program = format!("{} --root root", side.program.display());
    let line = format!("stty rows 33 cols 99; {}", line.replace("PROGRAM", &program));
    let mut command = std::process::Command::new(engine_tests::programs::peer("script"));
    command.args(["-qec", &line, "/dev/null"]).current_dir(&side.dir);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"typed\n").unwrap();
    let output = child.wait_with_output().unwrap();
    // The line is echoed by whichever terminal is there when it comes.
    let text = String::from_utf8_lossy(&output.stdout).replace("typed\r\n", "");
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn at_a_terminal() {
    let pair = Pair::new();
    for side in [&pair.runc, &pair.ours] {
        side.configure(|config| {
            config["process"]["terminal"] = json!(true);
            config["process"]["args"] = json!(["/bin/sh", "-c", "tty; stty size; read x; echo got $x.; exit 5"]);
        });
    }
    let run = |side: &side::Side| on_a_terminal(side, "PROGRAM run -b bundle c");
    let (runc, ours) = (run(&pair.runc), run(&pair.ours));
    assert_eq!(runc, ours);
    assert!(
        ours.0 == 5 && ours.1.contains("/dev/pts/0\r\n33 99\r\n") && ours.1.contains("got typed."),
        "{ours:?}"
    );
    for side in [&pair.runc, &pair.ours] {
        side.configure(|config| {
            config["process"]["terminal"] = json!(false);
            config["process"]["args"] = json!(["/bin/sleep", "1000"]);
        });
        side.call(&["run", "-d", "-b", "bundle", "c"]).ok();
    }
    let exec = |side: &side::Side| {
        on_a_terminal(
            side,
            "PROGRAM exec -t c /bin/sh -c 'tty; stty size; read x; echo got $x.; exit 6'",
        )
    };
    let (runc, ours) = (exec(&pair.runc), exec(&pair.ours));
    assert_eq!(runc, ours);
    assert_eq!(ours.0, 6, "{ours:?}");
    // Errors have colours there.
    let fail = |side: &side::Side| on_a_terminal(side, "PROGRAM state nope");
    assert_eq!(fail(&pair.runc), fail(&pair.ours));
    pair.finish();
}

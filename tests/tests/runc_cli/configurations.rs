//! Configurations that fail, or of which something is ignored.

use serde_json::json;

use crate::side::{Different, Pair};
use crate::{NEWER, different};

type Change = fn(&mut serde_json::Value);

/// Changes of a sound configuration, and what ours says otherwise.
fn cases() -> Vec<(Change, Option<Different>)> {
    vec![
        (
            |c| {
                c["process"]["capabilities"]["bounding"] = json!(["CAP_BOGUS", "CAP_KILL"]);
                c["process"]["args"] = json!(["/bin/true"]);
            },
            None,
        ),
        (|c| c["process"]["args"] = json!(["nope"]), None),
        (|c| c["process"]["args"] = json!(["/nope"]), None),
        (|c| c["process"]["args"] = json!(["/etc"]), None),
        (|c| c["process"]["args"] = json!([]), None),
        (|c| c["process"]["args"] = json!(["/bin/sh", "-c", "exit 7"]), None),
        (|c| c["process"]["cwd"] = json!("rel"), None),
        (|c| c["root"]["path"] = json!("nowhere"), None),
        (|c| c["process"] = json!(null), None),
        (|c| c["root"] = json!(null), None),
        (
            |c| c["hostname"] = json!("x".repeat(100)),
            Some(different(
                "",
                1,
                "hostname: is longer than N bytes",
                "found before anything is made",
            )),
        ),
        (
            |c| c["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]}),
            Some(different(
                "",
                1,
                "error running createRuntime hook #N: exit status N",
                NEWER,
            )),
        ),
    ]
}

#[test]
fn of_configurations_that_fail() {
    let pair = Pair::new();
    for (change, known) in cases() {
        for side in [&pair.runc, &pair.ours] {
            let path = side.dir.join("bundle/config.json");
            std::fs::copy(&path, side.dir.join("sound.json")).unwrap();
            side.configure(change);
        }
        let lines: Vec<&'static str> = vec![
            "create -b bundle c",
            "delete -f c",
            "run -b bundle c",
            "run -d -b bundle c",
            "delete -f c",
        ];
        let differences: Vec<Different> = match known {
            None => Vec::new(),
            Some(known) => lines
                .iter()
                .filter(|line| !line.starts_with("delete"))
                .map(|line| Different {
                    line,
                    ..different("", known.code, known.said, known.why)
                })
                .collect(),
        };
        pair.compare(&lines, &differences);
        for side in [&pair.runc, &pair.ours] {
            std::fs::rename(side.dir.join("sound.json"), side.dir.join("bundle/config.json")).unwrap();
        }
    }
    pair.compare(
        &[
            "--systemd-cgroup create -b bundle c",
            "--systemd-cgroup run -b bundle c",
        ],
        &[],
    );
    // In the foreground ours needs no terminal of its own, and would wait for the program.
    for side in [&pair.runc, &pair.ours] {
        side.configure(|config| config["process"]["terminal"] = json!(true));
    }
    pair.compare(
        &[
            "create -b bundle c",
            "run -d -b bundle c",
            "run -b bundle --console-socket /nope c",
        ],
        &[],
    );
    pair.finish();
}

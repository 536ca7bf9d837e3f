//! Checkpoint and restore with Debian's CRIU, which does not start on every kernel: in a guest with Debian's own. One boot for all.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use engine_tests::{programs, qemu};
use serde_json::{Value, json};

/// The guest is emulated: a minute or two on an idle machine.
const LIMIT: Duration = Duration::from_secs(900);
/// Where the script works in the guest.
const WORK: &str = "/tmp/work";

#[test]
fn containers_are_checkpointed_and_restored() {
    programs::peer("criu");
    // Not below /tmp, which is another in the guest.
    let configs = tempfile::Builder::new()
        .prefix("checkpoint-")
        .tempdir_in("/var/tmp")
        .unwrap();
    write_configs(configs.path());
    let script = format!(
        "OURS={}\nRUNC={}\nCONFIGS={}\nwork={WORK}\n{}",
        programs::ours("runc-rs").canonicalize().unwrap().display(),
        programs::peer("runc").display(),
        configs.path().display(),
        include_str!("checkpoint.sh")
    );
    let outcome = qemu::run(&script, 1536, LIMIT);
    outcome.assert_success();
    // A script that ended early with 0 would say less.
    let count = |text: &str, start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    let wanted = count(include_str!("checkpoint.sh"), "ok \"");
    assert!(wanted >= 6);
    assert_eq!(count(&outcome.output, "ok: "), wanted, "{}", outcome.output);
}

/// The configurations of the script's containers: a program that counts, and what each case needs.
fn write_configs(directory: &Path) {
    let spec = Command::new(programs::ours("runc-rs"))
        .args(["spec", "-b"])
        .arg(directory)
        .status();
    assert!(spec.unwrap().success());
    let text = std::fs::read(directory.join("config.json")).unwrap();
    let mut plain: Value = serde_json::from_slice(&text).unwrap();
    plain["process"]["terminal"] = json!(false);
    plain["process"]["args"] = json!(["/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"]);
    let data = json!({"destination": "/data", "type": "bind", "source": format!("{WORK}/data"), "options": ["rbind"]});
    plain["mounts"].as_array_mut().unwrap().push(data);
    let write = |name: &str, config: &Value| std::fs::write(directory.join(name), config.to_string()).unwrap();
    write("plain", &plain);

    let mut limited = plain.clone();
    limited["linux"]["resources"]["memory"] = json!({"limit": 100 << 20});
    limited["annotations"] = json!({"a": "b"});
    write("limited", &limited);

    let mut joined = plain.clone();
    for namespace in joined["linux"]["namespaces"].as_array_mut().unwrap() {
        if namespace["type"] == "network" {
            namespace["path"] = json!("/run/netns/outside");
        }
    }
    let hook = |command: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", command]}]);
    joined["hooks"] = json!({
        "createRuntime": hook(&format!("cat >{WORK}/hook")),
        "poststop": hook(&format!("cat >{WORK}/poststop")),
    });
    write("joined", &joined);

    let mut terminal = plain;
    terminal["process"]["terminal"] = json!(true);
    let count = "i=0; while [ ! -e /data/stop ]; do i=$((i+1)); echo $i; sleep 0.2; done; exit 7";
    terminal["process"]["args"] = json!(["/bin/sh", "-c", count]);
    write("terminal", &terminal);
}

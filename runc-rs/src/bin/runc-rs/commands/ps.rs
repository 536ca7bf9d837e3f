//! `ps`: what runs in a container, by the host's ps.

use std::process::{Command as Program, Stdio};

use crate::Failure;
use crate::grammar::{Command, Count, Flag};
use crate::invocation::Invocation;
use crate::output::{json_line, print};

pub(crate) const COMMAND: Command = Command {
    name: "ps",
    usage: "ps displays the processes running inside a container",
    arguments: "<container-id> [ps options]",
    description: "",
    flags: &[Flag::text("format", "select one of: table or json")
        .short("f")
        .default("\"table\"")],
    count: Count::AtLeast(1),
    stops: true,
    enters: false,
    run: ps,
};

fn ps(invocation: &Invocation) -> Result<u8, Failure> {
    invocation.warn_of_cgroups("runc ps")?;
    let pids = invocation.runtime().processes(invocation.id()?)?;
    match invocation.values.text("format")?.unwrap_or("table") {
        // What Go prints of a list that nothing was put in.
        "json" if pids.is_empty() => print("null\n")?,
        "json" => json_line(&pids)?,
        "table" => print(&filtered(&host_ps(invocation)?, &pids)?)?,
        _ => return Err(Failure::new("invalid format option")),
    }
    Ok(0)
}

/// What the host's ps prints with the given options.
fn host_ps(invocation: &Invocation) -> Result<String, Failure> {
    let mut program = Program::new("ps");
    match invocation.arguments.get(1..) {
        Some(options) if !options.is_empty() => program.args(options),
        _ => program.arg("-ef"),
    };
    let output = program
        .stdin(Stdio::null())
        .output()
        .map_err(|source| runc_rs::Error::System {
            action: "exec: \"ps\"".into(),
            source,
        })?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    text += &String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().unwrap_or(-1);
    Err(Failure::new(format!("exit status {code}: {text}")))
}

/// The title, and the lines of these processes.
fn filtered(text: &str, pids: &[i32]) -> Result<String, Failure> {
    let mut lines = text.lines();
    let title = lines.next().unwrap_or_default();
    let column = title
        .split_whitespace()
        .position(|name| name == "PID")
        .ok_or_else(|| Failure::new("couldn't find PID field in ps output"))?;
    let mut kept = format!("{title}\n");
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let field = line.split_whitespace().nth(column).unwrap_or_default();
        let pid: i32 = field.parse().map_err(|_| {
            Failure::new(format!(
                "unable to parse pid: strconv.Atoi: parsing {field:?}: invalid syntax"
            ))
        })?;
        if pids.contains(&pid) {
            kept += line;
            kept.push('\n');
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_processes_are_shown() {
        let text = "USER  PID CMD\nroot  1 init 7\nroot  7 sleep\n\n";
        assert_eq!(filtered(text, &[7]).unwrap(), "USER  PID CMD\nroot  7 sleep\n");
        assert_eq!(
            filtered("CMD\nx\n", &[7]).unwrap_err().message,
            "couldn't find PID field in ps output"
        );
        assert!(
            filtered("A PID\nx y\n", &[7])
                .unwrap_err()
                .message
                .starts_with("unable to parse pid: ")
        );
    }
}

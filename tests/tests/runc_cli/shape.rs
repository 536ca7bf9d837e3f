//! The shape of what is printed: keys and types of JSON, sections and flags of help.

use serde_json::Value;

/// Keys that are left out when they are zero or empty, so that one side may have them and the other not.
const OPTIONAL: [&str; 14] = [
    "cache",
    "usage",
    "max",
    "total",
    "current",
    "limit",
    "periods",
    "throttledPeriods",
    "throttledTime",
    "ioServiceBytesRecursive",
    "ioServicedRecursive",
    "ioTimeRecursive",
    "sectorsRecursive",
    "ioWaitTimeRecursive",
];
/// Keys whose values are the same on both sides.
const EXACT: [&str; 4] = ["type", "id", "status", "annotations"];
/// Flags that runc has only since 1.2 (or, the last one, a default of), or that are crun's, and one that 1.2 hides.
const NOT_IN_BOTH: [&str; 8] = [
    "--pidfd-socket",
    "--cpu-burst",
    "--cpu-idle",
    "--cgroup-manager",
    "--all",
    "--tcp-skip-in-flight",
    "--link-remap",
    "--manage-cgroups-mode",
];
/// The same for commands; of the program's own flags, what belongs to CRIU and where the state is.
const NOT_IN_BOTH_PROGRAM: [&str; 5] = ["mounts", "checkpoint", "restore", "--criu", "--root"];

/// The shape of JSON and of help; `None` of anything else.
pub(crate) fn of(stdout: &str, args: &[&str]) -> Option<String> {
    if let Some(place) = stdout.find("NAME:\n") {
        return Some(format!("{}{}", stdout.get(..place)?, help(stdout.get(place..)?)));
    }
    let json: Value = serde_json::from_str(stdout).ok()?;
    let newline = if stdout.ends_with('\n') {
        "newline"
    } else {
        "no newline"
    };
    if args.contains(&"features") {
        return Some(format!("JSON, {newline}"));
    }
    Some(format!("{} {newline}", shape(&json, "")))
}

fn shape(value: &Value, key: &str) -> String {
    match value {
        _ if EXACT.contains(&key) => value.to_string(),
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !OPTIONAL.contains(&key.as_str()));
            let parts: Vec<String> = kept
                .map(|(key, value)| format!("{key}:{}", shape(value, key)))
                .collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(list) => format!("[{}]", list.first().map_or(String::new(), |first| shape(first, ""))),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        other => other.to_string(),
    }
}

/// Headings, and the first column of their tables with whatever default is told; free text is each program's own.
fn help(text: &str) -> String {
    let mut shape = Vec::new();
    let mut table = false;
    for line in text.lines() {
        if let Some(heading) = line
            .strip_suffix(':')
            .filter(|heading| heading.chars().all(|c| c.is_ascii_uppercase() || c == ' '))
        {
            table = heading.ends_with("OPTIONS") || heading == "COMMANDS";
            // runc describes more commands than ours does.
            if heading != "DESCRIPTION" && heading != "EXAMPLE" {
                shape.push(heading.to_owned());
            }
        } else if table && line.starts_with("   ") && !line.trim().is_empty() {
            shape.extend(row(line));
        }
    }
    shape.join("|")
}

fn row(line: &str) -> Option<String> {
    let (names, rest) = line.trim_start().split_once("  ").unwrap_or((line.trim(), ""));
    let first = names.split([' ', ',']).next().unwrap_or_default();
    if NOT_IN_BOTH.contains(&first) || NOT_IN_BOTH_PROGRAM.contains(&first) || first.starts_with(['"', '}', '{']) {
        return None;
    }
    let default = rest
        .rfind("(default: ")
        .and_then(|place| rest.get(place..))
        .unwrap_or_default();
    Some(format!("{names} {default}").trim_end().to_owned())
}

//! `daemon.json`, as flags.

use std::ffi::OsString;

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::{Map, Value};

use super::flags::{DEFAULT_FILE, Flags};
use crate::error::{Error, Result};

/// Keys whose flag has another name.
const RENAMED: [(&str, &str); 11] = [
    ("hosts", "host"),
    ("registry-mirrors", "registry-mirror"),
    ("insecure-registries", "insecure-registry"),
    ("labels", "label"),
    ("storage-opts", "storage-opt"),
    ("exec-opts", "exec-opt"),
    ("dns-opts", "dns-opt"),
    ("log-opts", "log-opt"),
    ("default-address-pools", "default-address-pool"),
    ("default-ulimits", "default-ulimit"),
    ("runtimes", "add-runtime"),
];
/// Keys that say nothing to this daemon, and are let pass.
const IGNORED: [&str; 6] = [
    "features",
    "builder",
    "experimental",
    "max-concurrent-uploads",
    "ipv6",
    "ip6tables",
];

/// The file's settings; none when there is no file and none was asked for.
pub(super) fn read(flags: &Flags) -> Result<Option<Map<String, Value>>> {
    let path = flags
        .config_file
        .as_deref()
        .unwrap_or(std::path::Path::new(DEFAULT_FILE));
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && flags.config_file.is_none() => return Ok(None),
        Err(e) => return Err(failed(format!("open {}: {e}", path.display()))),
    };
    match serde_json::from_slice(&text) {
        Ok(Value::Object(map)) => Ok(Some(map)),
        Ok(_) => Err(failed(format!("{}: not an object", path.display()))),
        Err(e) => Err(failed(format!("invalid JSON: {e}"))),
    }
}

/// The settings as further arguments. `matches` is the command line alone.
pub(super) fn to_args(settings: &Map<String, Value>, matches: &ArgMatches) -> Result<Vec<OsString>> {
    let known: Vec<String> = matches.ids().map(|id| id.as_str().replace('_', "-")).collect();
    let all = <Flags as clap::CommandFactory>::command();
    let is_flag =
        |flag: &str| known.iter().any(|k| k == flag) || all.get_arguments().any(|arg| arg.get_long() == Some(flag));
    let mut unknown = Vec::new();
    let mut twice = Vec::new();
    let mut args = Vec::new();
    for (key, value) in settings {
        if IGNORED.contains(&key.as_str()) {
            continue;
        }
        let flag = RENAMED
            .iter()
            .find(|(name, _)| name == key)
            .map_or(key.as_str(), |(_, flag)| flag);
        if !is_flag(flag) || flag == "config-file" {
            unknown.push(key.as_str());
            continue;
        }
        let id = flag.replace('-', "_");
        if key != "runtimes" && matches.value_source(&id) == Some(ValueSource::CommandLine) {
            twice.push(format!(
                "{flag}: (from flag: {}, from file: {})",
                raw(matches, &id),
                plain(value)
            ));
        }
        args.extend(
            words(key, value)?
                .into_iter()
                .map(|word| OsString::from(format!("--{flag}={word}"))),
        );
    }
    if !unknown.is_empty() {
        return Err(failed(format!(
            "the following directives don't match any configuration option: {}",
            unknown.join(", ")
        )));
    }
    if !twice.is_empty() {
        return Err(failed(format!(
            "the following directives are specified both as a flag and in the configuration file: {}",
            twice.join(", ")
        )));
    }
    Ok(args)
}

fn raw(matches: &ArgMatches, id: &str) -> String {
    let values: Vec<_> = matches
        .get_raw(id)
        .into_iter()
        .flatten()
        .map(|value| value.to_string_lossy().into_owned())
        .collect();
    if values.len() == 1 {
        values.concat()
    } else {
        format!("[{}]", values.join(" "))
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(plain).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    }
}

/// The values a flag gets for one key.
fn words(key: &str, value: &Value) -> Result<Vec<String>> {
    Ok(match value {
        Value::Array(list) => list
            .iter()
            .map(|item| {
                if key == "default-address-pools" {
                    pool(item)
                } else {
                    plain(item)
                }
            })
            .collect(),
        Value::Object(map) => map
            .iter()
            .map(|(name, item)| entry(key, name, item))
            .collect::<Result<_>>()?,
        other => vec![plain(other)],
    })
}

fn pool(item: &Value) -> String {
    format!("base={},size={}", plain(&item["base"]), item["size"])
}

fn entry(key: &str, name: &str, item: &Value) -> Result<String> {
    match key {
        "runtimes" => {
            let path = item["path"].as_str().or_else(|| item["runtimeType"].as_str());
            path.map(|path| format!("{name}={path}"))
                .ok_or_else(|| failed(format!("runtime {name}: either path or runtimeType must be configured")))
        }
        "default-ulimits" => Ok(format!("{name}={}:{}", item["Soft"], item["Hard"])),
        "log-opts" => Ok(format!("{name}={}", plain(item))),
        _ => Err(failed(format!("{key}: not an object"))),
    }
}

fn failed(why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("unable to configure the Docker daemon with file {why}"))
}

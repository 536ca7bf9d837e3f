//! The Dockerfile instructions that `import --change` and `commit --change` take.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::config::ImageConfig;
use crate::error::{Error, Result};

/// Applies one instruction to a config.
///
/// # Errors
/// 400 for what is not one of CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and
/// WORKDIR, or has no argument.
pub fn apply(config: &mut ImageConfig, change: &str) -> Result<()> {
    let change = change.trim();
    let (name, rest) = change.split_once(char::is_whitespace).unwrap_or((change, ""));
    let (name, rest) = (name.to_uppercase(), rest.trim());
    if rest.is_empty() {
        return Err(Error::invalid(format!("{name} requires at least one argument")));
    }
    match name.as_str() {
        "CMD" => config.cmd = Some(command(config, rest)),
        "ENTRYPOINT" => config.entrypoint = Some(command(config, rest)),
        "ENV" => {
            let env = config.env.get_or_insert_default();
            for (key, value) in pairs(&name, rest)? {
                let prefix = format!("{key}=");
                env.retain(|old| !old.starts_with(&prefix));
                env.push(format!("{key}={value}"));
            }
        }
        "LABEL" => config.labels.get_or_insert_default().extend(pairs(&name, rest)?),
        "EXPOSE" => {
            for port in words(rest) {
                let (number, protocol) = port.split_once('/').unwrap_or((&port, "tcp"));
                if number.split('-').any(|n| n.parse::<u16>().is_err()) {
                    return Err(Error::invalid(format!("invalid containerPort: {port}")));
                }
                let key = format!("{number}/{}", protocol.to_lowercase());
                config.exposed_ports.get_or_insert_default().insert(key, json!({}));
            }
        }
        "VOLUME" => {
            for path in list(rest).unwrap_or_else(|| words(rest)) {
                config.volumes.get_or_insert_default().insert(path, json!({}));
            }
        }
        "USER" => rest.clone_into(&mut config.user),
        "WORKDIR" => config.working_dir = joined(&config.working_dir, rest),
        "STOPSIGNAL" => rest.clone_into(&mut config.stop_signal),
        "ONBUILD" => config.on_build.get_or_insert_default().push(rest.to_owned()),
        "HEALTHCHECK" => config.healthcheck = Some(health(rest)?),
        other => return Err(Error::invalid(format!("{other} is not a valid change command"))),
    }
    Ok(())
}

/// `["a", "b"]`, or a line for the shell.
fn command(config: &ImageConfig, rest: &str) -> Vec<String> {
    list(rest).unwrap_or_else(|| {
        let shell = config
            .shell
            .clone()
            .unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
        shell.into_iter().chain([rest.to_owned()]).collect()
    })
}

fn list(rest: &str) -> Option<Vec<String>> {
    serde_json::from_str(rest).ok()
}

/// `HEALTHCHECK NONE`, `HEALTHCHECK [--interval=..] CMD ...`.
fn health(rest: &str) -> Result<Value> {
    if rest.eq_ignore_ascii_case("none") {
        return Ok(json!({ "Test": ["NONE"] }));
    }
    let mut check = serde_json::Map::new();
    let mut rest = rest;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        let (key, value) = flag.split_once('=').unwrap_or((flag, ""));
        let field = match key {
            "interval" => "Interval",
            "timeout" => "Timeout",
            "start-period" => "StartPeriod",
            "start-interval" => "StartInterval",
            "retries" => "Retries",
            other => return Err(Error::invalid(format!("unknown flag: {other}"))),
        };
        let bad = || Error::invalid(format!("HEALTHCHECK: invalid value {value:?} of --{key}"));
        let number = match field {
            "Retries" => value.parse::<i64>().map_err(|_| bad())?,
            _ => nanoseconds(value).ok_or_else(bad)?,
        };
        check.insert(field.to_owned(), json!(number));
        rest = after.trim_start();
    }
    let Some(line) = rest.strip_prefix("CMD ").or_else(|| rest.strip_prefix("cmd ")) else {
        return Err(Error::invalid(format!(
            "Unknown type {rest:?} in HEALTHCHECK (try CMD)"
        )));
    };
    let test = match list(line.trim()) {
        Some(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
        None => vec!["CMD-SHELL".to_owned(), line.trim().to_owned()],
    };
    check.insert("Test".to_owned(), json!(test));
    Ok(Value::Object(check))
}

fn nanoseconds(text: &str) -> Option<i64> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..at].parse().ok()?;
    let unit = match &text[at..] {
        "h" => 3600e9,
        "m" => 60e9,
        "s" => 1e9,
        "ms" => 1e6,
        _ => return None,
    };
    #[allow(clippy::cast_possible_truncation)]
    Some((number * unit) as i64)
}

/// A relative directory hangs on the one before.
fn joined(old: &str, new: &str) -> String {
    match (new.starts_with('/'), old.is_empty()) {
        (true, _) => new.to_owned(),
        (false, true) => format!("/{new}"),
        (false, false) => format!("{}/{new}", old.trim_end_matches('/')),
    }
}

/// `a=b c="d e"`, or the old `a b c` that sets one.
fn pairs(name: &str, rest: &str) -> Result<BTreeMap<String, String>> {
    let all = words(rest);
    if all.first().is_some_and(|w| !w.contains('=')) {
        let Some((key, value)) = rest.split_once(char::is_whitespace) else {
            return Err(Error::invalid(format!("{name} must have two arguments")));
        };
        return Ok(BTreeMap::from([(key.to_owned(), value.trim().to_owned())]));
    }
    all.iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Error::invalid(format!(
                "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
            ))),
        })
        .collect()
}

/// Words, with quotes and backslashes as the Dockerfile has them.
fn words(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some('"') | None, '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, c) if c.is_whitespace() => all.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_the_config() {
        let mut config = ImageConfig::default();
        for change in [
            r#"CMD ["/bin/a", "b"]"#,
            "ENTRYPOINT exec c",
            r#"ENV A=1 B="two words""#,
            "env C old form",
            "EXPOSE 80 53/udp",
            "LABEL k=v",
            "VOLUME /data /more",
            "USER me",
            "WORKDIR /a",
            "WORKDIR b",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --interval=5s --retries=3 CMD curl x",
        ] {
            apply(&mut config, change).unwrap();
        }
        assert_eq!(config.cmd.unwrap(), ["/bin/a", "b"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "exec c"]);
        assert_eq!(config.env.unwrap(), ["A=1", "B=two words", "C=old form"]);
        assert_eq!(
            config.exposed_ports.unwrap().into_keys().collect::<Vec<_>>(),
            ["53/udp", "80/tcp"]
        );
        assert_eq!(config.working_dir, "/a/b");
        assert_eq!(config.healthcheck.unwrap()["Interval"], json!(5_000_000_000i64));
    }

    #[test]
    fn what_is_no_instruction_is_refused() {
        for bad in ["", "RUN x", "CMD", "EXPOSE x", "ENV =b", "HEALTHCHECK x"] {
            assert!(apply(&mut ImageConfig::default(), bad).is_err(), "{bad}");
        }
    }
}

//! The configuration file: containerd's, versions 2 and 3, as far as its keys have a meaning here. A key that has none is named in a
//! warning, so that nobody believes in a setting that does nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

use super::Result;
use super::settings::{LogFormat, Settings};

/// Where the file is when nobody says; it need not be there.
pub(super) const DEFAULT_PATH: &str = "/etc/containerd-rs/config.toml";

/// The longest file that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// Reads a file over the settings, and answers with warnings.
pub(super) fn load(path: &Path, settings: &mut Settings) -> Result<Vec<String>> {
    let size = std::fs::metadata(path)
        .map_err(|e| format!("read {}: {e}", path.display()))?
        .len();
    if size > LONGEST {
        return Err(format!("{}: {size} bytes are too many for a configuration", path.display()).into());
    }
    let text = std::fs::read_to_string(path).map_err(|e| format!("read {}: {e}", path.display()))?;
    apply(&text, settings).map_err(|e| format!("{}: {e}", path.display()).into())
}

fn apply(text: &str, settings: &mut Settings) -> Result<Vec<String>> {
    let table: Table = text.parse()?;
    let mut warnings = Vec::new();
    match table.get("version").map(Value::as_integer) {
        Some(Some(2 | 3)) => {}
        None => warnings.push("the configuration has no version; it is read as version 2".to_owned()),
        Some(version) => {
            return Err(format!(
                "expected containerd config version 2 or 3, got {}",
                version.unwrap_or(0)
            )
            .into());
        }
    }
    let mut leaves = Vec::new();
    flatten(&table, &mut Vec::new(), &mut leaves);
    for (path, value) in leaves {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        match set(settings, &names, &value) {
            Ok(true) => {}
            Ok(false) => warnings.push(format!("{} in the configuration has no effect here", path.join("."))),
            Err(expected) => return Err(format!("{}: expected {expected}", path.join(".")).into()),
        }
    }
    Ok(warnings)
}

fn flatten(table: &Table, path: &mut Vec<String>, leaves: &mut Vec<(Vec<String>, Value)>) {
    for (name, value) in table {
        path.push(name.clone());
        match value {
            Value::Table(inner) => flatten(inner, path, leaves),
            leaf => leaves.push((path.clone(), leaf.clone())),
        }
        path.pop();
    }
}

/// What a key's value must be.
type Expected = &'static str;

fn text(value: &Value) -> std::result::Result<String, Expected> {
    value.as_str().map(str::to_owned).ok_or("a string")
}

fn number<T: TryFrom<i64>>(value: &Value) -> std::result::Result<T, Expected> {
    value
        .as_integer()
        .and_then(|n| T::try_from(n).ok())
        .ok_or("a number in range")
}

fn nonempty(value: &Value) -> std::result::Result<Option<String>, Expected> {
    text(value).map(|text| (!text.is_empty()).then_some(text))
}

fn path(value: &Value) -> std::result::Result<PathBuf, Expected> {
    text(value).map(PathBuf::from).and_then(|path| {
        if path.is_absolute() {
            Ok(path)
        } else {
            Err("an absolute path")
        }
    })
}

/// Sets one key; `false` when it is not known.
fn set(settings: &mut Settings, key: &[&str], value: &Value) -> std::result::Result<bool, Expected> {
    match key {
        ["version"] => {}
        ["root"] => settings.root = path(value)?,
        ["state"] => settings.state = path(value)?,
        ["grpc", "address"] => settings.address = path(value)?,
        ["ttrpc", "address"] => settings.ttrpc_address = nonempty(value)?.map(PathBuf::from),
        ["grpc", "uid"] => settings.uid = Some(number(value)?),
        ["grpc", "gid"] => settings.gid = Some(number(value)?),
        ["grpc", "max_recv_message_size" | "max_send_message_size"] => {
            // 0 is containerd's way of saying: the default.
            let size: usize = number(value)?;
            settings.max_message = settings.max_message.max(size);
        }
        ["debug", "level"] => {
            if let Some(level) = nonempty(value)? {
                settings.log_level = level;
            }
        }
        ["debug", "format"] => {
            settings.log_format = match text(value)?.as_str() {
                "" | "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err("text or json"),
            }
        }
        ["metrics", "address"] => settings.metrics_address = nonempty(value)?,
        ["plugins", "io.containerd.gc.v1.scheduler", "schedule_delay"] => settings.gc_delay = duration(&text(value)?)?,
        ["plugins", "io.containerd.runtime.v2.task", "sched_core"] => {
            settings.sched_core = value.as_bool().ok_or("a boolean")?
        }
        ["plugins", "io.containerd.internal.v1.opt", "path"] => settings.opt_path = Some(path(value)?),
        _ => return Ok(false),
    }
    Ok(true)
}

/// A duration in Go's notation, one unit: `100ms`, `0s`, `2m`.
fn duration(text: &str) -> std::result::Result<Duration, Expected> {
    const EXPECTED: Expected = "a duration like 100ms";
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or(EXPECTED)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| EXPECTED)?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.checked_mul(60).ok_or(EXPECTED)?)),
        _ => Err(EXPECTED),
    }
}

/// Settings as a file that sets them.
pub(super) fn dump(settings: &Settings) -> String {
    let config = settings.config();
    let quote = |text: &str| Value::from(text).to_string();
    let quoted = |path: &Path| quote(&path.display().to_string());
    let format = match settings.log_format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    let (uid, gid) = (settings.uid.unwrap_or(0), settings.gid.unwrap_or(0));
    let opt = settings.opt_path.as_ref().map(|path| {
        format!(
            "\n  [plugins.\"io.containerd.internal.v1.opt\"]\n    path = {}\n",
            quoted(path)
        )
    });
    format!(
        "version = 3\nroot = {root}\nstate = {state}\n\n[grpc]\n  address = {address}\n  uid = {uid}\n  gid = {gid}\n  \
         max_recv_message_size = {size}\n  max_send_message_size = {size}\n\n[ttrpc]\n  address = {ttrpc}\n\n[debug]\n  level = {level}\n  \
         format = {format:?}\n\n[metrics]\n  address = {metrics}\n\n[plugins]\n  [plugins.\"io.containerd.gc.v1.scheduler\"]\n    \
         schedule_delay = \"{delay}ms\"\n\n  [plugins.\"io.containerd.runtime.v2.task\"]\n    sched_core = {sched_core}\n{opt}",
        root = quoted(&settings.root),
        state = quoted(&settings.state),
        address = quoted(&settings.address),
        size = settings.max_message,
        ttrpc = quoted(&config.ttrpc_address),
        level = quote(&settings.log_level),
        metrics = quote(settings.metrics_address.as_deref().unwrap_or_default()),
        delay = settings.gc_delay.as_millis(),
        sched_core = settings.sched_core,
        opt = opt.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_containerd_carry_over_and_others_are_named() {
        let text = r#"
            version = 2
            root = "/data/c"
            oom_score = -999
            [grpc]
              address = "/run/x.sock"
              gid = 999
            [debug]
              level = "debug"
            [plugins."io.containerd.grpc.v1.cri"]
              sandbox_image = "pause"
            [plugins."io.containerd.gc.v1.scheduler"]
              schedule_delay = "5s"
        "#;
        let mut settings = Settings::default();
        let warnings = apply(text, &mut settings).unwrap();
        assert_eq!(settings.root, Path::new("/data/c"));
        assert_eq!(settings.gid, Some(999));
        assert_eq!(settings.gc_delay, Duration::from_secs(5));
        assert_eq!(settings.log_level, "debug");
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings
                .iter()
                .any(|w| w.starts_with("plugins.io.containerd.grpc.v1.cri.sandbox_image ")),
            "{warnings:?}"
        );
        assert!(warnings.iter().any(|w| w.starts_with("oom_score ")), "{warnings:?}");
    }

    #[test]
    fn wrong_values_name_their_key() {
        for (text, part) in [
            ("version = 2\nroot = 5", "root: expected a string"),
            ("version = 2\nroot = \"x\"", "root: expected an absolute path"),
            ("version = 1", "version 2 or 3, got 1"),
            ("version = 2\n[grpc]\ngid = -1", "grpc.gid: expected a number in range"),
            (
                "version = 2\n[debug]\nformat = \"xml\"",
                "debug.format: expected text or json",
            ),
        ] {
            let error = apply(text, &mut Settings::default()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_is_dumped_reads_back_the_same() {
        let mut settings = Settings {
            gid: Some(7),
            opt_path: Some("/opt/c".into()),
            ..Settings::default()
        };
        settings.metrics_address = Some("127.0.0.1:1338".into());
        let text = dump(&settings);
        let mut again = Settings::default();
        assert_eq!(apply(&text, &mut again).unwrap(), Vec::<String>::new());
        assert_eq!(dump(&again), text);
        assert_eq!(again.metrics_address, settings.metrics_address);
    }
}

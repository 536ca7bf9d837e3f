//! Reading config.json so that whatever is wrong is named by its field.

use std::io::Read;

use oci_spec::runtime::Spec;
use serde_json::Value;

/// Bytes of a config.json, at most. The largest real ones stay below one MiB.
pub const MAX_CONFIG: u64 = 32 << 20;

/// Why a config could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON, or a field of the wrong type.
    #[error("{field}: {reason}")]
    Field {
        /// The field, dotted: `process.rlimits[0].type`. `config.json` when the text is no JSON at all.
        field: String,
        /// What serde says of it.
        reason: String,
    },
    /// More than [`MAX_CONFIG`].
    #[error("config.json: larger than {MAX_CONFIG} bytes")]
    TooLarge,
    /// The reader failed.
    #[error("config.json: {0}")]
    Io(#[from] std::io::Error),
}

/// A config, and what was left out of it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The config.
    pub spec: Spec,
    /// Capabilities that are unknown here and were ignored, as runc does with a warning.
    pub unknown_capabilities: Vec<String>,
}

/// Reads a config from its bytes.
///
/// # Errors
/// See [`Error`].
pub fn load(bytes: &[u8]) -> Result<Spec, Error> {
    load_with_warnings(bytes).map(|loaded| loaded.spec)
}

/// Reads a config from a reader, at most [`MAX_CONFIG`] bytes.
///
/// # Errors
/// See [`Error`].
pub fn load_reader(reader: impl Read) -> Result<Spec, Error> {
    let mut bytes = Vec::new();
    reader.take(MAX_CONFIG + 1).read_to_end(&mut bytes)?;
    load(&bytes)
}

/// As [`load`], and says what was ignored.
///
/// # Errors
/// See [`Error`].
pub fn load_with_warnings(bytes: &[u8]) -> Result<Loaded, Error> {
    if bytes.len() as u64 > MAX_CONFIG {
        return Err(Error::TooLarge);
    }
    // serde would take an array of the fields' values, in order, for the object itself.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Error::Field {
            field: "config.json".to_owned(),
            reason: "not an object".to_owned(),
        });
    }
    match serde_json::from_slice(bytes) {
        Ok(spec) => Ok(Loaded {
            spec,
            unknown_capabilities: Vec::new(),
        }),
        // The slow way costs a second parse, only for configs that the types do not take as they are.
        Err(_) => load_slowly(bytes),
    }
}

fn load_slowly(bytes: &[u8]) -> Result<Loaded, Error> {
    let mut value: Value = serde_json::from_slice(bytes).map_err(|e| Error::Field {
        field: "config.json".to_owned(),
        reason: e.to_string(),
    })?;
    let mut unknown_capabilities = Vec::new();
    if let Some(Value::Object(sets)) = value.pointer_mut("/process/capabilities") {
        for names in sets.values_mut().filter_map(Value::as_array_mut) {
            names.retain(|name| match name.as_str() {
                Some(name) if crate::caps::normalize(name).is_err() => {
                    if !unknown_capabilities.iter().any(|u| u == name) {
                        unknown_capabilities.push(name.to_owned());
                    }
                    false
                }
                _ => true,
            });
        }
    }
    spell_as_the_types_do(&mut value);
    // Go's types have zero values where ours want a word.
    if let Some(Value::Object(process)) = value.get_mut("process") {
        process
            .entry("user")
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
        process.entry("cwd").or_insert_with(|| Value::String(String::new()));
    }
    let spec = serde_path_to_error::deserialize(&value).map_err(|e| {
        let path = e.path().to_string();
        let field = if path == "." { "config.json".to_owned() } else { path };
        let reason = in_runc_words(&field, &value).unwrap_or_else(|| e.into_inner().to_string());
        Error::Field { field, reason }
    })?;
    Ok(Loaded {
        spec,
        unknown_capabilities,
    })
}

/// The specification's `SCHED_FLAG_DL_OVERRUN` has another name in the types, which is made from theirs letter by letter.
fn spell_as_the_types_do(config: &mut Value) {
    let flags = config
        .pointer_mut("/process/scheduler/flags")
        .and_then(Value::as_array_mut);
    for flag in flags.into_iter().flatten() {
        if flag.as_str() == Some("SCHED_FLAG_DL_OVERRUN") {
            *flag = Value::String("SCHED_FLAG_D_L_OVERRUN".to_owned());
        }
    }
}

/// What runc says of a word that is none of those that a field can have.
fn in_runc_words(field: &str, config: &Value) -> Option<String> {
    let pointer = format!("/{}", field.replace(['.', '['], "/").replace(']', ""));
    let word = config.pointer(&pointer)?.as_str()?;
    let kind: String = field.chars().filter(|c| !c.is_ascii_digit()).collect();
    match kind.as_str() {
        "linux.namespaces[].type" => Some(format!("namespace {word:?} does not exist")),
        "process.rlimits[].type" => Some(format!("wrong rlimit value: {word}")),
        "linux.seccomp.defaultAction" | "linux.seccomp.syscalls[].action" => {
            Some(format!("string {word} is not a valid action for seccomp"))
        }
        "linux.seccomp.architectures[]" => Some(format!("string {word} is not a valid arch for seccomp")),
        "linux.seccomp.flags[]" => Some(format!("seccomp flag {word} is not known to runc")),
        "linux.devices[].type" => Some(format!("invalid device type {word:?}")),
        "linux.resources.devices[].type" => Some(format!("invalid cgroup device type {word:?}")),
        "linux.memoryPolicy.mode" => Some(format!("invalid memory policy mode {word:?}")),
        "linux.memoryPolicy.flags[]" => Some(format!("invalid memory policy flag {word:?}")),
        "linux.personality.domain" => Some(format!("invalid personality domain {word}")),
        "process.scheduler.policy" => Some(format!("invalid scheduler policy: {word}")),
        "process.scheduler.flags[]" => Some(format!("invalid scheduler flag: {word}")),
        "process.ioPriority.class" => Some(format!("invalid ioPriority.Class: {word}")),
        "linux.seccomp.syscalls[].args[].op" => Some(format!("string {word} is not a valid operator for seccomp")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        load(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn every_refusal_names_its_field() {
        let cases = [
            ("", "config.json: "),
            ("[]", "config.json: "),
            (r#"{"process":{"cwd":7,"user":{}}}"#, "process.cwd: "),
            (r#"{"process":{"cwd":"/","user":{"uid":-1}}}"#, "process.user.uid: "),
            (
                r#"{"process":{"cwd":"/","user":{},"rlimits":[{"type":"RLIMIT_X","hard":1,"soft":1}]}}"#,
                "process.rlimits[0].type: wrong rlimit value: RLIMIT_X",
            ),
            (
                r#"{"linux":{"namespaces":[{"type":"pid"},{"type":"moon"}]}}"#,
                "linux.namespaces[1].type: ",
            ),
            (
                r#"{"mounts":[{"source":"x"}]}"#,
                "mounts[0]: missing field `destination`",
            ),
            (
                r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_X"}}}"#,
                "linux.seccomp.defaultAction: ",
            ),
        ];
        for (json, start) in cases {
            let text = refusal(json);
            assert!(text.starts_with(start), "{json}: {text}");
        }
    }

    #[test]
    fn unknown_capabilities_are_ignored_with_a_warning() {
        let json = r#"{"process":{"cwd":"/","user":{},"capabilities":{"bounding":["CAP_CHOWN","CAP_MOON"]}}}"#;
        let loaded = load_with_warnings(json.as_bytes()).unwrap();
        assert_eq!(loaded.unknown_capabilities, ["CAP_MOON"]);
        let process = loaded.spec.process().as_ref().unwrap();
        assert_eq!(
            process
                .capabilities()
                .as_ref()
                .unwrap()
                .bounding()
                .as_ref()
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn every_flag_of_the_scheduler_is_known_by_its_name() {
        let flags = r#"["SCHED_RESET_ON_FORK","SCHED_FLAG_RECLAIM","SCHED_FLAG_DL_OVERRUN","SCHED_FLAG_KEEP_POLICY",
            "SCHED_FLAG_KEEP_PARAMS","SCHED_FLAG_UTIL_CLAMP_MIN","SCHED_FLAG_UTIL_CLAMP_MAX"]"#;
        let json = format!(
            r#"{{"process":{{"cwd":"/","user":{{}},"scheduler":{{"policy":"SCHED_OTHER","flags":{flags}}}}}}}"#
        );
        let spec = load(json.as_bytes()).unwrap();
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.scheduler().as_ref().unwrap().flags().as_ref().unwrap().len(), 7);
    }

    #[test]
    fn absent_values_are_zero_as_in_go() {
        let spec = load(br#"{"process":{"args":null}}"#).unwrap();
        let process = spec.process().as_ref().unwrap();
        assert_eq!((process.user().uid(), process.cwd().as_os_str().len()), (0, 0));
    }

    /// Go writes what is empty in many ways, and reads all of them.
    #[test]
    fn empty_sections_are_taken() {
        for section in [
            r#""process":{"cwd":"/","user":{},"capabilities":{},"rlimits":null,"env":null,"apparmorProfile":"","consoleSize":{}}"#,
            r#""root":{"path":"x"},"mounts":null,"hooks":{},"annotations":null"#,
            r#""hooks":{"prestart":null,"poststop":[{"path":"/x"}]}"#,
            r#""linux":{"resources":{"memory":{},"cpu":{},"pids":{},"blockIO":{},"network":{},"hugepageLimits":null,"unified":{}}}"#,
            r#""linux":{"resources":{"devices":[{"allow":false}],"rdma":{"x":{}},"pids":{"limit":-1}}}"#,
            r#""linux":{"namespaces":[{"type":"pid","path":""}],"devices":[{"path":"/d","type":"p"}],"seccomp":null}"#,
            r#""linux":{"intelRdt":{},"personality":{"domain":"LINUX"},"timeOffsets":{},"sysctl":null,"cgroupsPath":""}"#,
            r#""linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","architectures":null,"flags":null,"syscalls":null}}"#,
            r#""linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["x"],"action":"SCMP_ACT_LOG","args":null}]}}"#,
            r#""mounts":[{"destination":"/x","type":"","source":"","options":null,"uidMappings":null}],"hostname":"""#,
            r#""linux":{"resources":{"blockIO":{"weightDevice":[{"major":8,"minor":0}]},"memory":{"limit":1,"swap":2,"swappiness":null}}}"#,
            r#""unknownToUs":{"x":1},"windows":null,"vm":null,"solaris":null"#,
        ] {
            load(format!(r#"{{"ociVersion":"1.0.2",{section}}}"#).as_bytes())
                .unwrap_or_else(|e| panic!("{section}: {e}"));
        }
    }

    #[test]
    fn bounded() {
        let endless = std::io::repeat(b' ');
        assert!(matches!(load_reader(endless), Err(Error::TooLarge)));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(load(deep.as_bytes()).is_err());
    }
}

//! From `config.json` to a plan: pure code, no system calls, tested as data.
//!
//! Everything that can be decided is decided here, before the fork, so that the child of a possibly multi-threaded caller has
//! only to execute a list.

pub(crate) mod devices;
pub(crate) mod idmap_lists;
pub(crate) mod ids;
pub(crate) mod mount_options;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod netdevices;
pub(crate) mod process;
pub(crate) mod scheduling;
pub(crate) mod sysctl;

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Hook, Linux, Spec};

use crate::Error;
use crate::intel_rdt::Wanted;
use devices::DeviceNode;
use ids::IdMaps;
use mounts::{MountKind, MountPlan};
use namespaces::Namespaces;
use netdevices::NetDevice;
use process::ProcessPlan;

/// Everything the child of `create` does, in plain data.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Absolute path of the bundle.
    pub(crate) bundle: PathBuf,
    /// Absolute path of the root filesystem on the host.
    pub(crate) rootfs: PathBuf,
    pub(crate) namespaces: Namespaces,
    /// For a new user namespace.
    pub(crate) id_maps: Option<IdMaps>,
    /// `CLOCK seconds nanoseconds` lines for a new time namespace.
    pub(crate) time_offsets: String,
    pub(crate) root_readonly: bool,
    /// Flag and whether it is recursive.
    pub(crate) root_propagation: Option<(u64, bool)>,
    pub(crate) mounts: Vec<MountPlan>,
    /// Empty when `/dev` is a bind mount: it is the host's affair then.
    pub(crate) devices: Vec<DeviceNode>,
    /// Whether `/dev` is ours to fill with links, `ptmx` and the console.
    pub(crate) set_up_dev: bool,
    pub(crate) masked_paths: Vec<PathBuf>,
    pub(crate) readonly_paths: Vec<PathBuf>,
    /// `linux.mountLabel`: SELinux's, so an error on a kernel without it. It is in `mounts` too.
    pub(crate) mount_label: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    /// Path beneath `/proc/sys` and value.
    pub(crate) sysctl: Vec<(String, String)>,
    /// A share of cache and memory bandwidth.
    pub(crate) intel_rdt: Option<Wanted>,
    /// Devices to move into the network namespace.
    pub(crate) net_devices: Vec<NetDevice>,
    pub(crate) process: ProcessPlan,
    pub(crate) hooks: Hooks,
}

/// The hooks of a container, absent lists being empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Hooks {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) prestart: Vec<Hook>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) create_runtime: Vec<Hook>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) create_container: Vec<Hook>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) start_container: Vec<Hook>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) poststart: Vec<Hook>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) poststop: Vec<Hook>,
}

impl Hooks {
    fn plan(spec: &Spec) -> Self {
        let Some(hooks) = spec.hooks() else {
            return Self::default();
        };
        #[allow(deprecated)]
        let prestart = hooks.prestart().clone().unwrap_or_default();
        Self {
            prestart,
            create_runtime: hooks.create_runtime().clone().unwrap_or_default(),
            create_container: hooks.create_container().clone().unwrap_or_default(),
            start_container: hooks.start_container().clone().unwrap_or_default(),
            poststart: hooks.poststart().clone().unwrap_or_default(),
            poststop: hooks.poststop().clone().unwrap_or_default(),
        }
    }
}

impl Plan {
    /// Plans the container of `spec`. `bundle` is absolute. `warnings` gets what is ignored.
    pub(crate) fn new(spec: &Spec, bundle: &Path, warnings: &mut Vec<String>) -> Result<Self, Error> {
        let root = spec
            .root()
            .as_ref()
            .ok_or_else(|| Error::config("root", "root must be specified"))?;
        let linux = spec
            .linux()
            .as_ref()
            .ok_or_else(|| Error::config("linux", "is missing"))?;
        let process = spec
            .process()
            .as_ref()
            .ok_or_else(|| Error::config("process", "process property must not be empty"))?;
        let namespaces = Namespaces::plan(linux.namespaces().as_deref().unwrap_or_default())?;
        let id_maps = id_maps(linux, &namespaces)?;
        let around = mounts::Surroundings {
            bundle,
            id_maps: id_maps.as_ref(),
            label: linux.mount_label().as_deref().filter(|label| !label.is_empty()),
            joins_user_namespace: namespaces.new & libc::CLONE_NEWUSER == 0 && namespaces.in_user_namespace(),
        };
        let mut mounts = Vec::new();
        for (index, mount) in spec.mounts().iter().flatten().enumerate() {
            mounts.push(mounts::plan_mount(mount, index, around)?);
        }
        warn_of_the_past(spec, warnings);
        mounts::close_cgroups(&mut mounts, &namespaces);
        let set_up_dev = !mounts.iter().any(|mount: &MountPlan| {
            mount.destination == Path::new("/dev") && matches!(mount.kind, MountKind::Bind { .. })
        });
        let devices = if set_up_dev {
            devices::plan_devices(linux.devices().as_deref().unwrap_or_default())?
        } else {
            Vec::new()
        };
        let mut process = process::plan_process(process, warnings)?;
        let personality = linux.personality().as_ref();
        process.personality = personality.map(|personality| scheduling::personality(personality, warnings));
        let memory_policy = linux.memory_policy().as_ref();
        process.memory_policy = memory_policy.map(scheduling::MemoryPolicy::plan).transpose()?;
        Ok(Self {
            bundle: bundle.to_path_buf(),
            rootfs: bundle.join(root.path()),
            id_maps,
            time_offsets: time_offsets(linux, &namespaces)?,
            root_readonly: root.readonly().unwrap_or(false),
            root_propagation: root_propagation(linux)?,
            mounts,
            devices,
            set_up_dev,
            masked_paths: paths(linux.masked_paths().as_deref()),
            readonly_paths: paths(linux.readonly_paths().as_deref()),
            mount_label: linux.mount_label().clone().filter(|label| !label.is_empty()),
            hostname: name(spec.hostname().as_deref(), "hostname", &namespaces)?,
            domainname: name(spec.domainname().as_deref(), "domainname", &namespaces)?,
            sysctl: sysctl::plan_sysctl(linux.sysctl().as_ref(), &namespaces)?,
            intel_rdt: linux.intel_rdt().as_ref().map(Wanted::plan),
            net_devices: netdevices::plan_net_devices(linux.net_devices().as_ref())?,
            process,
            hooks: Hooks::plan(spec),
            namespaces,
        })
    }
}

/// What runc still takes, with a warning.
fn warn_of_the_past(spec: &Spec, warnings: &mut Vec<String>) {
    for mount in spec
        .mounts()
        .iter()
        .flatten()
        .filter(|mount| !mount.destination().is_absolute())
    {
        warnings.push(format!(
            "mount destination {} is not absolute. Support for non-absolute mount destinations will be removed in a future release.",
            mount.destination().display()
        ));
    }
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let memory = resources.and_then(|resources| resources.memory().as_ref());
    if memory.is_some_and(|memory| memory.kernel().is_some() || memory.kernel_tcp().is_some()) {
        warnings.push("Kernel memory settings are ignored and will be removed".into());
    }
}

fn paths(list: Option<&[String]>) -> Vec<PathBuf> {
    list.unwrap_or_default()
        .iter()
        .map(|path| mounts::clean(Path::new(path)))
        .collect()
}

fn name(value: Option<&str>, field: &str, namespaces: &Namespaces) -> Result<Option<String>, Error> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    if !namespaces.has(libc::CLONE_NEWUTS) {
        return Err(Error::config(
            field,
            format!("unable to set {field} without a private UTS namespace"),
        ));
    }
    if value.len() > 64 {
        return Err(Error::config(field, "is longer than 64 bytes"));
    }
    Ok(Some(value.to_owned()))
}

fn id_maps(linux: &Linux, namespaces: &Namespaces) -> Result<Option<IdMaps>, Error> {
    let uids = ids::lines(linux.uid_mappings().as_deref());
    let gids = ids::lines(linux.gid_mappings().as_deref());
    if namespaces.new & libc::CLONE_NEWUSER == 0 {
        let mapped = !uids.is_empty() || !gids.is_empty();
        if mapped && !namespaces.in_user_namespace() {
            return Err(Error::config(
                "linux.uidMappings",
                "User namespace mappings specified, but USER namespace isn't enabled in the config",
            ));
        }
        return Ok(None);
    }
    if uids.is_empty() || gids.is_empty() {
        return Err(Error::config(
            "linux.uidMappings",
            "User namespaces enabled, but no uid and gid mappings found.",
        ));
    }
    Ok(Some(IdMaps { uids, gids }))
}

fn time_offsets(linux: &Linux, namespaces: &Namespaces) -> Result<String, Error> {
    let mut lines = String::new();
    for (clock, offset) in linux.time_offsets().iter().flatten() {
        if namespaces.new & libc::CLONE_NEWTIME == 0 {
            return Err(Error::config(
                "linux.timeOffsets",
                "time namespace offsets specified, but time namespace isn't enabled in the config",
            ));
        }
        if clock != "monotonic" && clock != "boottime" {
            return Err(Error::config(
                "linux.timeOffsets",
                format!("{clock:?} is no clock of a time namespace"),
            ));
        }
        lines += &format!(
            "{clock} {} {}\n",
            offset.secs().unwrap_or(0),
            offset.nanosecs().unwrap_or(0)
        );
    }
    Ok(lines)
}

fn root_propagation(linux: &Linux) -> Result<Option<(u64, bool)>, Error> {
    let Some(value) = linux.rootfs_propagation().as_deref().filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    mount_options::propagation(value).map(Some).ok_or_else(|| {
        Error::config(
            "linux.rootfsPropagation",
            format!("rootfsPropagation={value} is not supported"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config() -> Value {
        json!({
            "ociVersion": "1.0.2", "hostname": "h", "annotations": {"a": "b"},
            "root": {"path": "rootfs", "readonly": true},
            "process": {
                "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3]}, "args": ["a"], "env": ["A=b"], "cwd": "/",
                "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}], "oomScoreAdj": 5, "consoleSize": {"height": 1, "width": 2},
                "capabilities": {"bounding": ["CAP_KILL"], "ambient": ["CAP_KILL"]}, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 1},
            },
            "mounts": [{"destination": "/d", "type": "tmpfs", "source": "s", "options": ["ro", "size=1k"]}],
            "hooks": {"poststop": [{"path": "/h", "args": ["h"], "env": ["A=b"], "timeout": 1}]},
            "linux": {
                "namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "network"}, {"type": "time"}, {"type": "user"}],
                "uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}], "gidMappings": [{"containerID": 0, "hostID": 1, "size": 2}],
                "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 2, "fileMode": 3, "uid": 4, "gid": 5}],
                "sysctl": {"net.a": "1"}, "timeOffsets": {"boottime": {"secs": 1, "nanosecs": 2}}, "rootfsPropagation": "slave",
                "maskedPaths": ["/a"], "readonlyPaths": ["/b"], "personality": {"domain": "LINUX"},
            },
        })
    }

    /// Every place of a document, as JSON pointers.
    fn places(value: &Value, path: &str, all: &mut Vec<String>) {
        all.push(path.to_owned());
        match value {
            Value::Object(map) => map
                .iter()
                .for_each(|(key, value)| places(value, &format!("{path}/{}", key.replace('/', "~1")), all)),
            Value::Array(list) => list
                .iter()
                .enumerate()
                .for_each(|(index, value)| places(value, &format!("{path}/{index}"), all)),
            _ => {}
        }
    }

    fn plan(value: &Value) -> Option<Result<Plan, Error>> {
        let spec = serde_json::from_value(value.clone()).ok()?;
        Some(Plan::new(&spec, Path::new("/bundle"), &mut Vec::new()))
    }

    #[test]
    fn whatever_stands_in_a_field_is_planned_or_refused() {
        let sound = config();
        assert!(plan(&sound).unwrap().is_ok());
        let mut all = Vec::new();
        places(&sound, "", &mut all);
        let odd = [
            json!(null),
            json!(-1),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(""),
            json!("../../../x"),
            json!("a\u{0}b"),
            json!("/"),
            json!([]),
            json!({}),
            json!(["", "\u{0}", "rro", "=", "a=b=c", ","]),
            json!(true),
            json!("\u{10ffff}".repeat(5000)),
        ];
        let (mut planned, mut refused) = (0, 0);
        for place in &all {
            for value in &odd {
                let mut broken = sound.clone();
                *broken.pointer_mut(place).unwrap() = value.clone();
                match plan(&broken) {
                    Some(Ok(_)) => planned += 1,
                    Some(Err(error)) => {
                        assert!(!error.to_string().is_empty());
                        refused += 1;
                    }
                    None => {}
                }
            }
        }
        assert!(planned > 100 && refused > 30, "{planned} planned, {refused} refused");
    }
}

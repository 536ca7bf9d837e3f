//! From `config.json` to a plan: pure code, no system calls, tested as data.
//!
//! Everything that can be decided is decided here, before the fork, so that the child of a possibly multi-threaded caller has
//! only to execute a list.

pub(crate) mod devices;
pub(crate) mod ids;
pub(crate) mod mount_options;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod process;
pub(crate) mod sysctl;

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Hook, Linux, Spec};

use crate::Error;
use devices::DeviceNode;
use ids::IdMaps;
use mounts::{MountKind, MountPlan};
use namespaces::Namespaces;
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
    /// `linux.mountLabel`: SELinux's, so an error on a kernel without it.
    pub(crate) mount_label: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    /// Path beneath `/proc/sys` and value.
    pub(crate) sysctl: Vec<(String, String)>,
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
        refuse_unsupported(linux)?;
        let namespaces = Namespaces::plan(linux.namespaces().as_deref().unwrap_or_default())?;
        let mut mounts = Vec::new();
        for (index, mount) in spec.mounts().iter().flatten().enumerate() {
            mounts.push(mounts::plan_mount(mount, index, bundle)?);
        }
        let set_up_dev = !mounts.iter().any(|mount: &MountPlan| {
            mount.destination == Path::new("/dev") && matches!(mount.kind, MountKind::Bind { .. })
        });
        let devices = if set_up_dev {
            devices::plan_devices(linux.devices().as_deref().unwrap_or_default())?
        } else {
            Vec::new()
        };
        let mut process = process::plan_process(process, warnings)?;
        process.personality = linux.personality().as_ref().map(process::personality).transpose()?;
        Ok(Self {
            bundle: bundle.to_path_buf(),
            rootfs: bundle.join(root.path()),
            id_maps: id_maps(linux, &namespaces)?,
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
            process,
            hooks: Hooks::plan(spec),
            namespaces,
        })
    }
}

/// What would be promised and not kept is an error, not silence.
fn refuse_unsupported(linux: &Linux) -> Result<(), Error> {
    let devices = linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty());
    for (there, field) in [
        (linux.intel_rdt().is_some(), "linux.intelRdt"),
        (linux.memory_policy().is_some(), "linux.memoryPolicy"),
        (devices, "linux.netDevices"),
    ] {
        if there {
            return Err(Error::config(field, "is not supported by this build"));
        }
    }
    Ok(())
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

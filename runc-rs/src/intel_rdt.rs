//! `linux.intelRdt`: a share of the processor's cache and memory bandwidth, by the kernel's resctrl filesystem.
//!
//! A container belongs to a *class of service*, a directory of resctrl: one of its own, named by its id and removed with it, or one that is
//! named in the configuration and stays. With monitoring it has a directory of its own in the class's `mon_groups`. Everything that
//! touches the filesystem takes its root as an argument, so that a plain tree of directories does for a test.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxIntelRdt;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::words::Words;

/// Where resctrl is mounted by custom.
const CUSTOMARY: &str = "/sys/fs/resctrl";
/// `RDTGROUP_SUPER_MAGIC` (linux/magic.h).
const MAGIC: i64 = 0x0765_5821;

/// The directories of a container, kept with its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Groups {
    /// The mounted filesystem.
    root: PathBuf,
    /// The class of service.
    class: PathBuf,
    /// The class is the container's own.
    own: bool,
    monitoring: Option<PathBuf>,
}

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Lines for `schemata`; a later line for a resource replaces an earlier one.
    lines: Vec<String>,
    /// `l3CacheSchema` is set.
    l3: bool,
    /// `memBwSchema` is set.
    bandwidth: bool,
    class: Option<String>,
    monitoring: bool,
}

impl Wanted {
    /// From the configuration (runtime-spec 1.3, "IntelRdt").
    pub(crate) fn plan(config: &LinuxIntelRdt) -> Self {
        let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let (l3, bandwidth) = (text(config.l3_cache_schema()), text(config.mem_bw_schema()));
        let mut wanted = Self::schemas(l3.as_deref(), bandwidth.as_deref());
        wanted.lines.extend(config.schemata().iter().flatten().cloned());
        wanted.class = text(config.clos_id());
        wanted.monitoring = config.enable_monitoring().unwrap_or(false);
        wanted
    }

    /// The two schemas with a field of their own. Lines on bandwidth in the cache's schema give way to the bandwidth's own.
    pub(crate) fn schemas(l3: Option<&str>, bandwidth: Option<&str>) -> Self {
        let of_cache = l3
            .unwrap_or("")
            .lines()
            .filter(|line| bandwidth.is_none() || !line.starts_with("MB:"));
        Self {
            lines: of_cache.chain(bandwidth).map(str::to_owned).collect(),
            l3: l3.is_some(),
            bandwidth: bandwidth.is_some(),
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what this machine does not have, in runc's words.
    fn check(&self, root: Option<&Path>) -> Result<(), Error> {
        let refuse = |field: &str, feature: &str| {
            let message = format!("intelRdt.{field} is specified in config, but Intel RDT{feature} is not enabled");
            Err(Error::config(format!("linux.intelRdt.{field}"), message))
        };
        let has = |name: &str| root.is_some_and(|root| root.join("info").join(name).exists());
        if self.l3 && !has("L3") {
            return refuse("l3CacheSchema", "/CAT");
        }
        if self.bandwidth && !has("MB") {
            return refuse("memBwSchema", "/MBA");
        }
        match root {
            None if self.monitoring => refuse("enableMonitoring", ""),
            None if !self.lines.is_empty() => refuse("schemata", ""),
            None => refuse("closID", ""),
            Some(_) => Ok(()),
        }
    }
}

/// The mounted filesystem, if there is one.
pub(crate) fn find_root() -> Option<PathBuf> {
    // The kernel makes this directory where the processor has the feature.
    let found = rustix::fs::statfs(CUSTOMARY).ok()?;
    if found.f_type == MAGIC {
        return Some(PathBuf::from(CUSTOMARY));
    }
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    table
        .lines()
        .find(|line| {
            line.split_once(" - ")
                .is_some_and(|(_, rest)| rest.starts_with("resctrl "))
        })
        .and_then(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
}

/// The directories for container `id`; `None` when nothing is asked for.
///
/// # Errors
/// What the machine cannot do.
pub(crate) fn locate(
    wanted: Option<&Wanted>,
    root: impl FnOnce() -> Option<PathBuf>,
    id: &str,
) -> Result<Option<Groups>, Error> {
    let Some(wanted) = wanted else { return Ok(None) };
    let root = root();
    if root.is_some() || !wanted.is_empty() {
        wanted.check(root.as_deref())?;
    }
    Ok(root.map(|root| {
        let class = match wanted.class.as_deref() {
            // The class that everything is in.
            Some("/") => root.clone(),
            Some(name) => root.join(name),
            None => root.join(id),
        };
        Groups {
            own: wanted.class.is_none(),
            monitoring: wanted.monitoring.then(|| class.join("mon_groups").join(id)),
            root,
            class,
        }
    }))
}

impl Groups {
    /// Makes the directories and writes the schemata. What is made and not the container's own is returned, to be removed on failure.
    ///
    /// # Errors
    /// With what the kernel noted on the failure.
    pub(crate) fn make(&self, wanted: &Wanted) -> Result<Vec<PathBuf>, Error> {
        let mut made = Vec::new();
        let exists = self.class.is_dir();
        if !exists && !self.own && wanted.lines.is_empty() {
            let message =
                "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are empty)";
            return Err(Error::System {
                action: format!("{message}: stat {}", self.class.display()),
                source: io::Error::from_raw_os_error(libc::ENOENT),
            });
        }
        if exists && !self.own {
            self.compare(wanted)?;
        } else {
            fs::create_dir_all(&self.class)
                .map_err(|error| self.failed("unable to create a class of service", &error))?;
            made.push(self.class.clone());
            self.write_schemata(wanted).inspect_err(|_| remove_all(&made))?;
        }
        if let Some(monitoring) = &self.monitoring {
            let result = fs::create_dir_all(monitoring);
            result
                .map_err(|error| self.failed("unable to create a monitoring group", &error))
                .inspect_err(|_| remove_all(&made))?;
            made.insert(0, monitoring.clone());
        }
        Ok(made)
    }

    /// Writes the lines to the class's `schemata`, in one go.
    pub(crate) fn write_schemata(&self, wanted: &Wanted) -> Result<(), Error> {
        if wanted.lines.is_empty() {
            return Ok(());
        }
        let text = wanted.lines.join("\n");
        write(&self.class.join("schemata"), format!("{text}\n").as_bytes())
            .map_err(|error| self.failed(&format!("unable to write {text}"), &error))
    }

    /// A class that is not the container's own must have what is asked for: others may be in it.
    fn compare(&self, wanted: &Wanted) -> Result<(), Error> {
        let path = self.class.join("schemata");
        if wanted.lines.is_empty() {
            return Ok(());
        }
        let text = fs::read_to_string(&path).map_err(|error| Error::file("read", &path, error))?;
        for (at, line) in wanted.lines.iter().enumerate() {
            let resource = |line: &str| line.split_once(':').map(|(name, _)| name.trim().to_owned());
            let replaced = wanted
                .lines
                .iter()
                .skip(at + 1)
                .any(|later| resource(later) == resource(line));
            let there = text
                .lines()
                .find(|there| resource(there) == resource(line))
                .unwrap_or("");
            if !replaced && !is_part(line, there) {
                let message = format!("the existing class of service has {:?}, not {line:?}", there.trim());
                return Err(Error::config("linux.intelRdt.closID", message));
            }
        }
        Ok(())
    }

    /// The files into which a `0` puts the writer into the groups, class first.
    pub(crate) fn tasks(&self) -> Vec<CString> {
        let directories = [Some(&self.class), self.monitoring.as_ref()];
        let files = directories
            .into_iter()
            .flatten()
            .map(|directory| directory.join("tasks"));
        files
            .filter_map(|file| CString::new(file.as_os_str().as_bytes()).ok())
            .collect()
    }

    /// Puts process `pid` into the class.
    pub(crate) fn enter(&self, pid: i32) -> Result<(), Error> {
        write(&self.class.join("tasks"), pid.to_string().as_bytes())
            .map_err(|error| self.failed(&format!("unable to add pid {pid}"), &error))
    }

    /// Removes what is the container's own.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        let own = if self.own {
            Some(&self.class)
        } else {
            self.monitoring.as_ref()
        };
        let Some(directory) = own else { return Ok(()) };
        match fs::remove_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", directory, error)),
            _ => Ok(()),
        }
    }

    fn failed(&self, what: &str, error: &io::Error) -> Error {
        // Best effort: kernels before 4.16 have no such file.
        let status = fs::read_to_string(self.root.join("info/last_cmd_status")).unwrap_or_default();
        let note = match status.trim() {
            "" | "ok" => String::new(),
            status => format!(", last_cmd_status: {status}"),
        };
        Error::Process(format!("intelrdt: {what}: {}{note}", Words(error)))
    }
}

/// Removes directories that were made in vain.
pub(crate) fn remove_all(made: &[PathBuf]) {
    for directory in made {
        // The error that led here is the one to report.
        let _ = fs::remove_dir(directory);
    }
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?
        .write_all(text)
}

/// Whether every value of the line `asked` is in the line `there`: `L3:0=f` in `L3:0=00f;1=fff`.
fn is_part(asked: &str, there: &str) -> bool {
    let values = |line: &str| -> Vec<(String, String)> {
        let (_, values) = line.split_once(':').unwrap_or(("", ""));
        values
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .map(|(domain, value)| {
                let value = value.trim().trim_start_matches('0').to_ascii_lowercase();
                (domain.trim().to_owned(), value)
            })
            .collect()
    };
    let there = values(there);
    values(asked).iter().all(|pair| there.contains(pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as resctrl shows it; `class` exists in it, with the kernel's way of writing its schemata.
    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for directory in ["info/L3", "info/MB", "class/mon_groups", "mon_groups"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        fs::write(
            root.path().join("class/schemata"),
            "    MB:0=100;1= 70\n    L3:0=000ff;1=fffff\n",
        )
        .unwrap();
        root
    }

    fn plan(json: serde_json::Value) -> Wanted {
        Wanted::plan(&serde_json::from_value(json).unwrap())
    }

    fn groups(wanted: &Wanted, root: &Path) -> Groups {
        locate(Some(wanted), || Some(root.to_path_buf()), "id")
            .unwrap()
            .unwrap()
    }

    #[test]
    fn the_lines_that_are_written() {
        let lines = |json: serde_json::Value| plan(json).lines;
        assert_eq!(
            lines(serde_json::json!({"l3CacheSchema": "L3:0=f\nMB:0=10", "memBwSchema": "MB:0=20"})),
            ["L3:0=f", "MB:0=20"]
        );
        assert_eq!(
            lines(serde_json::json!({"l3CacheSchema": "L3:0=f\nMB:0=10"})),
            ["L3:0=f", "MB:0=10"]
        );
        let all = lines(serde_json::json!({"l3CacheSchema": "L3:0=f", "schemata": ["L2:0=1", "L3:0=3"]}));
        assert_eq!(all, ["L3:0=f", "L2:0=1", "L3:0=3"]);
    }

    #[test]
    fn a_class_of_its_own_is_made_and_removed() {
        let root = tree();
        let wanted =
            plan(serde_json::json!({"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20", "enableMonitoring": true}));
        let groups = groups(&wanted, root.path());
        groups.make(&wanted).unwrap();
        let schemata = root.path().join("id/schemata");
        assert_eq!(fs::read_to_string(&schemata).unwrap(), "L3:0=f\nMB:0=20\n");
        let tasks: Vec<PathBuf> = groups
            .tasks()
            .iter()
            .map(|file| PathBuf::from(file.to_str().unwrap()))
            .collect();
        assert_eq!(
            tasks,
            [root.path().join("id/tasks"), root.path().join("id/mon_groups/id/tasks")]
        );
        groups.enter(42).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("id/tasks")).unwrap(), "42");
        // The kernel's directories go with everything in them; these have to be emptied.
        fs::remove_dir_all(root.path().join("id")).unwrap();
        fs::create_dir(root.path().join("id")).unwrap();
        groups.remove().unwrap();
        groups.remove().unwrap();
        assert!(!root.path().join("id").exists());
    }

    #[test]
    fn a_named_class_has_to_be_there_or_to_be_described() {
        let root = tree();
        let absent = plan(serde_json::json!({"closID": "absent"}));
        let error = groups(&absent, root.path()).make(&absent).unwrap_err().to_string();
        assert!(
            error.starts_with("clos dir not accessible (must be pre-created when"),
            "{error}"
        );
        let described = plan(serde_json::json!({"closID": "absent", "schemata": ["L3:0=1"]}));
        let made = groups(&described, root.path()).make(&described).unwrap();
        assert_eq!(made, [root.path().join("absent")]);
        let there = plan(serde_json::json!({"closID": "class", "enableMonitoring": true}));
        let groups = groups(&there, root.path());
        groups.make(&there).unwrap();
        assert!(root.path().join("class/mon_groups/id").is_dir());
        groups.remove().unwrap();
        assert!(root.path().join("class").is_dir() && !root.path().join("class/mon_groups/id").exists());
    }

    #[test]
    fn a_class_of_others_is_not_changed() {
        let root = tree();
        let before = fs::read_to_string(root.path().join("class/schemata")).unwrap();
        for (schema, fits) in [
            ("L3:0=FF", true),
            ("L3:0=0ff;1=fffff", true),
            ("MB:1=70", true),
            ("L3:0=f", false),
            ("L2:0=f", false),
        ] {
            let wanted = plan(serde_json::json!({"closID": "class", "schemata": [schema]}));
            assert_eq!(groups(&wanted, root.path()).make(&wanted).is_ok(), fits, "{schema}");
        }
        assert_eq!(fs::read_to_string(root.path().join("class/schemata")).unwrap(), before);
    }

    #[test]
    fn the_root_is_the_default_class() {
        let root = tree();
        let wanted = plan(serde_json::json!({"closID": "/", "enableMonitoring": true}));
        let groups = groups(&wanted, root.path());
        groups.make(&wanted).unwrap();
        assert!(root.path().join("mon_groups/id").is_dir());
        groups.remove().unwrap();
        assert!(root.path().join("info").is_dir());
    }

    #[test]
    fn without_the_feature_it_is_an_error_in_runcs_words() {
        for (json, words) in [
            (
                serde_json::json!({"l3CacheSchema": "L3:0=f"}),
                "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled",
            ),
            (
                serde_json::json!({"memBwSchema": "MB:0=9"}),
                "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled",
            ),
            (
                serde_json::json!({"schemata": ["L3:0=f"]}),
                "intelRdt.schemata is specified",
            ),
            (
                serde_json::json!({"enableMonitoring": true}),
                "intelRdt.enableMonitoring is specified",
            ),
            (serde_json::json!({"closID": "x"}), "intelRdt.closID is specified"),
        ] {
            let error = locate(Some(&plan(json)), || None, "id").unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(locate(Some(&plan(serde_json::json!({}))), || None, "id").unwrap(), None);
        assert_eq!(locate(None, || unreachable!(), "id").unwrap(), None);
    }
}

//! What `runc spec` prints: byte for byte the layout of the original, so that tools that diff or patch it keep working.

use std::fmt::Write as _;

use crate::load::{Error, load};
use oci_spec::runtime::Spec;

/// Choices of the default config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `--rootless`: the user and group that root in the container is mapped to.
    pub rootless: Option<(u32, u32)>,
    /// The host is cgroup v2: a cgroup namespace is added.
    pub cgroup2: bool,
}

const PROCESS: &str = r#"{
	"ociVersion": "VERSION",
	"process": {
		"terminal": true,
		"user": {
			"uid": 0,
			"gid": 0
		},
		"args": [
			"sh"
		],
		"env": [
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"TERM=xterm"
		],
		"cwd": "/",
		"capabilities": {
"#;

const ROOT: &str = r#"		},
		"rlimits": [
			{
				"type": "RLIMIT_NOFILE",
				"hard": 1024,
				"soft": 1024
			}
		],
		"noNewPrivileges": true
	},
	"root": {
		"path": "rootfs",
		"readonly": true
	},
	"hostname": "runc",
	"mounts": [
"#;

const PATHS: &str = r#"		],
		"maskedPaths": [
			"/proc/acpi",
			"/proc/asound",
			"/proc/kcore",
			"/proc/keys",
			"/proc/latency_stats",
			"/proc/timer_list",
			"/proc/timer_stats",
			"/proc/sched_debug",
			"/sys/firmware",
			"/proc/scsi"
		],
		"readonlyPaths": [
			"/proc/bus",
			"/proc/fs",
			"/proc/irq",
			"/proc/sys",
			"/proc/sysrq-trigger"
		]
	}
}"#;

/// Destination, type, source, options.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str]);

const MOUNTS: [Row; 7] = [
    ("/proc", "proc", "proc", &[]),
    (
        "/dev",
        "tmpfs",
        "tmpfs",
        &["nosuid", "strictatime", "mode=755", "size=65536k"],
    ),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    (
        "/dev/shm",
        "tmpfs",
        "shm",
        &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    ),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    (
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &["nosuid", "noexec", "nodev", "relatime", "ro"],
    ),
];

/// The text that `runc spec` writes, without a newline at the end (as the original).
pub fn default_spec_json(options: Options) -> String {
    let mut json = PROCESS.replace("VERSION", crate::OCI_VERSION_ENGINE);
    let sets = ["bounding", "effective", "permitted"];
    let capabilities: Vec<String> = sets
        .iter()
        .map(|set| {
            let names = "\t\t\t\t\"CAP_AUDIT_WRITE\",\n\t\t\t\t\"CAP_KILL\",\n\t\t\t\t\"CAP_NET_BIND_SERVICE\"";
            format!("\t\t\t\"{set}\": [\n{names}\n\t\t\t]")
        })
        .collect();
    json.push_str(&capabilities.join(",\n"));
    json.push('\n');
    json.push_str(ROOT);
    let mounts: Vec<String> = MOUNTS
        .iter()
        .map(|row| mount(row, options.rootless.is_some()))
        .collect();
    json.push_str(&mounts.join(",\n"));
    json.push_str("\n\t],\n\t\"linux\": {\n");
    match options.rootless {
        Some((uid, gid)) => {
            for (key, id) in [("uidMappings", uid), ("gidMappings", gid)] {
                let fields = format!("\t\t\t\t\"containerID\": 0,\n\t\t\t\t\"hostID\": {id},\n\t\t\t\t\"size\": 1\n");
                let _ = writeln!(json, "\t\t\"{key}\": [\n\t\t\t{{\n{fields}\t\t\t}}\n\t\t],");
            }
        }
        None => {
            let rule = "\t\t\t\t{\n\t\t\t\t\t\"allow\": false,\n\t\t\t\t\t\"access\": \"rwm\"\n\t\t\t\t}\n";
            let _ = writeln!(
                json,
                "\t\t\"resources\": {{\n\t\t\t\"devices\": [\n{rule}\t\t\t]\n\t\t}},"
            );
        }
    }
    let network = options.rootless.is_none().then_some("network");
    let cgroup = options.cgroup2.then_some("cgroup");
    let user = options.rootless.map(|_| "user");
    let names = [
        Some("pid"),
        network,
        Some("ipc"),
        Some("uts"),
        Some("mount"),
        cgroup,
        user,
    ];
    let namespaces: Vec<String> = names
        .into_iter()
        .flatten()
        .map(|n| format!("\t\t\t{{\n\t\t\t\t\"type\": \"{n}\"\n\t\t\t}}"))
        .collect();
    let _ = writeln!(json, "\t\t\"namespaces\": [\n{}", namespaces.join(",\n"));
    json.push_str(PATHS);
    json
}

fn mount(row: &Row, rootless: bool) -> String {
    let (destination, mut kind, mut source, options) = *row;
    let mut options: Vec<&str> = options
        .iter()
        .copied()
        .filter(|o| !(rootless && *o == "gid=5"))
        .collect();
    if rootless && destination == "/sys" {
        // sysfs belongs to the network namespace, which is the host's here.
        (kind, source) = ("none", "/sys");
        options.insert(0, "rbind");
    }
    let mut text = format!(
        "\t\t{{\n\t\t\t\"destination\": \"{destination}\",\n\t\t\t\"type\": \"{kind}\",\n\t\t\t\"source\": \"{source}\""
    );
    if !options.is_empty() {
        let lines: Vec<String> = options.iter().map(|o| format!("\t\t\t\t\"{o}\"")).collect();
        let _ = write!(text, ",\n\t\t\t\"options\": [\n{}\n\t\t\t]", lines.join(",\n"));
    }
    text.push_str("\n\t\t}");
    text
}

/// The default config as a value, for a program that changes it before use.
///
/// # Errors
/// None in practice: the text above is read back.
pub fn default_spec(options: Options) -> Result<Spec, Error> {
    load(default_spec_json(options).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_is_a_valid_config() {
        for cgroup2 in [false, true] {
            for rootless in [None, Some((1000, 1001))] {
                let spec = default_spec(Options { rootless, cgroup2 }).unwrap();
                crate::validate(&spec).unwrap();
                let count = spec.linux().as_ref().unwrap().namespaces().as_ref().unwrap().len();
                assert_eq!(count, 5 + usize::from(cgroup2));
            }
        }
    }
}

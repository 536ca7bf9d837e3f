//! The mount points of a new container: `-v`, `--mount`, `--tmpfs`, `--volumes-from`, and the image's volumes.
//!
//! Read as text first (pure), then volumes are made where one is asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::model::{ContainerConfig, HostConfig, Mount, MountPoint};
use super::validate::clean;
use super::volumes;
use crate::error::{Error, Result};

/// A mount point, with what its volume needs to be made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) point: MountPoint,
    /// Labels of a volume that is made for it.
    pub(crate) labels: BTreeMap<String, String>,
}

/// All mount points that the request asks for, by destination; `-v` and `--mount` come before the image's volumes. `inherited` are those of
/// `--volumes-from`.
pub(crate) fn wanted(
    config: &ContainerConfig,
    host_config: &HostConfig,
    inherited: Vec<MountPoint>,
) -> Result<Vec<Wanted>> {
    let mut all: BTreeMap<String, Wanted> = BTreeMap::new();
    for point in inherited {
        all.insert(
            point.destination.clone(),
            Wanted {
                point,
                labels: BTreeMap::new(),
            },
        );
    }
    let mut explicit: Vec<String> = Vec::new();
    let mut put = |wanted: Wanted, all: &mut BTreeMap<String, Wanted>| {
        let destination = wanted.point.destination.clone();
        if explicit.contains(&destination) {
            return Err(Error::invalid(format!("Duplicate mount point: {destination}")));
        }
        explicit.push(destination.clone());
        all.insert(destination, wanted);
        Ok(())
    };
    for bind in host_config.binds.iter().flatten() {
        put(parse_bind(bind, &host_config.volume_driver)?, &mut all)?;
    }
    for mount in host_config.mounts.iter().flatten() {
        put(parse_mount(mount)?, &mut all)?;
    }
    for (destination, options) in host_config.tmpfs.iter().flatten() {
        let options = options
            .split(',')
            .filter(|option| !option.is_empty())
            .map(str::to_owned)
            .collect();
        put(tmpfs(destination, options)?, &mut all)?;
    }
    for destination in config.volumes.iter().flatten().map(|(destination, _)| destination) {
        let destination = absolute(destination)?;
        all.entry(destination.clone()).or_insert_with(|| Wanted {
            point: MountPoint {
                anonymous: true,
                copy_up: true,
                driver: "local".to_owned(),
                ..point("volume", destination)
            },
            labels: BTreeMap::new(),
        });
    }
    Ok(all.into_values().collect())
}

fn point(kind: &str, destination: String) -> MountPoint {
    MountPoint {
        kind: kind.to_owned(),
        name: String::new(),
        source: PathBuf::new(),
        destination,
        driver: String::new(),
        mode: String::new(),
        rw: true,
        propagation: String::new(),
        options: Vec::new(),
        anonymous: false,
        make_source: false,
        copy_up: false,
        subpath: String::new(),
        non_recursive: false,
    }
}

fn absolute(destination: &str) -> Result<String> {
    let wrong = |why| {
        Error::invalid(format!(
            "invalid volume specification: '{destination}': invalid mount config for type \"volume\": {why}"
        ))
    };
    if !destination.starts_with('/') {
        return Err(wrong("invalid mount path: mount path must be absolute"));
    }
    let clean = clean(destination);
    if clean == "/" {
        return Err(Error::invalid(format!(
            "invalid volume specification: '{destination}': invalid specification: destination can't be '/'"
        )));
    }
    Ok(clean)
}

/// `SOURCE:DESTINATION[:MODE]`, or `DESTINATION`.
fn parse_bind(text: &str, driver: &str) -> Result<Wanted> {
    let wrong = |why: &str| Error::invalid(format!("invalid volume specification: '{text}'{why}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match parts.as_slice() {
        [destination] => ("", *destination, ""),
        [source, destination] => (*source, *destination, ""),
        [source, destination, mode] => (*source, *destination, *mode),
        _ => return Err(wrong("")),
    };
    if destination.is_empty() || (parts.len() > 1 && source.is_empty()) {
        return Err(wrong(""));
    }
    let destination = absolute(destination)?;
    let is_path = source.starts_with('/');
    let mut point = point(if is_path { "bind" } else { "volume" }, destination);
    mode.clone_into(&mut point.mode);
    point.copy_up = !is_path;
    for word in mode.split(',').filter(|word| !word.is_empty()) {
        match word {
            "ro" => point.rw = false,
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            "nocopy" if !is_path => point.copy_up = false,
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" if is_path => {
                word.clone_into(&mut point.propagation)
            }
            _ => return Err(Error::invalid(format!("invalid mode: {mode}"))),
        }
    }
    if is_path {
        point.source = PathBuf::from(clean(source));
        point.make_source = true;
        if point.propagation.is_empty() {
            "rprivate".clone_into(&mut point.propagation);
        }
    } else {
        if source.is_empty() {
            point.anonymous = true;
        } else {
            volumes::check(source)?.clone_into(&mut point.name);
        }
        if driver.is_empty() { "local" } else { driver }.clone_into(&mut point.driver);
        if point.mode.is_empty() {
            "z".clone_into(&mut point.mode);
        }
    }
    Ok(Wanted {
        point,
        labels: BTreeMap::new(),
    })
}

fn parse_mount(mount: &Mount) -> Result<Wanted> {
    let wrong = |why: &str| Error::invalid(format!("invalid mount config for type {:?}: {why}", mount.kind));
    if mount.target.is_empty() {
        return Err(wrong("field Target must not be empty"));
    }
    if !mount.target.starts_with('/') {
        return Err(wrong("invalid mount path: mount path must be absolute"));
    }
    let destination = absolute(&mount.target)?;
    let mut point = point(&mount.kind, destination);
    point.rw = !mount.read_only;
    let mut labels = BTreeMap::new();
    match mount.kind.as_str() {
        "bind" => {
            if mount.source.is_empty() {
                return Err(wrong("field Source must not be empty"));
            }
            if !mount.source.starts_with('/') {
                return Err(wrong(&format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    mount.source
                )));
            }
            let options = mount.bind_options.clone().unwrap_or_default();
            point.source = PathBuf::from(clean(&mount.source));
            point.make_source = options.create_mountpoint;
            point.non_recursive = options.non_recursive;
            point.propagation = if options.propagation.is_empty() {
                "rprivate".to_owned()
            } else {
                options.propagation
            };
            if !point.make_source && !point.source.exists() {
                return Err(wrong(&format!("bind source path does not exist: {}", mount.source)));
            }
        }
        "volume" => {
            let options = mount.volume_options.clone().unwrap_or_default();
            if mount.source.is_empty() {
                point.anonymous = true;
            } else {
                volumes::check(&mount.source)?.clone_into(&mut point.name);
            }
            point.copy_up = !options.no_copy;
            point.subpath = options.subpath;
            "local".clone_into(&mut point.driver);
            "z".clone_into(&mut point.mode);
            labels = options.labels;
        }
        "tmpfs" => {
            if !mount.source.is_empty() {
                return Err(wrong("field Source must not be specified"));
            }
            let options = mount.tmpfs_options.clone().unwrap_or_default();
            if options.size_bytes > 0 {
                point.options.push(format!("size={}", options.size_bytes));
            }
            if options.mode != 0 {
                point.options.push(format!("mode={:o}", options.mode));
            }
            if mount.read_only {
                point.options.push("ro".to_owned());
            }
        }
        other => return Err(Error::invalid(format!("mount type unknown: {other:?}"))),
    }
    Ok(Wanted { point, labels })
}

fn tmpfs(destination: &str, options: Vec<String>) -> Result<Wanted> {
    let destination = absolute(destination)?;
    let known = |option: &String| {
        let key = option.split('=').next().unwrap_or_default();
        matches!(
            key,
            "size"
                | "mode"
                | "uid"
                | "gid"
                | "nr_inodes"
                | "nr_blocks"
                | "mpol"
                | "ro"
                | "rw"
                | "exec"
                | "noexec"
                | "suid"
                | "nosuid"
        ) || matches!(
            key,
            "dev" | "nodev" | "sync" | "async" | "noatime" | "relatime" | "strictatime" | "nodiratime" | "inode64"
        )
    };
    if let Some(option) = options.iter().find(|option| !known(option)) {
        return Err(Error::invalid(format!("invalid tmpfs option {option:?}")));
    }
    Ok(Wanted {
        point: MountPoint {
            options,
            ..point("tmpfs", destination)
        },
        labels: BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(binds: &[&str]) -> Result<Vec<Wanted>> {
        let host_config = HostConfig {
            binds: Some(binds.iter().map(|b| (*b).to_owned()).collect()),
            ..HostConfig::default()
        };
        let volumes = BTreeMap::from([("/data".to_owned(), serde_json::json!({}))]);
        wanted(
            &ContainerConfig {
                volumes: Some(volumes),
                ..ContainerConfig::default()
            },
            &host_config,
            Vec::new(),
        )
    }

    #[test]
    fn binds_volumes_and_the_images_own() {
        let all = with(&["/host:/c:ro", "named:/n", "/anon"]).unwrap();
        let kinds: Vec<_> = all
            .iter()
            .map(|w| {
                (
                    w.point.destination.as_str(),
                    w.point.kind.as_str(),
                    w.point.rw,
                    w.point.anonymous,
                )
            })
            .collect();
        assert_eq!(
            kinds,
            [
                ("/anon", "volume", true, true),
                ("/c", "bind", false, false),
                ("/data", "volume", true, true),
                ("/n", "volume", true, false)
            ]
        );
        // A mount of the request takes the place of the image's.
        let all = with(&["/host:/data"]).unwrap();
        assert_eq!((all.len(), all[0].point.kind.as_str()), (1, "bind"));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "a:b:c:d", "/h:rel", "/h:/", "/h:/c:nope", ":/c", "bad/name:/c"] {
            assert!(with(&[bad]).is_err(), "{bad}");
        }
        assert_eq!(
            with(&["/a:/c", "/b:/c"]).unwrap_err().message,
            "Duplicate mount point: /c"
        );
    }
}

//! `_ping`, `version`, `info`, `auth`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, HeaderValue, PRAGMA};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::version::MAX_TEXT;
use super::{ApiVersion, MIN_VERSION, Params};
use crate::engine::list::ListOptions;
use crate::engine::model::Status;
use crate::engine::{Engine, blocking};
use crate::error::Result;
use crate::images::{ImageFilters, ImageListOptions};

/// The version of this daemon.
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/_ping", get(ping))
        .route("/version", get(version))
        .route("/info", get(info))
        .route("/system/df", get(disk_usage))
}

async fn ping() -> impl IntoResponse {
    let mut headers = HeaderMap::new();
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate"),
    );
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert("Builder-Version", HeaderValue::from_static("1"));
    headers.insert("Swarm", HeaderValue::from_static("inactive"));
    (headers, "OK")
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

async fn version(State(engine): State<Arc<Engine>>) -> Result<Json<Value>> {
    let uname = rustix::system::uname();
    let kernel = uname.release().to_string_lossy();
    let lower = engine.l3.version().version(()).await?.into_inner();
    let name = if engine.l3.address().is_some() {
        "containerd"
    } else {
        "containerd-rs"
    };
    Ok(Json(json!({
        "Platform": {"Name": "dockerd-rs"},
        "Version": VERSION,
        "ApiVersion": MAX_TEXT,
        "MinAPIVersion": MIN_VERSION.to_string(),
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": architecture(),
        "KernelVersion": kernel,
        "BuildTime": "",
        "Components": [
            {
                "Name": "Engine",
                "Version": VERSION,
                "Details": {
                    "ApiVersion": MAX_TEXT, "MinAPIVersion": MIN_VERSION.to_string(), "Arch": architecture(), "Os": "linux",
                    "KernelVersion": kernel, "GitCommit": "", "GoVersion": "", "BuildTime": "", "Experimental": "false",
                },
            },
            {"Name": name, "Version": lower.version, "Details": {"GitCommit": lower.revision}},
        ],
    })))
}

// One flat object: its fields are what there is to say.
#[allow(clippy::too_many_lines)]
async fn info(State(engine): State<Arc<Engine>>, version: ApiVersion) -> Result<Json<Value>> {
    let flags = &engine.config.flags;
    let uname = rustix::system::uname();
    let statuses: Vec<Status> = engine
        .containers
        .all()
        .iter()
        .map(|container| container.record().state.status)
        .collect();
    let network = Arc::clone(&engine.network);
    let mut warnings = warnings(&engine);
    warnings.extend(blocking(move || Ok(network.warnings())).await?);
    let count = |wanted: &[Status]| statuses.iter().filter(|status| wanted.contains(status)).count();
    let images = engine
        .l3
        .images()
        .list(containerd_proto::containerd::services::images::v1::ListImagesRequest::default())
        .await?;
    let images: std::collections::HashSet<String> = images
        .into_inner()
        .images
        .into_iter()
        .filter_map(|image| image.target)
        .map(|target| target.digest)
        .collect();
    let cgroup1 = |path: &str| engine.host.cgroup2 || std::path::Path::new("/sys/fs/cgroup").join(path).exists();
    let runtimes: serde_json::Map<String, Value> = engine
        .config
        .runtimes
        .iter()
        .map(|(name, runtime)| {
            (
                name.clone(),
                json!({"path": runtime.binary.as_deref().unwrap_or(&runtime.shim)}),
            )
        })
        .collect();
    let mut value = json!({
        "ID": engine.id,
        "Containers": statuses.len(),
        "ContainersRunning": count(&[Status::Running, Status::Restarting]),
        "ContainersPaused": count(&[Status::Paused]),
        "ContainersStopped": count(&[Status::Created, Status::Exited, Status::Dead, Status::Removing]),
        "Images": images.len(),
        "Driver": engine.l3.snapshotter(),
        "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
        "Plugins": {"Volume": ["local"], "Network": ["bridge", "host", "null"], "Authorization": null, "Log": ["json-file"]},
        "MemoryLimit": cgroup1("memory/memory.limit_in_bytes"),
        "SwapLimit": engine.host.swap_limit,
        "CpuCfsPeriod": cgroup1("cpu/cpu.cfs_period_us"),
        "CpuCfsQuota": cgroup1("cpu/cpu.cfs_quota_us"),
        "CPUShares": cgroup1("cpu/cpu.shares"),
        "CPUSet": cgroup1("cpuset/cpuset.cpus"),
        "PidsLimit": cgroup1("pids"),
        "OomKillDisable": !engine.host.cgroup2,
        "IPv4Forwarding": std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1"),
        "Debug": flags.debug,
        "NFd": std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        "NGoroutines": 0,
        "SystemTime": crate::engine::now(),
        "LoggingDriver": flags.log_driver,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if engine.host.cgroup2 { "2" } else { "1" },
        "NEventsListener": 0,
        "KernelVersion": uname.release().to_string_lossy(),
        "OperatingSystem": operating_system(),
        "OSVersion": os_release("VERSION_ID="),
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": registry(flags),
        "NCPU": engine.host.cpus,
        "MemTotal": engine.host.memory,
        "GenericResources": null,
        "DockerRootDir": engine.config.data_root,
        "HttpProxy": "", "HttpsProxy": "", "NoProxy": "",
        "Name": uname.nodename().to_string_lossy(),
        "Labels": flags.label,
        "ExperimentalBuild": false,
        "ServerVersion": VERSION,
        "Runtimes": runtimes,
        "DefaultRuntime": engine.config.default_runtime,
        "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "", "RemoteManagers": null},
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "docker-init",
        "ContainerdCommit": {"ID": ""}, "RuncCommit": {"ID": ""}, "InitCommit": {"ID": ""},
        "SecurityOptions": if engine.host.seccomp { vec!["name=seccomp,profile=builtin"] } else { Vec::new() },
        "CDISpecDirs": [],
        "Warnings": warnings,
    });
    if version.at_least(46) {
        value["Containerd"] = json!({
            "Address": engine.l3.address().map_or_else(|| "embedded".to_owned(), |path| path.display().to_string()),
            "Namespaces": {"Containers": engine.config.namespace, "Plugins": ""},
        });
    }
    Ok(Json(value))
}

fn warnings(engine: &Engine) -> Vec<String> {
    let mut all = Vec::new();
    if !engine.host.swap_limit {
        all.push("WARNING: No swap limit support".to_owned());
    }
    let missing: Vec<&str> = runtime_spec::caps::ALL
        .iter()
        .copied()
        .filter(|name| !engine.host.capabilities.iter().any(|held| held == name))
        .collect();
    if !missing.is_empty() {
        all.push(format!(
            "WARNING: The daemon does not hold {}: privileged containers go without",
            missing.join(", ")
        ));
    }
    if engine.config.flags.allow_plain_tcp && engine.config.hosts.iter().any(|host| host.starts_with("tcp://")) {
        all.push(
            "WARNING: API is accessible over plain TCP without encryption: whoever reaches it is root on the host"
                .to_owned(),
        );
    }
    all
}

fn registry(flags: &crate::config::Flags) -> Value {
    let mut index = serde_json::Map::new();
    index.insert(
        "docker.io".to_owned(),
        json!({"Name": "docker.io", "Mirrors": flags.registry_mirror, "Secure": true, "Official": true}),
    );
    for name in flags.insecure_registry.iter().filter(|name| !name.contains('/')) {
        index.insert(
            name.clone(),
            json!({"Name": name, "Mirrors": [], "Secure": false, "Official": false}),
        );
    }
    let networks: Vec<&String> = flags
        .insecure_registry
        .iter()
        .filter(|name| name.contains('/'))
        .collect();
    let mut cidrs = vec![json!("::1/128"), json!("127.0.0.0/8")];
    cidrs.extend(networks.into_iter().map(|network| json!(network)));
    json!({"InsecureRegistryCIDRs": cidrs, "IndexConfigs": index, "Mirrors": flags.registry_mirror})
}

fn os_release(key: &str) -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    value.trim_matches('"').to_owned()
}

fn operating_system() -> String {
    let name = os_release("PRETTY_NAME=");
    if name.is_empty() { "Linux".to_owned() } else { name }
}

/// `GET /system/df`: bytes of images, containers and volumes.
async fn disk_usage(State(engine): State<Arc<Engine>>, version: ApiVersion, params: Params) -> Result<Json<Value>> {
    let kinds = params.get("type");
    let wants = |kind: &str| kinds.is_none_or(|wanted| wanted == kind);
    let mut value = json!({"LayersSize": 0, "Images": null, "Containers": null, "Volumes": null, "BuildCache": []});
    if wants("image") {
        let options = ImageListOptions { shared_size: true };
        let images = engine.images.list(&ImageFilters::default(), options, version).await?;
        let size: i64 = images.iter().filter_map(|image| image["Size"].as_i64()).sum();
        value["LayersSize"] = json!(size);
        value["Images"] = json!(images);
    }
    if wants("container") {
        let options = ListOptions {
            all: true,
            size: true,
            ..ListOptions::default()
        };
        value["Containers"] = json!(engine.list(&options, version).await?);
    }
    if wants("volume") {
        let own = Arc::clone(&engine);
        value["Volumes"] = blocking(move || Ok(json!(super::volumes::usage(&own)))).await?;
    }
    Ok(Json(value))
}

//! dockerd's command line.

// The brackets in these texts are those of the `docker` commands' usage, not links.
#![allow(rustdoc::broken_intra_doc_links)]

use std::path::PathBuf;

use clap::{ArgAction, Parser};

use super::Runtime;

/// Where `daemon.json` is looked for when no flag says.
pub(super) const DEFAULT_FILE: &str = "/etc/docker/daemon.json";

/// A daemon for containers, with Docker's REST API.
#[derive(Debug, Clone, Parser)]
#[command(name = "dockerd-rs", disable_version_flag = true, args_override_self = true)]
pub struct Flags {
    /// Daemon socket(s) to serve on: unix://PATH, fd://, tcp://ADDRESS:PORT
    #[arg(short = 'H', long)]
    pub host: Vec<String>,
    /// Root directory of persistent state
    #[arg(long, default_value = "/var/lib/docker-rs")]
    pub data_root: PathBuf,
    /// Root directory of execution state
    #[arg(long, default_value = "/var/run/docker-rs")]
    pub exec_root: PathBuf,
    /// Path of the daemon's pid file
    #[arg(short = 'p', long)]
    pub pidfile: Option<PathBuf>,
    /// containerd socket; without it the manager runs in this process
    #[arg(long)]
    pub containerd: Option<PathBuf>,
    /// containerd namespace
    #[arg(long, default_value = "moby")]
    pub containerd_namespace: String,
    /// Configuration file
    #[arg(long)]
    pub config_file: Option<PathBuf>,
    /// Registry mirror
    #[arg(long)]
    pub registry_mirror: Vec<String>,
    /// Registry that may be spoken to without TLS or with unknown certificates
    #[arg(long)]
    pub insecure_registry: Vec<String>,
    /// debug, info, warn, error, fatal
    #[arg(short = 'l', long, default_value = "info")]
    pub log_level: String,
    /// text or json
    #[arg(long, default_value = "text")]
    pub log_format: String,
    /// Debug mode
    #[arg(short = 'D', long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set)]
    pub debug: bool,
    /// Runtime of containers that name none
    #[arg(long)]
    pub default_runtime: Option<String>,
    /// Another OCI runtime: NAME=PATH
    #[arg(long)]
    pub add_runtime: Vec<String>,
    /// Bridge interface of the default network; `none` for no such network
    #[arg(short = 'b', long, default_value = "docker0")]
    pub bridge: String,
    /// Address of the default bridge, with prefix
    #[arg(long)]
    pub bip: Option<String>,
    /// Part of the default bridge's subnet that containers get
    #[arg(long)]
    pub fixed_cidr: Option<String>,
    /// Keep firewall rules
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = ArgAction::Set)]
    pub iptables: bool,
    /// Switch forwarding on
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = ArgAction::Set)]
    pub ip_forward: bool,
    /// Masquerade what leaves the default bridge
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = ArgAction::Set)]
    pub ip_masq: bool,
    /// Containers of the default bridge reach each other
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = ArgAction::Set)]
    pub icc: bool,
    /// Default address of published ports
    #[arg(long)]
    pub ip: Option<std::net::IpAddr>,
    /// Default pool of networks: base=CIDR,size=N
    #[arg(long)]
    pub default_address_pool: Vec<String>,
    /// Accepted; ports are held by the daemon's network code
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = ArgAction::Set)]
    pub userland_proxy: bool,
    /// MTU of containers' networks, in bytes
    #[arg(long, default_value_t = 0)]
    pub mtu: u32,
    /// Accepted; containers always outlive the daemon
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = ArgAction::Set)]
    pub live_restore: bool,
    /// Default limits of containers: NAME=SOFT[:HARD]
    #[arg(long)]
    pub default_ulimit: Vec<String>,
    /// Runtime execution options: native.cgroupdriver=cgroupfs
    #[arg(long)]
    pub exec_opt: Vec<String>,
    /// Parent cgroup of all containers
    #[arg(long)]
    pub cgroup_parent: Option<String>,
    /// Default size of /dev/shm
    #[arg(long)]
    pub default_shm_size: Option<String>,
    /// Default log driver
    #[arg(long, default_value = "json-file")]
    pub log_driver: String,
    /// Default options of the log driver: KEY=VALUE
    #[arg(long)]
    pub log_opt: Vec<String>,
    /// Accepted; the layer below has the snapshotter
    #[arg(short = 's', long)]
    pub storage_driver: Option<String>,
    /// Accepted
    #[arg(long)]
    pub storage_opt: Vec<String>,
    /// Group of the unix socket
    #[arg(short = 'G', long, default_value = "docker")]
    pub group: String,
    /// Labels of the daemon
    #[arg(long)]
    pub label: Vec<String>,
    /// DNS servers of containers
    #[arg(long)]
    pub dns: Vec<String>,
    /// DNS options of containers
    #[arg(long)]
    pub dns_opt: Vec<String>,
    /// DNS search domains of containers
    #[arg(long)]
    pub dns_search: Vec<String>,
    /// Serve metrics in Prometheus' text format there
    #[arg(long)]
    pub metrics_addr: Option<String>,
    /// Parallel downloads of a pull
    #[arg(long, default_value_t = 3)]
    pub max_concurrent_downloads: usize,
    /// Seconds that stopping containers get when the daemon is told to stop them
    #[arg(long, default_value_t = 15)]
    pub shutdown_timeout: i64,
    /// Program of the shim that the in-process manager starts
    #[arg(long)]
    pub shim: Option<PathBuf>,
    /// Allow plain TCP without TLS
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set)]
    pub allow_plain_tcp: bool,
    /// Check the configuration and leave
    #[arg(long)]
    pub validate: bool,
    /// Print the version and leave
    #[arg(short = 'v', long)]
    pub version: bool,
}

/// What `--add-runtime NAME=PATH` means: a shim's name, or an OCI program for containerd's shim.
pub(super) fn runtime(path: &str) -> Runtime {
    if path.starts_with("io.containerd.")
        || path
            .rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with("containerd-shim-"))
    {
        return Runtime {
            shim: path.to_owned(),
            binary: None,
        };
    }
    Runtime {
        shim: "io.containerd.runc.v2".to_owned(),
        binary: Some(path.to_owned()),
    }
}

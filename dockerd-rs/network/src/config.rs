//! What a daemon decides about its networks before it starts.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::path::PathBuf;

use crate::addr::Ipv4Net;

/// The part of a default pool that networks are cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    /// The whole range.
    pub base: Ipv4Net,
    /// Prefix length of each network cut from it.
    pub size: u8,
}

/// Who programs the firewall (`--firewall-backend`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Backend {
    /// Nftables; on a kernel without it iptables, if installed.
    #[default]
    Auto,
    /// Nftables, spoken to directly.
    Nftables,
    /// The distribution's `iptables` program.
    Iptables,
    /// The program for the kernel's old interface, `iptables-legacy`.
    IptablesLegacy,
}

/// Settings of a [`Controller`](crate::Controller). Names of interfaces and tables are settings too, so that several daemons can
/// share a network namespace.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where networks and endpoints are written down; made when missing, mode 0700.
    pub state_dir: PathBuf,
    /// Name of the default bridge (`--bridge`), `docker0`; empty or `none` for no default bridge network.
    pub bridge: String,
    /// Address of the default bridge with its prefix (`--bip`); else the first free default pool.
    pub bip: Option<Ipv4Net>,
    /// The part of the default bridge's subnet that containers get addresses from (`--fixed-cidr`).
    pub fixed_cidr: Option<Ipv4Net>,
    /// MTU of bridges and of the containers' interfaces, in bytes (`--mtu`); 0 leaves the kernel's 1500.
    pub mtu: u32,
    /// Whether the containers of the default bridge reach each other (`--icc`).
    pub icc: bool,
    /// Whether packets of the default bridge leave under the host's address (`--ip-masq`).
    pub ip_masq: bool,
    /// Whether a firewall is kept at all (`--iptables`). Without it ports are held but lead nowhere.
    pub firewall: bool,
    /// Who programs it.
    pub firewall_backend: Backend,
    /// Name of our nftables table of family `ip`; the daemon owns it whole. Empty for one that goes with the bridge:
    /// `docker-rs`, and with another bridge than `docker0` its name after that.
    pub table: String,
    /// Whether forwarding is switched on in the kernel when it is off (`--ip-forward`).
    pub ip_forward: bool,
    /// Whether the firewall keeps the host from becoming a router between its own links when it was this crate that
    /// switched forwarding on (the contrary of `--ip-forward-no-drop`).
    pub forward_guard: bool,
    /// Address that ports are published on when the request names none (`--ip`); none is `0.0.0.0`.
    pub default_host_ip: Option<IpAddr>,
    /// Pools that networks without a subnet are cut from (`--default-address-pool`).
    pub pools: Vec<PoolConfig>,
}

impl Config {
    /// Docker's defaults, with state in `state_dir`.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            bridge: "docker0".to_owned(),
            bip: None,
            fixed_cidr: None,
            mtu: 0,
            icc: true,
            ip_masq: true,
            firewall: true,
            firewall_backend: Backend::Auto,
            table: String::new(),
            ip_forward: true,
            forward_guard: true,
            default_host_ip: None,
            pools: default_pools(),
        }
    }

    /// The name of the nftables table. Daemons that share a network namespace have different bridges, so they have different
    /// tables too; those without a bridge are told apart by their state.
    pub fn table_name(&self) -> String {
        if !self.table.is_empty() {
            return self.table.clone();
        }
        match self.bridge.as_str() {
            "docker0" => "docker-rs".to_owned(),
            bridge if self.has_default_bridge() => format!("docker-rs-{bridge}"),
            _ => {
                let mut hasher = DefaultHasher::new();
                self.state_dir.hash(&mut hasher);
                format!("docker-rs-{:016x}", hasher.finish())
            }
        }
    }

    /// Whether there is a default bridge network.
    pub fn has_default_bridge(&self) -> bool {
        !self.bridge.is_empty() && self.bridge != "none"
    }
}

/// Docker's default pools: 172.17 to 172.31 as /16, then 192.168 as /20.
pub fn default_pools() -> Vec<PoolConfig> {
    let pool = |a, b, prefix, size| {
        Ipv4Net::new(std::net::Ipv4Addr::new(a, b, 0, 0), prefix)
            .ok()
            .map(|base| PoolConfig { base, size })
    };
    [
        pool(172, 17, 16, 16),
        pool(172, 18, 16, 16),
        pool(172, 19, 16, 16),
        pool(172, 20, 14, 16),
        pool(172, 24, 14, 16),
        pool(172, 28, 14, 16),
        pool(192, 168, 16, 20),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemons_on_one_host_have_tables_of_their_own() {
        let config = |bridge: &str, state: &str| {
            Config {
                bridge: bridge.to_owned(),
                ..Config::new(state)
            }
            .table_name()
        };
        assert_eq!(config("docker0", "/a"), "docker-rs");
        assert_eq!(config("br5", "/a"), "docker-rs-br5");
        assert_ne!(config("none", "/a"), config("none", "/b"));
        assert_eq!(config("none", "/a"), config("", "/a"));
    }
}

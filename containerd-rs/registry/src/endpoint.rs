//! Which URLs stand for a registry host, and how far each may be trusted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use url::Url;

use crate::RegistryError;
use crate::digest::clip;

/// The host under which Docker's hub is named in references.
pub const HUB: &str = "docker.io";
/// The host that serves Docker's hub.
pub const HUB_ENDPOINT: &str = "registry-1.docker.io";

/// The daemon's rules for speaking to registries.
#[derive(Debug, Clone)]
pub struct Config {
    /// Hosts (`host` or `host:port`) and networks (`10.0.0.0/8`) that may be spoken to without a valid certificate or
    /// without TLS at all. `127.0.0.0/8`, `::1/128` and `localhost` always are.
    pub insecure: Vec<String>,
    /// Mirrors of the hub: base URLs, tried in order before the hub itself.
    pub mirrors: Vec<String>,
    /// Directory with one directory per host of `*.crt` (authorities), `*.cert` and `*.key` (client certificates).
    pub certs_dir: PathBuf,
    /// Value of the `User-Agent` header.
    pub user_agent: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            mirrors: Vec::new(),
            certs_dir: PathBuf::from("/etc/docker/certs.d"),
            user_agent: concat!("containerd-rs/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// A repository: the host of its registry and its path there. Both are checked, so that neither can bend a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Repository {
    host: String,
    path: String,
}

impl Repository {
    /// A repository of `host` (`docker.io`, `registry.example:5000`) and `path` (`library/debian`).
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] when either is not what the reference grammar allows.
    pub fn new(host: &str, path: &str) -> Result<Self, RegistryError> {
        check_host(host)?;
        let good = |c: &str| {
            let bytes = c.as_bytes();
            !c.is_empty()
                && bytes
                    .iter()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(b))
                && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        };
        if path.len() > 255 || !path.split('/').all(good) {
            let reason = "not a repository name".to_owned();
            return Err(RegistryError::Invalid {
                field: "repository",
                value: clip(path),
                reason,
            });
        }
        Ok(Self {
            host: host.to_owned(),
            path: path.to_owned(),
        })
    }

    /// The registry host, as references name it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path within the registry.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// Checks that `host` is `name`, `address` or either with a port, and nothing more.
pub(crate) fn check_host(host: &str) -> Result<(), RegistryError> {
    let plain = !host.starts_with('.')
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b));
    match Url::parse(&format!("https://{host}/")) {
        Ok(url) if plain && url.host_str().is_some() && url.path() == "/" => Ok(()),
        _ => {
            let reason = "not a registry host".to_owned();
            Err(RegistryError::Invalid {
                field: "host",
                value: clip(host),
                reason,
            })
        }
    }
}

/// One way to reach a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme, host, and for mirrors perhaps a path: without `/v2/`.
    pub base: Url,
    /// Whether its certificate must be valid.
    pub verify: bool,
    /// A mirror: no credentials, and any failure leads on to the next endpoint.
    pub mirror: bool,
}

impl Endpoint {
    /// The URL of `rest` under this endpoint's `/v2/`.
    pub(crate) fn url(&self, rest: &str) -> Result<Url, RegistryError> {
        let text = format!("{}/v2/{rest}", self.base.as_str().trim_end_matches('/'));
        Url::parse(&text).map_err(|e| RegistryError::Invalid {
            field: "url",
            value: clip(&text),
            reason: e.to_string(),
        })
    }
}

/// One rule of the insecure list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Host(String),
    Network { address: IpAddr, bits: u8 },
}

/// The configuration, parsed: answers with the endpoints of a host.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    insecure: Vec<Rule>,
    mirrors: Vec<Url>,
}

impl Rules {
    /// Parses the insecure list and the mirrors.
    pub(crate) fn new(config: &Config) -> Result<Self, RegistryError> {
        let mut insecure = vec![
            Rule::Network {
                address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                bits: 8,
            },
            Rule::Network {
                address: IpAddr::V6(Ipv6Addr::LOCALHOST),
                bits: 128,
            },
            Rule::Host("localhost".to_owned()),
        ];
        for text in &config.insecure {
            insecure.push(parse_rule(text)?);
        }
        let mirrors = config
            .mirrors
            .iter()
            .map(|text| parse_mirror(text))
            .collect::<Result<_, _>>()?;
        Ok(Self { insecure, mirrors })
    }

    /// The endpoints of a host, in the order to try them. A host that is not insecure has no plain endpoint: its TLS
    /// failures are final (CVE-2014-5277, CVE-2015-1843).
    pub(crate) async fn endpoints(&self, host: &str) -> Result<Vec<Endpoint>, RegistryError> {
        let make = |scheme: &str, host: &str, verify| {
            let text = format!("{scheme}://{host}/");
            Url::parse(&text)
                .map(|base| Endpoint {
                    base,
                    verify,
                    mirror: false,
                })
                .map_err(|e| RegistryError::Invalid {
                    field: "host",
                    value: clip(host),
                    reason: e.to_string(),
                })
        };
        if host == HUB {
            let mut all: Vec<_> = Vec::new();
            for base in &self.mirrors {
                let verify = !self.is_insecure(&authority(base)).await;
                all.push(Endpoint {
                    base: base.clone(),
                    verify,
                    mirror: true,
                });
            }
            all.push(make("https", HUB_ENDPOINT, true)?);
            return Ok(all);
        }
        if self.is_insecure(host).await {
            return Ok(vec![make("https", host, false)?, make("http", host, false)?]);
        }
        Ok(vec![make("https", host, true)?])
    }

    /// Whether a host (`name` or `name:port`) is on the insecure list, by name or by one of its addresses.
    pub(crate) async fn is_insecure(&self, host: &str) -> bool {
        let name = bare(host);
        if self
            .insecure
            .iter()
            .any(|r| matches!(r, Rule::Host(h) if h == host || h == name))
        {
            return true;
        }
        if let Ok(ip) = name.parse::<IpAddr>() {
            return self.covers(ip);
        }
        match tokio::net::lookup_host((name, 0)).await {
            Ok(mut addresses) => addresses.any(|a| self.covers(a.ip())),
            Err(_) => false,
        }
    }

    fn covers(&self, ip: IpAddr) -> bool {
        self.insecure.iter().any(|rule| match rule {
            Rule::Network { address, bits } => within(ip, *address, *bits),
            Rule::Host(_) => false,
        })
    }
}

/// `host:port` of a URL, the port only when it is not the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The host without its port and without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn within(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(net)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            u32::from(ip) & mask == u32::from(net) & mask
        }
        (IpAddr::V6(ip), IpAddr::V6(net)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            u128::from(ip) & mask == u128::from(net) & mask
        }
        _ => false,
    }
}

fn parse_rule(text: &str) -> Result<Rule, RegistryError> {
    let invalid = |reason: &str| RegistryError::Invalid {
        field: "insecure registry",
        value: clip(text),
        reason: reason.into(),
    };
    if let Some((address, bits)) = text.split_once('/') {
        let address: IpAddr = address.parse().map_err(|_| invalid("not a network"))?;
        let bits: u8 = bits.parse().map_err(|_| invalid("not a network"))?;
        if bits > if address.is_ipv4() { 32 } else { 128 } {
            return Err(invalid("prefix too long"));
        }
        return Ok(Rule::Network { address, bits });
    }
    check_host(text).map_err(|_| invalid("not a host"))?;
    Ok(Rule::Host(text.to_owned()))
}

fn parse_mirror(text: &str) -> Result<Url, RegistryError> {
    let invalid = |reason: String| RegistryError::Invalid {
        field: "mirror",
        value: clip(text),
        reason,
    };
    let url = Url::parse(text).map_err(|e| invalid(e.to_string()))?;
    let sound = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty();
    if sound {
        Ok(url)
    } else {
        Err(invalid("not a plain http or https URL".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn list(config: Config, host: &str) -> Vec<(String, bool)> {
        let rules = Rules::new(&config).unwrap();
        rules
            .endpoints(host)
            .await
            .unwrap()
            .into_iter()
            .map(|e| (e.base.to_string(), e.verify))
            .collect()
    }

    fn pair(url: &str, verify: bool) -> (String, bool) {
        (url.to_owned(), verify)
    }

    #[tokio::test]
    async fn only_insecure_hosts_have_a_plain_endpoint() {
        let config = Config {
            insecure: vec!["10.0.0.0/8".into(), "reg.test:5000".into()],
            ..Config::default()
        };
        let both = |h: &str| {
            vec![
                pair(&format!("https://{h}/"), false),
                pair(&format!("http://{h}/"), false),
            ]
        };
        for host in [
            "127.0.0.1:5000",
            "127.9.9.9",
            "localhost:5000",
            "[::1]:5000",
            "10.1.2.3:80",
            "reg.test:5000",
        ] {
            let mut want = both(host);
            want[1].0 = want[1].0.replace(":80/", "/");
            assert_eq!(list(config.clone(), host).await, want, "{host}");
        }
        for host in ["192.0.2.1:5000", "[2001:db8::1]:5000"] {
            assert_eq!(
                list(config.clone(), host).await,
                vec![pair(&format!("https://{host}/"), true)],
                "{host}"
            );
        }
    }

    #[tokio::test]
    async fn mirrors_come_before_the_hub_and_only_there() {
        let config = Config {
            mirrors: vec!["http://127.0.0.1:5001".into()],
            ..Config::default()
        };
        let hub = list(config.clone(), HUB).await;
        assert_eq!(
            hub,
            vec![
                pair("http://127.0.0.1:5001/", false),
                pair("https://registry-1.docker.io/", true)
            ]
        );
        assert_eq!(list(config, "192.0.2.1").await, vec![pair("https://192.0.2.1/", true)]);
    }

    #[test]
    fn hostile_names_do_not_become_repositories() {
        for host in ["", "..", ".", "a/b", "a@b", "a?b", "a b", "a#b", "ex\nample"] {
            assert!(Repository::new(host, "x").is_err(), "{host:?}");
        }
        for path in ["", "/", "a//b", "../x", "a/..", "A", "a?b", "a%2e", ".hidden"] {
            assert!(Repository::new("h", path).is_err(), "{path:?}");
        }
        assert!(Repository::new("h:5000", "a/b_c--d/e.f").is_ok());
        assert!(
            Rules::new(&Config {
                insecure: vec!["10.0.0.0/33".into()],
                ..Config::default()
            })
            .is_err()
        );
        assert!(
            Rules::new(&Config {
                mirrors: vec!["ftp://x".into()],
                ..Config::default()
            })
            .is_err()
        );
    }
}

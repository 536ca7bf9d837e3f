//! The three files that a container gets from the engine, `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`, as Docker 28
//! writes them. Pure functions of what is known; where the files lie and how they get into the container is the engine's.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// Name servers for a container whose host has none that it could reach.
const FALLBACK: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];

/// Where systemd-resolved writes the servers behind its stub listener.
const SYSTEMD_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// `/etc/hostname`.
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

/// `/etc/hosts`: the usual lines, the container's own name by each of its addresses, then `extra` (`--add-host`) in order.
/// A host name with a domain gets both its long and its short form.
pub fn hosts(hostname: &str, domain: &str, addresses: &[IpAddr], extra: &[(String, String)]) -> String {
    let mut text = "127.0.0.1\tlocalhost\n\
        ::1\tlocalhost ip6-localhost ip6-loopback\n\
        fe00::\tip6-localnet\n\
        ff00::\tip6-mcastprefix\n\
        ff02::1\tip6-allnodes\n\
        ff02::2\tip6-allrouters\n"
        .to_owned();
    for (name, address) in extra {
        let _ = writeln!(text, "{address}\t{name}");
    }
    let names = if domain.is_empty() {
        hostname.to_owned()
    } else {
        format!("{hostname}.{domain} {hostname}")
    };
    for address in addresses {
        let _ = writeln!(text, "{address}\t{names}");
    }
    text
}

/// What the user set in place of the host's own resolver configuration (`--dns`, `--dns-search`, `--dns-option`); an empty list
/// leaves the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsOverrides {
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Search domains; a single `.` means none.
    pub search: Vec<String>,
    /// Options.
    pub options: Vec<String>,
}

#[derive(Debug, Default)]
struct ResolvConf {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    options: Vec<String>,
    other: Vec<String>,
}

impl ResolvConf {
    fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let rest = || line.split_whitespace().skip(1).map(str::to_owned);
            match words.next() {
                None => {}
                Some(word) if word.starts_with(['#', ';']) => {}
                // A scope (`fe80::1%eth0`) means a link of the host: no server for a container.
                Some("nameserver") => conf
                    .servers
                    .extend(words.next().and_then(|word| word.parse::<IpAddr>().ok())),
                Some("domain" | "search") => conf.search = rest().collect(),
                Some("options") => conf.options.extend(rest()),
                Some(_) => conf.other.push(line.trim_end().to_owned()),
            }
        }
        conf
    }
}

/// `/etc/resolv.conf` for a container of the default bridge, which has no name server of the engine: `host` is the text of the
/// host's file `source`. Loopback servers, which mean another machine inside the container, and IPv6 ones are left out; public
/// ones stand in when none is left.
pub fn resolv_conf(host: &str, source: &str, overrides: &DnsOverrides) -> String {
    let mut conf = ResolvConf::parse(host);
    let mut overridden = Vec::new();
    let mut fell_back = false;
    if overrides.servers.is_empty() {
        conf.servers.retain(|server| server.is_ipv4() && !server.is_loopback());
        if conf.servers.is_empty() {
            conf.servers = FALLBACK.map(IpAddr::V4).to_vec();
            fell_back = true;
        }
    } else {
        conf.servers.clone_from(&overrides.servers);
        overridden.push("nameservers");
    }
    if !overrides.search.is_empty() {
        conf.search = overrides
            .search
            .iter()
            .filter(|domain| *domain != ".")
            .cloned()
            .collect();
        overridden.push("search");
    }
    if !overrides.options.is_empty() {
        conf.options.clone_from(&overrides.options);
        overridden.push("options");
    }
    render(&conf, source, Some("legacy"), fell_back, &overridden)
}

/// `/etc/resolv.conf` for a container in the host's network: the host's servers as they are, or what the user set.
pub fn resolv_conf_of_host(host: &str, source: &str, overrides: &DnsOverrides) -> String {
    let with_all = DnsOverrides {
        servers: if overrides.servers.is_empty() {
            ResolvConf::parse(host).servers
        } else {
            overrides.servers.clone()
        },
        ..overrides.clone()
    };
    if *overrides == DnsOverrides::default() {
        return host.to_owned();
    }
    resolv_conf(host, source, &with_all)
}

fn render(conf: &ResolvConf, source: &str, transform: Option<&str>, fell_back: bool, overridden: &[&str]) -> String {
    let mut text = "# Generated by Docker Engine.\n\
        # This file can be edited; Docker Engine will not make further changes once it\n\
        # has been modified.\n\n"
        .to_owned();
    for server in &conf.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !conf.search.is_empty() {
        let _ = writeln!(text, "search {}", conf.search.join(" "));
    }
    if !conf.options.is_empty() {
        let _ = writeln!(text, "options {}", conf.options.join(" "));
    }
    for line in &conf.other {
        let _ = writeln!(text, "{line}");
    }
    let transform = transform.map(|name| format!(" ({name})")).unwrap_or_default();
    let _ = writeln!(text, "\n# Based on host file: '{source}'{transform}");
    if fell_back {
        text.push_str("# Used default nameservers.\n");
    }
    let _ = writeln!(text, "# Overrides: [{}]", overridden.join(" "));
    text
}

/// The host's resolver configuration and the path it was read from: `/etc/resolv.conf`, or what systemd-resolved keeps
/// elsewhere when the former names only its stub. A host without the file has an empty one.
pub fn host_resolv_conf() -> io::Result<(String, String)> {
    const PLAIN: &str = "/etc/resolv.conf";
    let text = match fs::read_to_string(PLAIN) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    if ResolvConf::parse(&text).servers == [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53))]
        && let Ok(behind) = fs::read_to_string(SYSTEMD_RESOLVED)
    {
        return Ok((behind, SYSTEMD_RESOLVED.to_owned()));
    }
    Ok((text, PLAIN.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# Generated by Docker Engine.\n\
        # This file can be edited; Docker Engine will not make further changes once it\n# has been modified.\n\n";

    #[test]
    fn hosts_has_dockers_lines() {
        let addr = "172.17.0.2".parse().unwrap();
        let extra = [("db".to_owned(), "10.0.0.9".to_owned())];
        let text = hosts("web", "example.org", &[addr], &extra);
        assert!(
            text.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n")
        );
        assert!(
            text.ends_with("10.0.0.9\tdb\n172.17.0.2\tweb.example.org web\n"),
            "{text}"
        );
    }

    #[test]
    fn servers_on_the_hosts_loopback_are_left_out() {
        let host =
            "nameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver ::1\nsearch a b\noptions edns0\nsortlist 1.2.3.4\n";
        let text = resolv_conf(host, "/etc/resolv.conf", &DnsOverrides::default());
        let body = "nameserver 10.0.0.2\nsearch a b\noptions edns0\nsortlist 1.2.3.4\n\n\
            # Based on host file: '/etc/resolv.conf' (legacy)\n# Overrides: []\n";
        assert_eq!(text, format!("{HEAD}{body}"));
    }

    #[test]
    fn public_servers_stand_in_when_none_is_left() {
        let text = resolv_conf("nameserver 127.0.0.1\n", "/etc/resolv.conf", &DnsOverrides::default());
        let body = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n\n# Based on host file: '/etc/resolv.conf' (legacy)\n\
            # Used default nameservers.\n# Overrides: []\n";
        assert_eq!(text, format!("{HEAD}{body}"));
    }

    #[test]
    fn the_users_servers_win_even_on_loopback() {
        let overrides = DnsOverrides {
            servers: vec!["127.0.0.1".parse().unwrap()],
            search: vec![".".to_owned()],
            options: vec!["ndots:2".to_owned()],
        };
        let text = resolv_conf("nameserver 10.0.0.2\nsearch a\n", "/etc/resolv.conf", &overrides);
        let body = "nameserver 127.0.0.1\noptions ndots:2\n\n# Based on host file: '/etc/resolv.conf' (legacy)\n\
            # Overrides: [nameservers search options]\n";
        assert_eq!(text, format!("{HEAD}{body}"));
    }

    #[test]
    fn a_container_in_the_hosts_network_has_the_hosts_file() {
        let host = "nameserver 127.0.0.53\n";
        assert_eq!(
            resolv_conf_of_host(host, "/etc/resolv.conf", &DnsOverrides::default()),
            host
        );
        let overrides = DnsOverrides {
            search: vec!["corp".to_owned()],
            ..DnsOverrides::default()
        };
        assert!(
            resolv_conf_of_host(host, "/etc/resolv.conf", &overrides).contains("nameserver 127.0.0.53\nsearch corp\n")
        );
    }
}

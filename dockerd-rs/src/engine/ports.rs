//! Ports: what is exposed, what is asked to be published.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dockerd_rs_network::{PortBinding, Protocol};

use super::model::{self, Record};
use crate::error::{Error, Result};

/// `80/tcp`, `80`, `8000-8010/udp`.
pub(crate) fn parse_exposed(text: &str) -> Result<(u16, u16, Protocol)> {
    let wrong = |why: &str| Error::invalid(format!("invalid port specification: {text:?}: {why}"));
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol: Protocol = protocol
        .parse()
        .map_err(|e: dockerd_rs_network::Error| wrong(&e.to_string()))?;
    let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| text.parse::<u16>().map_err(|_| wrong("invalid port"));
    let (low, high) = (number(low)?, number(high)?);
    if low == 0 || low > high {
        return Err(wrong("invalid range"));
    }
    Ok((low, high, protocol))
}

/// The bindings of a container, for the network.
///
/// # Errors
/// 400 for what is no port and no address.
pub(crate) fn bindings(record: &Record) -> Result<Vec<PortBinding>> {
    let mut all = Vec::new();
    let asked = record.host_config.port_bindings.iter().flatten();
    for (port, bindings) in asked {
        let (low, high, protocol) = parse_exposed(port)?;
        for binding in bindings {
            for (step, container_port) in (low..=high).enumerate() {
                all.push(one(
                    container_port,
                    protocol,
                    binding,
                    u16::try_from(step).unwrap_or(0),
                    high > low,
                )?);
            }
        }
        if bindings.is_empty() {
            all.push(one(low, protocol, &model::PortBinding::default(), 0, false)?);
        }
    }
    if record.host_config.publish_all_ports {
        for port in record.config.exposed_ports.iter().flatten().map(|(port, _)| port) {
            let (low, high, protocol) = parse_exposed(port)?;
            for container_port in low..=high {
                if !all.iter().any(|binding: &PortBinding| {
                    binding.container_port == container_port && binding.protocol == protocol
                }) {
                    all.push(one(container_port, protocol, &model::PortBinding::default(), 0, false)?);
                }
            }
        }
    }
    Ok(all)
}

fn one(
    container_port: u16,
    protocol: Protocol,
    binding: &model::PortBinding,
    step: u16,
    range: bool,
) -> Result<PortBinding> {
    let wrong = || Error::invalid(format!("invalid port specification: {:?}", binding.host_port));
    let host_ip: Option<IpAddr> = match binding.host_ip.as_str() {
        "" => None,
        text => Some(
            text.trim_matches(['[', ']'])
                .parse()
                .map_err(|_| Error::invalid(format!("invalid IP address: {text}")))?,
        ),
    };
    let (low, high) = match binding.host_port.as_str() {
        "" => (0, 0),
        text => {
            let (low, high) = text.split_once('-').unwrap_or((text, text));
            (
                low.parse::<u16>().map_err(|_| wrong())?,
                high.parse::<u16>().map_err(|_| wrong())?,
            )
        }
    };
    if low > high {
        return Err(wrong());
    }
    // A range for a range goes side by side; a range for one port leaves the choice.
    let (host_port, host_port_end) = if range && low > 0 {
        (low.saturating_add(step), 0)
    } else {
        (low, high)
    };
    Ok(PortBinding {
        container_port,
        protocol,
        host_ip,
        host_port,
        host_port_end: if host_port_end == host_port { 0 } else { host_port_end },
    })
}

/// `Ports` of inspect: what is published, and what is only exposed.
pub(crate) fn shown(record: &Record) -> BTreeMap<String, Option<Vec<model::PortBinding>>> {
    let mut all: BTreeMap<String, Option<Vec<model::PortBinding>>> = BTreeMap::new();
    if !record.state.is_running() {
        return all;
    }
    for port in record.config.exposed_ports.iter().flatten().map(|(port, _)| port) {
        if let Ok((low, high, protocol)) = parse_exposed(port) {
            for port in low..=high {
                all.entry(format!("{port}/{protocol}")).or_default();
            }
        }
    }
    for bound in record.endpoints.iter().flat_map(|endpoint| &endpoint.ports) {
        let list = all
            .entry(format!("{}/{}", bound.container_port, bound.protocol))
            .or_default();
        list.get_or_insert_default().push(model::PortBinding {
            host_ip: bound.host_ip.to_string(),
            host_port: bound.host_port.to_string(),
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposed_ports() {
        assert_eq!(parse_exposed("80").unwrap(), (80, 80, Protocol::Tcp));
        assert_eq!(parse_exposed("1-3/udp").unwrap(), (1, 3, Protocol::Udp));
        for bad in ["", "x/tcp", "80/nope", "5-4", "0"] {
            assert!(parse_exposed(bad).is_err(), "{bad}");
        }
    }
}

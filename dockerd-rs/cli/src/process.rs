//! From command line values to the API's: pure functions.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, HostConfig, PortBinding, RestartPolicy, RestartPolicyNameEnum};

use crate::arguments::{ProcessOptions, RunOptions};
use crate::error::Error;

/// `NAME` without a value takes the client's own, and is left out when the client has none.
pub(crate) fn environment(env: &[String], own: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let resolve = |entry: &String| match entry.contains('=') {
        true => Some(entry.clone()),
        false => own(entry).map(|value| format!("{entry}={value}")),
    };
    env.iter().filter_map(resolve).collect()
}

/// The body of `POST /containers/create`.
pub(crate) fn create_body(options: &RunOptions) -> Result<ContainerCreateBody, Error> {
    let ProcessOptions {
        detach,
        interactive,
        tty,
        ..
    } = options.process;
    let (exposed_ports, port_bindings) = ports(&options.publish)?;
    let host_config = HostConfig {
        auto_remove: Some(options.rm),
        binds: Some(options.volume.clone()),
        tmpfs: Some(options.tmpfs.iter().map(|entry| split(entry, ':')).collect()),
        port_bindings: Some(port_bindings),
        network_mode: options.network.clone(),
        memory: options.memory.as_deref().map(bytes).transpose()?,
        nano_cpus: options.cpus.map(nano_cpus).transpose()?,
        pids_limit: options.pids_limit,
        readonly_rootfs: Some(options.read_only),
        cap_add: Some(options.cap_add.clone()),
        cap_drop: Some(options.cap_drop.clone()),
        privileged: Some(options.process.privileged),
        restart_policy: options.restart.as_deref().map(restart_policy).transpose()?,
        runtime: options.runtime.clone(),
        ..HostConfig::default()
    };
    Ok(ContainerCreateBody {
        image: Some(options.image.clone()),
        cmd: (!options.command.is_empty()).then(|| options.command.clone()),
        entrypoint: options.entrypoint.clone().map(|path| vec![path]),
        hostname: options.hostname.clone(),
        user: options.process.user.clone(),
        working_dir: options.process.workdir.clone(),
        env: Some(environment(&options.process.env, |name| std::env::var(name).ok())),
        labels: Some(options.label.iter().map(|entry| split(entry, '=')).collect()),
        tty: Some(tty),
        open_stdin: Some(interactive),
        stdin_once: Some(interactive && !detach),
        attach_stdin: Some(interactive && !detach),
        attach_stdout: Some(!detach),
        attach_stderr: Some(!detach),
        exposed_ports: Some(exposed_ports),
        host_config: Some(host_config),
        ..ContainerCreateBody::default()
    })
}

fn split(entry: &str, at: char) -> (String, String) {
    let (name, value) = entry.split_once(at).unwrap_or((entry, ""));
    (name.to_owned(), value.to_owned())
}

/// A size with an optional binary suffix: `512m` is 512 MiB.
fn bytes(text: &str) -> Result<i64, Error> {
    let error = || {
        Error::Usage(format!(
            "invalid argument \"{text}\" for \"-m, --memory\" flag: invalid size: '{text}'"
        ))
    };
    let lower = text.to_ascii_lowercase();
    let trimmed = lower.trim_end_matches('b').trim_end_matches('i');
    let digits = trimmed.trim_end_matches(['k', 'm', 'g', 't']);
    let shift = match &trimmed[digits.len()..] {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(error()),
    };
    let number: i64 = digits.parse().map_err(|_| error())?;
    number.checked_mul(1 << shift).filter(|n| *n >= 0).ok_or_else(error)
}

fn nano_cpus(cpus: f64) -> Result<i64, Error> {
    // Nine digits are what the API has; more CPUs than a float holds exactly do not exist.
    #[allow(clippy::cast_possible_truncation)]
    let nanos = (cpus * 1e9).round() as i64;
    if nanos > 0 {
        Ok(nanos)
    } else {
        Err(Error::Usage(format!("invalid argument \"{cpus}\" for \"--cpus\" flag")))
    }
}

fn restart_policy(text: &str) -> Result<RestartPolicy, Error> {
    let invalid = || Error::Usage(format!("invalid restart policy: {text}"));
    let (name, count) = text
        .split_once(':')
        .map_or((text, None), |(name, count)| (name, Some(count)));
    let name = match name {
        "no" => RestartPolicyNameEnum::NO,
        "always" => RestartPolicyNameEnum::ALWAYS,
        "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
        "on-failure" => RestartPolicyNameEnum::ON_FAILURE,
        _ => return Err(invalid()),
    };
    let maximum_retry_count = count.map(str::parse).transpose().map_err(|_| invalid())?;
    Ok(RestartPolicy {
        name: Some(name),
        maximum_retry_count,
    })
}

type Ports = (Vec<String>, HashMap<String, Option<Vec<PortBinding>>>);

/// `[[IP:]HOST_PORT:]PORT[/PROTOCOL]`; an IPv6 address stands in brackets.
fn ports(publish: &[String]) -> Result<Ports, Error> {
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for entry in publish {
        let (rest, protocol) = entry.rsplit_once('/').unwrap_or((entry, "tcp"));
        let (host, port) = rest
            .rsplit_once(':')
            .map_or((None, rest), |(host, port)| (Some(host), port));
        let invalid = || Error::Usage(format!("invalid publish specification: {entry}"));
        port.parse::<u16>().map_err(|_| invalid())?;
        let (ip, host_port) = match host.map(|host| host.rsplit_once(':').ok_or(host)) {
            None => ("", ""),
            Some(Ok((ip, host_port))) => (ip.trim_matches(['[', ']']), host_port),
            Some(Err(host_port)) => ("", host_port),
        };
        if !host_port.is_empty() {
            host_port.parse::<u16>().map_err(|_| invalid())?;
        }
        let binding = PortBinding {
            host_ip: Some(ip.to_owned()),
            host_port: Some(host_port.to_owned()),
        };
        bindings
            .entry(format!("{port}/{protocol}"))
            .or_default()
            .get_or_insert_default()
            .push(binding);
    }
    Ok((bindings.keys().cloned().collect(), bindings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_suffixes() {
        assert_eq!(bytes("64m").unwrap(), 64 << 20);
        assert_eq!(bytes("1GiB").unwrap(), 1 << 30);
        assert_eq!(bytes("7").unwrap(), 7);
        assert!(bytes("x").is_err() && bytes("-1m").is_err() && bytes("9999999999t").is_err());
    }

    #[test]
    fn ports_may_have_an_address_and_a_protocol() {
        let (exposed, bindings) = ports(&["127.0.0.1:8080:80".to_owned(), "[::1]:1:53/udp".to_owned()]).unwrap();
        assert_eq!(exposed.len(), 2);
        let web = bindings["80/tcp"].as_ref().unwrap();
        assert_eq!(
            (web[0].host_ip.as_deref(), web[0].host_port.as_deref()),
            (Some("127.0.0.1"), Some("8080"))
        );
        assert_eq!(bindings["53/udp"].as_ref().unwrap()[0].host_ip.as_deref(), Some("::1"));
        assert!(ports(&["a:b".to_owned()]).is_err());
    }

    #[test]
    fn a_bare_name_takes_the_clients_value() {
        let env = environment(&["A".into(), "B=1".into(), "C".into()], |name| {
            (name == "A").then(|| "x".to_owned())
        });
        assert_eq!(env, ["A=x", "B=1"]);
    }
}

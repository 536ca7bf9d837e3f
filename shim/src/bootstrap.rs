//! The two start protocols: how a manager says what it wants, and in which form it takes the answer.
//!
//! Flags and environment are always there. Standard input holds containerd 2.3's `BootstrapParams`, or before that an `Any` with the
//! runtime's options, or nothing. An `Any` decodes as `BootstrapParams` too (both begin with two strings), so the latter must repeat the
//! `-id` and `-namespace` of the command line to be believed.

use std::path::PathBuf;

use containerd_proto::containerd::runc::v1::Options;
use containerd_proto::containerd::runtime::bootstrap::v1::{BootstrapParams, BootstrapResult};
use prost::Message;
use prost_types::Any;

use crate::args::Args;
use crate::socket;

/// How the answer is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `BootstrapResult` as protobuf (containerd 2.3 and later).
    Bootstrap,
    /// `{"version":…,"address":…,"protocol":"ttrpc"}` (1.7 to 2.2, which set `MAX_SHIM_VERSION`); the number is the task service's version.
    Json(u32),
    /// The address alone (before 1.7).
    Address,
}

/// What `start` was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// The form of the answer.
    pub protocol: Protocol,
    /// The manager's gRPC address; part of the socket's name.
    pub grpc_address: String,
    /// Where the socket is to be.
    pub socket_directory: PathBuf,
    /// Where events go.
    pub ttrpc_address: String,
    /// Whether to log in detail.
    pub debug: bool,
    /// The runtime's options.
    pub options: Options,
}

impl Request {
    /// Puts together what flags, environment and standard input say.
    pub(crate) fn new(args: &Args, environment: impl Fn(&str) -> Option<String>, stdin: &[u8]) -> Self {
        let variable = |name| environment(name).unwrap_or_default();
        let params = BootstrapParams::decode(stdin)
            .ok()
            .filter(|p| !p.instance_id.is_empty() && p.instance_id == args.id && p.namespace == args.namespace);
        let Some(params) = params else {
            let protocol = environment("MAX_SHIM_VERSION")
                .and_then(|v| v.parse().ok())
                .map_or(Protocol::Address, |most: u32| Protocol::Json(most.clamp(2, 3)));
            return Self {
                protocol,
                grpc_address: args.address.clone(),
                socket_directory: socket::DIRECTORY.into(),
                ttrpc_address: variable("TTRPC_ADDRESS"),
                debug: args.debug,
                options: Any::decode(stdin)
                    .ok()
                    .and_then(|any| options(&any))
                    .unwrap_or_default(),
            };
        };
        let or = |value: String, other: String| if value.is_empty() { other } else { value };
        let directory = params.socket_dir.filter(|directory| directory.starts_with('/'));
        let directory = directory.unwrap_or_else(|| socket::DIRECTORY.to_owned()).into();
        let extensions = params
            .extensions
            .iter()
            .filter_map(|extension| extension.value.as_ref());
        Self {
            protocol: Protocol::Bootstrap,
            socket_directory: directory,
            grpc_address: or(params.containerd_grpc_address, args.address.clone()),
            ttrpc_address: or(params.containerd_ttrpc_address, variable("TTRPC_ADDRESS")),
            debug: args.debug || params.log_level < 0,
            options: extensions.filter_map(options).next().unwrap_or_default(),
        }
    }

    /// The answer for standard output.
    pub(crate) fn answer(&self, address: &str) -> Vec<u8> {
        match self.protocol {
            Protocol::Address => address.as_bytes().to_vec(),
            Protocol::Json(version) => serde_json::json!({"version": version, "address": address, "protocol": "ttrpc"})
                .to_string()
                .into_bytes(),
            Protocol::Bootstrap => BootstrapResult {
                version: 3,
                address: address.to_owned(),
                protocol: "ttrpc".to_owned(),
                ..BootstrapResult::default()
            }
            .encode_to_vec(),
        }
    }
}

/// The runc options in an `Any`, if that is what it holds.
pub(crate) fn options(any: &Any) -> Option<Options> {
    containerd_proto::unpack(any).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_proto::containerd::runtime::bootstrap::v1::Extension;

    fn args() -> Args {
        Args {
            namespace: "ns".into(),
            id: "c1".into(),
            address: "/run/c.sock".into(),
            ..Args::default()
        }
    }

    fn environment(max: Option<&'static str>) -> impl Fn(&str) -> Option<String> {
        move |name| match name {
            "TTRPC_ADDRESS" => Some("/run/c.sock.ttrpc".into()),
            "MAX_SHIM_VERSION" => max.map(str::to_owned),
            _ => None,
        }
    }

    fn shim_cgroup() -> Any {
        containerd_proto::pack(&Options {
            shim_cgroup: "/shims".into(),
            ..Options::default()
        })
    }

    #[test]
    fn old_managers_send_an_any_and_read_an_address() {
        let request = Request::new(&args(), environment(None), &shim_cgroup().encode_to_vec());
        assert_eq!(request.protocol, Protocol::Address);
        assert_eq!(request.options.shim_cgroup, "/shims");
        assert_eq!(request.ttrpc_address, "/run/c.sock.ttrpc");
        assert_eq!(request.answer("unix:///s"), b"unix:///s");
        assert_eq!(
            Request::new(&args(), environment(None), b"").options,
            Options::default()
        );
        assert_eq!(
            Request::new(&args(), environment(None), b"\xff\xff").protocol,
            Protocol::Address
        );
    }

    #[test]
    fn managers_that_name_a_version_read_json() {
        let request = Request::new(&args(), environment(Some("2")), b"");
        assert_eq!(
            request.answer("unix:///s"),
            br#"{"address":"unix:///s","protocol":"ttrpc","version":2}"#
        );
        assert_eq!(
            Request::new(&args(), environment(Some("7")), b"").protocol,
            Protocol::Json(3)
        );
    }

    #[test]
    fn bootstrap_params_are_answered_in_kind() {
        let params = BootstrapParams {
            instance_id: "c1".into(),
            namespace: "ns".into(),
            log_level: -4,
            containerd_ttrpc_address: "/t".into(),
            containerd_grpc_address: "/g".into(),
            socket_dir: Some("/run/other".into()),
            extensions: vec![Extension {
                value: Some(shim_cgroup()),
            }],
            ..BootstrapParams::default()
        };
        let request = Request::new(&args(), environment(Some("2")), &params.encode_to_vec());
        assert_eq!(request.protocol, Protocol::Bootstrap);
        assert_eq!(
            (request.grpc_address.as_str(), request.ttrpc_address.as_str()),
            ("/g", "/t")
        );
        assert!(request.debug);
        assert_eq!(request.socket_directory, PathBuf::from("/run/other"));
        assert_eq!(request.options.shim_cgroup, "/shims");
        let answer = BootstrapResult::decode(request.answer("unix:///s").as_slice()).unwrap();
        assert_eq!(
            (answer.version, answer.address.as_str(), answer.protocol.as_str()),
            (3, "unix:///s", "ttrpc")
        );
        let mut other = params;
        other.instance_id = "c2".into();
        assert_eq!(
            Request::new(&args(), environment(None), &other.encode_to_vec()).protocol,
            Protocol::Address
        );
    }
}

//! What there is: plugins by containerd's names, since clients look for those.

use std::collections::HashMap;
use std::path::Path;

use containerd_grpc::containerd::services::introspection::v1::introspection_server::Introspection;
use containerd_proto::containerd::services::introspection::v1 as api;
use containerd_proto::containerd::types::{Platform, RuntimeRequest};
use containerd_rs_core::filter::{Adaptor, Filters};
use containerd_rs_core::{Error, Result};
use tonic::{Request, Response, Status};

use crate::Config;
use crate::serve::status;
use crate::stores::{CONTENT, Stores};
use crate::tasks::Manager;

/// The plugin of tasks.
const TASKS: (&str, &str) = ("io.containerd.runtime.v2", "task");
/// The runtime that `PluginInfo` is about when nobody names one.
const DEFAULT_RUNTIME: &str = "io.containerd.runc.v2";

pub(crate) struct IntrospectionService {
    manager: Manager,
    uuid: String,
    plugins: Vec<api::Plugin>,
}

/// The service of an engine.
///
/// # Errors
/// `Io` when the engine's identifier cannot be kept.
pub(crate) fn service(config: &Config, manager: Manager, stores: &Stores) -> Result<IntrospectionService> {
    let snapshotters: Vec<_> = stores.snapshotters.keys().cloned().collect();
    Ok(IntrospectionService {
        manager,
        uuid: uuid(&config.root)?,
        plugins: plugins(config, &snapshotters),
    })
}

/// A plugin as filters see it.
struct Fields<'a>(&'a api::Plugin);

impl Adaptor for Fields<'_> {
    fn field(&self, path: &[String]) -> Option<String> {
        let plugin = self.0;
        match path {
            [name] if name == "type" => Some(plugin.r#type.clone()),
            [name] if name == "id" => Some(plugin.id.clone()),
            [name] if name == "platforms" => (!plugin.platforms.is_empty()).then(|| platforms(&plugin.platforms)),
            [name, rest @ ..] if name == "capabilities" => {
                plugin.capabilities.contains(&rest.join(".")).then(String::new)
            }
            _ => None,
        }
    }
}

fn platforms(platforms: &[Platform]) -> String {
    let names: Vec<_> = platforms
        .iter()
        .map(|p| format!("{}/{}", p.os, p.architecture))
        .collect();
    names.join(",")
}

/// The processor in the words of the image specification.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// What this engine is made of, in containerd's names.
fn plugins(config: &Config, snapshotters: &[String]) -> Vec<api::Plugin> {
    let platform = Platform {
        os: "linux".into(),
        architecture: architecture().into(),
        ..Default::default()
    };
    let plugin = |kind: &str, id: &str, requires: &[&str]| api::Plugin {
        r#type: kind.to_owned(),
        id: id.to_owned(),
        requires: requires.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    };
    let root = |name: &str| HashMap::from([("root".to_owned(), config.root.join(name).display().to_string())]);
    let mut plugins = vec![api::Plugin {
        exports: root(CONTENT),
        ..plugin("io.containerd.content.v1", "content", &[])
    }];
    for name in snapshotters {
        plugins.push(api::Plugin {
            platforms: vec![platform.clone()],
            exports: root(&format!("io.containerd.snapshotter.v1.{name}")),
            ..plugin("io.containerd.snapshotter.v1", name, &[])
        });
    }
    plugins.push(api::Plugin {
        exports: root("io.containerd.metadata.v1.bolt"),
        ..plugin(
            "io.containerd.metadata.v1",
            "bolt",
            &["io.containerd.content.v1", "io.containerd.snapshotter.v1"],
        )
    });
    plugins.push(api::Plugin {
        platforms: vec![platform.clone()],
        ..plugin("io.containerd.differ.v1", "walking", &["io.containerd.metadata.v1"])
    });
    plugins.push(plugin("io.containerd.event.v1", "exchange", &[]));
    plugins.push(plugin(
        "io.containerd.gc.v1",
        "scheduler",
        &["io.containerd.metadata.v1"],
    ));
    plugins.push(plugin(
        "io.containerd.lease.v1",
        "manager",
        &["io.containerd.metadata.v1"],
    ));
    plugins.push(api::Plugin {
        platforms: vec![platform],
        ..plugin(
            TASKS.0,
            TASKS.1,
            &["io.containerd.event.v1", "io.containerd.metadata.v1"],
        )
    });
    let services = [
        "containers",
        "content",
        "diff",
        "events",
        "healthcheck",
        "images",
        "introspection",
        "leases",
        "namespaces",
        "snapshots",
        "tasks",
        "version",
    ];
    plugins.extend(services.iter().map(|id| plugin("io.containerd.grpc.v1", id, &[])));
    plugins
}

/// The engine's identifier: made once, kept under the root.
///
/// # Errors
/// `Io`.
fn uuid(root: &Path) -> Result<String> {
    let directory = root.join("io.containerd.grpc.v1.introspection");
    let path = directory.join("uuid");
    if let Some(found) = std::fs::read_to_string(&path).ok().filter(|text| text.len() == 36) {
        return Ok(found);
    }
    std::fs::create_dir_all(&directory).map_err(|e| Error::io(format!("mkdir {}", directory.display()), e))?;
    let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid")
        .map_err(|e| Error::io("read /proc/sys/kernel/random/uuid", e))?;
    let (uuid, new) = (random.trim().to_owned(), directory.join(".uuid"));
    std::fs::write(&new, &uuid)
        .and_then(|()| std::fs::rename(&new, &path))
        .map_err(|e| Error::io(format!("write {}", path.display()), e))?;
    Ok(uuid)
}

#[tonic::async_trait]
impl Introspection for IntrospectionService {
    async fn plugins(
        &self,
        request: Request<api::PluginsRequest>,
    ) -> std::result::Result<Response<api::PluginsResponse>, Status> {
        let filters = Filters::parse(&request.into_inner().filters).map_err(|e| status(&e))?;
        let plugins = self
            .plugins
            .iter()
            .filter(|plugin| filters.matches(&Fields(plugin)))
            .cloned()
            .collect();
        Ok(Response::new(api::PluginsResponse { plugins }))
    }

    async fn server(&self, _: Request<()>) -> std::result::Result<Response<api::ServerResponse>, Status> {
        use std::os::unix::fs::MetadataExt as _;
        let pidns = std::fs::metadata("/proc/self/ns/pid")
            .map(|found| found.ino())
            .unwrap_or_default();
        Ok(Response::new(api::ServerResponse {
            uuid: self.uuid.clone(),
            pid: u64::from(std::process::id()),
            pidns,
            deprecations: Vec::new(),
        }))
    }

    async fn plugin_info(
        &self,
        request: Request<api::PluginInfoRequest>,
    ) -> std::result::Result<Response<api::PluginInfoResponse>, Status> {
        let api::PluginInfoRequest {
            r#type: kind,
            id,
            options,
        } = request.into_inner();
        let found = self
            .plugins
            .iter()
            .find(|plugin| plugin.r#type == kind && plugin.id == id)
            .cloned();
        let plugin = found.ok_or_else(|| status(&Error::NotFound(format!("plugin {kind}.{id}"))))?;
        let mut extra = None;
        if (kind.as_str(), id.as_str()) == TASKS
            && let Some(options) = options
        {
            let wanted: RuntimeRequest =
                containerd_proto::unpack(&options).map_err(|e| status(&Error::InvalidArgument(e.to_string())))?;
            let runtime = if wanted.runtime_path.is_empty() {
                DEFAULT_RUNTIME
            } else {
                &wanted.runtime_path
            };
            let info = self
                .manager
                .info(runtime, wanted.options.clone())
                .await
                .map_err(|e| status(&e))?;
            extra = Some(containerd_proto::pack(&info));
        }
        Ok(Response::new(api::PluginInfoResponse {
            plugin: Some(plugin),
            extra,
        }))
    }
}

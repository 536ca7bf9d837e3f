//! Generates the committed Rust code of the protocol packages.
//!
//! The code is committed so that whoever builds a layer has neither protoc nor a proto compiler in the build graph. `cargo run -p proto-codegen`
//! writes it; the test of this package generates it once more and fails when the two differ.
//!
//! Three outputs: the messages (`proto/src/gen`), gRPC services that refer to those messages (`proto/grpc/src/gen`), and ttrpc services that do
//! (`proto/ttrpc/src/gen`).

mod ttrpc;

use std::error::Error;
use std::path::Path;

use prost_types::FileDescriptorSet;

/// Every file that is compiled, relative to `proto/protos`.
const FILES: &[&str] = &[
    "cgroups/v1.proto",
    "cgroups/v2.proto",
    "containerd/events/events.proto",
    "containerd/runc/options.proto",
    "containerd/runtime/bootstrap.proto",
    "containerd/runtime/task.proto",
    "containerd/services/containers.proto",
    "containerd/services/content.proto",
    "containerd/services/diff.proto",
    "containerd/services/events.proto",
    "containerd/services/images.proto",
    "containerd/services/introspection.proto",
    "containerd/services/leases.proto",
    "containerd/services/namespaces.proto",
    "containerd/services/snapshots.proto",
    "containerd/services/tasks.proto",
    "containerd/services/ttrpc_events.proto",
    "containerd/services/version.proto",
    "containerd/types/task.proto",
    "containerd/types/types.proto",
    "google/rpc/status.proto",
    "grpc/health.proto",
    "ttrpc/ttrpc.proto",
];

/// Packages whose services go over ttrpc; every other service goes over gRPC.
const TTRPC: &[&str] = &["containerd.task.v3", "containerd.services.events.ttrpc.v1"];

/// Reads the .proto files below `proto` (the directory of the `containerd-proto` package) and writes the code below `out`, in the
/// same three places that it has below `proto`.
///
/// # Errors
/// A .proto file that does not compile, or a file that can't be written.
pub fn generate(proto: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(FILES, [proto.join("protos")])?;
    messages(descriptors.clone(), &directory(out, "src/gen")?)?;
    grpc(descriptors.clone(), &directory(out, "grpc/src/gen")?)?;
    ttrpc::generate(descriptors, &directory(out, "ttrpc/src/gen")?)?;
    Ok(())
}

fn directory(out: &Path, below: &str) -> Result<std::path::PathBuf, Box<dyn Error>> {
    let path = out.join(below);
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

fn messages(mut descriptors: FileDescriptorSet, out: &Path) -> Result<(), Box<dyn Error>> {
    descriptors.file.iter_mut().for_each(|file| file.service.clear());
    let mut config = prost_build::Config::new();
    config.out_dir(out).enable_type_names().include_file("mod.rs");
    config.compile_fds(descriptors)?;
    Ok(())
}

fn grpc(mut descriptors: FileDescriptorSet, out: &Path) -> Result<(), Box<dyn Error>> {
    let mut builder = tonic_prost_build::configure().out_dir(out).include_file("mod.rs");
    for file in &mut descriptors.file {
        if TTRPC.contains(&file.package()) {
            file.service.clear();
        }
        if file.package() != "google.protobuf" {
            builder = builder.extern_path(format!(".{}", file.package()), rust_path(file.package()));
        }
    }
    // A package that has no service would become an empty module.
    descriptors
        .file
        .retain(|file| !file.service.is_empty() || file.package() == "google.protobuf");
    builder.compile_fds(descriptors)?;
    Ok(())
}

/// The path of a proto package in the `containerd-proto` crate.
pub(crate) fn rust_path(package: &str) -> String {
    format!("::containerd_proto::{}", package.replace('.', "::"))
}

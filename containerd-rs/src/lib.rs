//! The container lifecycle manager: containerd's gRPC services over content, snapshots, metadata and shims.

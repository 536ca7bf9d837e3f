//! Protobuf messages of containerd's API, the shim's task API and the cgroup metrics.

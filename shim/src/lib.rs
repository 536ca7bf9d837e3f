//! containerd's shim v2 for OCI runtimes, with runc-rs linked in.

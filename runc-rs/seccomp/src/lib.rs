//! Compiles the OCI seccomp object to a BPF filter, and loads it.

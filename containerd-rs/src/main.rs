//! The `containerd-rs` program.

fn main() {}

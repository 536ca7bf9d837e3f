//! The harness of the tests that cross layers: real programs, private directories, and a look at what they leave behind.
//!
//! - [`bundle`]: a tiny root filesystem, for suites that drive runtimes
//! - [`containerd`]: a `containerd-rs` of a test's own, and `ctr` to speak to it
//! - [`conformance`]: what runtime-spec demands, and whether a runtime does it
//! - [`daemon`]: a `dockerd-rs` or `dockerd` of a test's own, with its manager
//! - [`image_tars`]: busybox, and Debian with nginx, as images; [`images`]: archives made by hand
//! - [`registry`]: registries, good and bad
//! - [`guest`]: a machine with cgroup v2; [`qemu`]: one with Debian's own kernel
//! - [`leftovers`]: what a machine must have the same of after a test as before
//! - [`pty`]: a terminal with a program in it
//! - [`programs`]: where our programs and their peers are; a peer that is missing fails the test

#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod bundle;
pub mod conformance;
pub mod containerd;
pub mod daemon;
pub mod guest;
pub mod image_tars;
pub mod images;
pub mod leftovers;
pub mod programs;
pub mod pty;
pub mod qemu;
pub mod registry;

//! The harness of the tests that cross layers: real programs, private directories, and a look at what they leave behind.
//!
#![allow(clippy::expect_used)]
//! - [`guest`]: a machine with cgroup v2
//! - [`leftovers`]: what a machine must have the same of after a test as before
//! - [`programs`]: where our programs and their peers are; a peer that is missing fails the test

pub mod guest;
pub mod leftovers;
pub mod programs;

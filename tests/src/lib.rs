//! The harness of the tests that cross layers: real programs, private directories, and a look at what they leave behind.
//!
//! - [`leftovers`]: what a machine must have the same of after a test as before
//! - [`programs`]: where our programs and their peers are; a peer that is missing fails the test

pub mod leftovers;
pub mod programs;

//! Generates the Rust code of the protocol packages.
fn main() {}

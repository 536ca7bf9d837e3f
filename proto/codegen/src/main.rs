//! Writes the generated code of the protocol packages into the tree.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    proto_codegen::generate(&proto, &proto)
}

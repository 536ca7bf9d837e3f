//! The committed code is what the .proto files generate.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;

fn files(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for below in ["src/gen", "grpc/src/gen", "ttrpc/src/gen"] {
        for entry in std::fs::read_dir(root.join(below)).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{below}/{}", path.file_name().unwrap().to_str().unwrap());
            found.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
    found
}

#[test]
fn committed_code_is_fresh() {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let out = tempfile::tempdir().unwrap();
    proto_codegen::generate(&proto, out.path()).unwrap();
    let (committed, generated) = (files(&proto), files(out.path()));
    assert!(!generated.is_empty());
    assert_eq!(
        committed.keys().collect::<Vec<_>>(),
        generated.keys().collect::<Vec<_>>()
    );
    for (name, text) in &generated {
        assert!(
            committed[name] == *text,
            "{name} is stale: run `cargo run -p proto-codegen`"
        );
    }
}

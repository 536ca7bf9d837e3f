//! Who may know whom: the table in ARCHITECTURE.md, held against `cargo metadata`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

type Edges = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The table's rows; `None` stands for `*`.
fn table() -> BTreeMap<String, Option<BTreeSet<String>>> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, rest) = text.split_once("<!-- layers:begin -->").unwrap();
    let (rows, _) = rest.split_once("<!-- layers:end -->").unwrap();
    rows.lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let (package, allowed) = (cells.next().unwrap().to_owned(), cells.next().unwrap());
            let names = allowed
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned);
            (package, (allowed != "*").then(|| names.collect()))
        })
        .collect()
}

/// Edges between our own packages, of every kind: normal, build and dev.
fn own_edges(metadata: &Value) -> Edges {
    let packages = metadata["packages"].as_array().unwrap();
    let ours = packages.iter().filter(|package| package["source"].is_null());
    ours.map(|package| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let own = dependencies
            .filter(|d| !d["path"].is_null())
            .map(|d| d["name"].as_str().unwrap().to_owned());
        (package["name"].as_str().unwrap().to_owned(), own.collect())
    })
    .collect()
}

/// Everything that a package links, at any depth, by the resolved graph (normal dependencies only).
fn links(metadata: &Value, package: &str) -> BTreeSet<String> {
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["id"].as_str().unwrap(), p["name"].as_str().unwrap()))
        .collect();
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["id"].as_str().unwrap(), node))
        .collect();
    let mut open: Vec<&str> = names
        .iter()
        .filter(|(_, name)| **name == package)
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(open.len(), 1, "{package}");
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        for dependency in nodes[id]["deps"].as_array().unwrap() {
            let normal = dependency["dep_kinds"]
                .as_array()
                .unwrap()
                .iter()
                .any(|kind| kind["kind"].is_null());
            let id = dependency["pkg"].as_str().unwrap();
            if normal && found.insert(names[id].to_owned()) {
                open.push(id);
            }
        }
    }
    found
}

#[test]
fn no_edge_that_the_table_does_not_allow() {
    let (table, edges) = (table(), own_edges(&metadata()));
    assert_eq!(
        table.keys().collect::<Vec<_>>(),
        edges.keys().collect::<Vec<_>>(),
        "the table lists the packages"
    );
    for (package, own) in &edges {
        if let Some(allowed) = &table[package] {
            let extra: Vec<_> = own.difference(allowed).collect();
            assert!(
                extra.is_empty(),
                "{package} may not depend on {extra:?}: see ARCHITECTURE.md"
            );
        }
    }
}

#[test]
fn seams_are_protocols_not_imports() {
    let metadata = metadata();
    let forbidden = [
        ("runc-rs", &["tokio", "tonic", "hyper", "containerd-proto"][..]),
        ("containerd-shim-runc-rs", &["tonic", "hyper", "h2", "containerd-rs"]),
        ("containerd-rs", &["runc-rs", "containerd-shim-runc-rs", "dockerd-rs"]),
        ("dockerd-rs", &["runc-rs", "containerd-shim-runc-rs"]),
        ("docker-rs", &["dockerd-rs", "containerd-rs", "containerd-proto"]),
    ];
    for (package, names) in forbidden {
        let links = links(&metadata, package);
        let found: Vec<_> = names.iter().filter(|name| links.contains(**name)).collect();
        assert!(found.is_empty(), "{package} links {found:?}");
    }
}

//! Reading the graph from the database, and taking out of it what is not reached.

use containerd_rs_core::{Container, ContentInfo, Ctx, Digest, Image, Lease, Result, Sandbox, Timestamp};

use super::graph::Graph;
use super::labels::{back_references, is_expired, is_flat, is_root, references};
use super::{Node, NodeKind};
use crate::row::{self, IngestRow, SnapshotRow, decode};
use crate::tx::{Read, Table, WriteTx};
use crate::{leases, namespaces};

/// What is to be removed from the disk, now that no row has it.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// What was taken out of the database.
    pub(crate) removed: Vec<Node>,
    /// Snapshotter and number of directories.
    pub(crate) layers: Vec<(String, u64)>,
    /// Blobs that one namespace lost; others may have them.
    pub(crate) blobs: Vec<Digest>,
    /// Namespace and ref of ingests.
    pub(crate) ingests: Vec<(String, String)>,
}

/// What is not reached.
pub(crate) fn unreachable(tx: &dyn Read, now: Timestamp) -> Result<Vec<Node>> {
    let mut graph = Graph::default();
    for namespace in namespaces::all(tx)? {
        Reader {
            tx,
            graph: &mut graph,
            namespace: &namespace.name,
            now,
        }
        .read()?;
    }
    Ok(graph.unreachable())
}

/// Takes all that is not reached out of the database.
pub(crate) fn plan_and_delete(tx: &mut WriteTx, now: Timestamp) -> Result<Plan> {
    let mut plan = Plan::default();
    for node in unreachable(tx, now)? {
        delete(tx, &node, &mut plan)?;
        plan.removed.push(node);
    }
    Ok(plan)
}

struct Reader<'a> {
    tx: &'a dyn Read,
    graph: &'a mut Graph,
    namespace: &'a str,
    now: Timestamp,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<()> {
        self.leases()?;
        self.images()?;
        self.content()?;
        self.containers()?;
        self.snapshots()?;
        for sandbox in self.records::<Sandbox>(Table::Sandboxes)? {
            for node in references(self.namespace, &sandbox.1.labels) {
                self.graph.add_root(node, false);
            }
        }
        Ok(())
    }

    fn node(&self, kind: NodeKind, key: impl Into<String>) -> Node {
        Node::new(kind, self.namespace, key)
    }

    /// Names (behind the namespace) and records of a table.
    fn records<T: serde::de::DeserializeOwned>(&self, table: Table) -> Result<Vec<(Vec<String>, T)>> {
        let mut found = Vec::new();
        self.tx
            .scan(table, &row::prefix(&[self.namespace])?, &mut |key, value| {
                let names = row::names(key)?.into_iter().map(str::to_owned).collect();
                found.push((names, decode(value)?));
                Ok(true)
            })?;
        Ok(found)
    }

    fn back(&mut self, node: &Node, labels: &containerd_rs_core::Labels) {
        for from in back_references(self.namespace, labels) {
            self.graph.add_back_reference(from, node.clone());
        }
    }

    fn leases(&mut self) -> Result<()> {
        let ctx = Ctx {
            namespace: self.namespace.to_owned(),
            lease: None,
        };
        for (_, lease) in self.records::<Lease>(Table::Leases)? {
            let node = self.node(NodeKind::Lease, lease.id.clone());
            self.graph.add(node.clone(), vec![], vec![]);
            if is_expired(&lease.labels, self.now) {
                continue;
            }
            self.graph.add_root(node, false);
            let flat = is_flat(&lease.labels);
            for resource in leases::held(self.tx, &ctx, &lease.id)? {
                let node = match resource.kind.split_once('/') {
                    Some(("snapshots", name)) => self.node(NodeKind::Snapshot, format!("{name}/{}", resource.id)),
                    None if resource.kind == "content" => self.node(NodeKind::Content, resource.id),
                    None if resource.kind == "images" => self.node(NodeKind::Image, resource.id),
                    None if resource.kind == "ingests" => self.node(NodeKind::Ingest, resource.id),
                    _ => continue,
                };
                self.graph.add_root(node, flat);
            }
        }
        Ok(())
    }

    fn images(&mut self) -> Result<()> {
        for (_, image) in self.records::<Image>(Table::Images)? {
            let node = self.node(NodeKind::Image, image.name);
            let target = self.node(NodeKind::Content, image.target.digest.to_string());
            self.graph
                .add(node.clone(), vec![target], references(self.namespace, &image.labels));
            if is_expired(&image.labels, self.now) {
                self.back(&node, &image.labels);
            } else {
                self.graph.add_root(node, false);
            }
        }
        Ok(())
    }

    fn content(&mut self) -> Result<()> {
        for (names, ingest) in self.records::<IngestRow>(Table::Ingests)? {
            let node = self.node(NodeKind::Ingest, names.join("\0"));
            let shared = ingest
                .shared
                .map(|digest| self.node(NodeKind::Content, digest.to_string()));
            self.graph.add(node.clone(), shared.into_iter().collect(), vec![]);
            if ingest.expires.is_some_and(|at| at >= self.now) {
                self.graph.add_root(node, false);
            }
        }
        for (_, blob) in self.records::<ContentInfo>(Table::Blobs)? {
            let node = self.node(NodeKind::Content, blob.digest.to_string());
            self.graph
                .add(node.clone(), vec![], references(self.namespace, &blob.labels));
            self.back(&node, &blob.labels);
            if is_root(&blob.labels) {
                self.graph.add_root(node, false);
            }
        }
        Ok(())
    }

    fn containers(&mut self) -> Result<()> {
        for (_, container) in self.records::<Container>(Table::Containers)? {
            let node = self.node(NodeKind::Container, container.id);
            let mut structure = Vec::new();
            if !container.snapshotter.is_empty() {
                let key = format!("{}/{}", container.snapshotter, container.snapshot_key);
                structure.push(self.node(NodeKind::Snapshot, key));
            }
            self.graph
                .add(node.clone(), structure, references(self.namespace, &container.labels));
            self.back(&node, &container.labels);
            self.graph.add_root(node, false);
        }
        Ok(())
    }

    fn snapshots(&mut self) -> Result<()> {
        for (names, SnapshotRow { info, .. }) in self.records::<SnapshotRow>(Table::Snapshots)? {
            let snapshotter = names.first().map_or("", String::as_str);
            let node = self.node(NodeKind::Snapshot, format!("{snapshotter}/{}", info.name));
            let parent = (!info.parent.is_empty())
                .then(|| self.node(NodeKind::Snapshot, format!("{snapshotter}/{}", info.parent)));
            let references = references(self.namespace, &info.labels);
            self.graph.add(node.clone(), parent.into_iter().collect(), references);
            self.back(&node, &info.labels);
            if is_root(&info.labels) {
                self.graph.add_root(node, false);
            }
        }
        Ok(())
    }
}

fn delete(tx: &mut WriteTx, node: &Node, plan: &mut Plan) -> Result<()> {
    let Node { kind, namespace, key } = node;
    let table = match kind {
        NodeKind::Content => {
            plan.blobs.push(Digest::parse(key)?);
            Table::Blobs
        }
        NodeKind::Ingest => {
            plan.ingests.push((namespace.clone(), key.clone()));
            Table::Ingests
        }
        NodeKind::Lease => {
            tx.delete_prefix(Table::Resources, &row::prefix(&[namespace, key])?)?;
            Table::Leases
        }
        NodeKind::Image => Table::Images,
        NodeKind::Snapshot => return delete_snapshot(tx, namespace, key, plan),
        NodeKind::Container => return Ok(()),
    };
    tx.delete(table, &row::key(&[namespace, key])?).map(|_| ())
}

fn delete_snapshot(tx: &mut WriteTx, namespace: &str, key: &str, plan: &mut Plan) -> Result<()> {
    let (snapshotter, name) = key.split_once('/').unwrap_or((key, ""));
    let at = row::key(&[namespace, snapshotter, name])?;
    let Some(bytes) = tx.get(Table::Snapshots, &at)? else {
        return Ok(());
    };
    let row: SnapshotRow = decode(&bytes)?;
    tx.delete(Table::Snapshots, &at)?;
    if !row.info.parent.is_empty() {
        tx.delete(
            Table::Children,
            &row::key(&[namespace, snapshotter, &row.info.parent, name])?,
        )?;
    }
    plan.layers.push((snapshotter.to_owned(), row.id));
    Ok(())
}

//! The graph of references, and what can be reached in it. Pure.

use std::collections::{HashMap, HashSet};

use super::{Node, NodeKind};

/// All that is there, and what it refers to.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// References that are part of the object: target, parent, snapshot.
    structure: HashMap<Node, Vec<Node>>,
    /// References by label, there and back.
    labels: HashMap<Node, Vec<Node>>,
    /// What is used by itself; `true`: only its structure counts, not its labels.
    roots: Vec<(Node, bool)>,
}

impl Graph {
    /// Adds an object with its references.
    pub(crate) fn add(&mut self, node: Node, structure: Vec<Node>, labels: Vec<Node>) {
        if !labels.is_empty() {
            self.labels.entry(node.clone()).or_default().extend(labels);
        }
        self.structure.insert(node, structure);
    }

    /// Adds a reference that the referred object asks for.
    pub(crate) fn add_back_reference(&mut self, from: Node, to: Node) {
        self.labels.entry(from).or_default().push(to);
    }

    /// Adds a root; `flat`: what its labels refer to is not kept.
    pub(crate) fn add_root(&mut self, node: Node, flat: bool) {
        self.roots.push((node, flat));
    }

    /// What nothing leads to, in order. Containers are never among it: they are roots.
    pub(crate) fn unreachable(&self) -> Vec<Node> {
        let mut seen: HashSet<(&Node, bool)> = HashSet::new();
        let mut open: Vec<(&Node, bool)> = self.roots.iter().map(|(node, flat)| (node, *flat)).collect();
        while let Some((node, flat)) = open.pop() {
            if !seen.insert((node, flat)) {
                continue;
            }
            open.extend(self.structure.get(node).into_iter().flatten().map(|next| (next, flat)));
            if !flat {
                open.extend(self.labels.get(node).into_iter().flatten().map(|next| (next, false)));
            }
        }
        let reached = |node: &Node| seen.contains(&(node, false)) || seen.contains(&(node, true));
        let left = self
            .structure
            .keys()
            .filter(|node| node.kind != NodeKind::Container && !reached(node));
        let mut left: Vec<_> = left.cloned().collect();
        left.sort();
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: NodeKind, key: &str) -> Node {
        Node::new(kind, "ns", key)
    }

    fn content(key: &str) -> Node {
        node(NodeKind::Content, key)
    }

    fn snapshot(key: &str) -> Node {
        node(NodeKind::Snapshot, key)
    }

    /// image -> manifest -(labels)-> config, layer; config -(label)-> snapshot top -> base; a stray blob and snapshot.
    fn pulled() -> Graph {
        let mut graph = Graph::default();
        graph.add(node(NodeKind::Image, "i"), vec![content("manifest")], vec![]);
        graph.add(content("manifest"), vec![], vec![content("config"), content("layer")]);
        graph.add(content("config"), vec![], vec![snapshot("top")]);
        graph.add(content("layer"), vec![], vec![]);
        graph.add(snapshot("top"), vec![snapshot("base")], vec![]);
        graph.add(snapshot("base"), vec![], vec![]);
        graph.add(content("stray"), vec![], vec![content("layer")]);
        graph.add(snapshot("stray"), vec![snapshot("base")], vec![]);
        graph
    }

    #[test]
    fn an_image_keeps_all_of_it() {
        let mut graph = pulled();
        graph.add_root(node(NodeKind::Image, "i"), false);
        assert_eq!(graph.unreachable(), [content("stray"), snapshot("stray")]);
    }

    #[test]
    fn a_flat_lease_keeps_structure_only() {
        let mut graph = pulled();
        graph.add_root(content("manifest"), true);
        graph.add_root(snapshot("top"), true);
        let left = graph.unreachable();
        assert!(!left.contains(&content("manifest")) && !left.contains(&snapshot("base")));
        assert!(left.contains(&content("config")) && left.contains(&content("layer")));
    }

    #[test]
    fn a_back_reference_lives_as_long_as_what_it_names() {
        let mut graph = pulled();
        graph.add_back_reference(content("manifest"), content("stray"));
        graph.add_root(node(NodeKind::Image, "i"), false);
        assert_eq!(graph.unreachable(), [snapshot("stray")]);
    }

    #[test]
    fn circles_end_and_dead_ends_do_no_harm() {
        let mut graph = Graph::default();
        graph.add(content("a"), vec![], vec![content("b")]);
        graph.add(content("b"), vec![], vec![content("a"), content("gone")]);
        assert_eq!(graph.unreachable(), [content("a"), content("b")]);
        graph.add_root(content("a"), false);
        assert!(graph.unreachable().is_empty());
    }
}

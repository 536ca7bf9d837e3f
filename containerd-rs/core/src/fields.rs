//! Field masks: which parts of a record an update replaces.

use std::collections::BTreeMap;

use crate::{Container, Error, Image, Labels, Result, Sandbox};

/// Takes one entry of a map from the request: present ones are set, absent ones removed.
fn take_entry<V: Clone>(into: &mut BTreeMap<String, V>, from: &BTreeMap<String, V>, key: &str) {
    match from.get(key) {
        Some(value) => into.insert(key.to_owned(), value.clone()),
        None => into.remove(key),
    };
}

/// An empty value means "no such label", as containerd stores it.
fn drop_empty(labels: &mut Labels) {
    labels.retain(|_, value| !value.is_empty());
}

/// Replaces labels by field paths `labels` and `labels.NAME`; no path at all replaces all of them.
///
/// # Errors
/// `InvalidArgument` for any other path, with `what` as the object's name: `cannot update "x" field on WHAT`.
pub fn update_labels(into: &mut Labels, from: &Labels, fields: &[String], what: &str) -> Result<()> {
    if fields.is_empty() {
        into.clone_from(from);
    }
    for path in fields {
        if let Some(key) = path.strip_prefix("labels.") {
            take_entry(into, from, key);
        } else if path == "labels" {
            into.clone_from(from);
        } else {
            return Err(Error::InvalidArgument(format!(
                "cannot update {path:?} field on {what}"
            )));
        }
    }
    drop_empty(into);
    Ok(())
}

/// Replaces the parts of a container that `fields` names; none: all that may be changed.
///
/// # Errors
/// `InvalidArgument` for an unknown field, and for another runtime or snapshotter.
pub fn update_container(into: &mut Container, from: &Container, fields: &[String]) -> Result<()> {
    let all = ["labels", "spec", "extensions", "image", "snapshotkey"].map(str::to_owned);
    let fields = if fields.is_empty() {
        if into.snapshotter != from.snapshotter {
            return Err(Error::InvalidArgument(
                "container.Snapshotter field is immutable".into(),
            ));
        }
        if into.runtime.name != from.runtime.name {
            return Err(Error::InvalidArgument(
                "container.Runtime.Name field is immutable".into(),
            ));
        }
        &all[..]
    } else {
        fields
    };
    for path in fields {
        if let Some(key) = path.strip_prefix("labels.") {
            take_entry(&mut into.labels, &from.labels, key);
        } else if let Some(key) = path.strip_prefix("extensions.") {
            take_entry(&mut into.extensions, &from.extensions, key);
        } else {
            match path.as_str() {
                "labels" => into.labels.clone_from(&from.labels),
                "spec" => into.spec.clone_from(&from.spec),
                "extensions" => into.extensions.clone_from(&from.extensions),
                "image" => into.image.clone_from(&from.image),
                "snapshotkey" => into.snapshot_key.clone_from(&from.snapshot_key),
                _ => {
                    return Err(Error::InvalidArgument(format!(
                        "cannot update {path:?} field on {:?}",
                        into.id
                    )));
                }
            }
        }
    }
    drop_empty(&mut into.labels);
    Ok(())
}

/// Replaces the parts of an image that `fields` names (`labels`, `labels.x`, `target`, `annotations`, `annotations.x`);
/// none: labels and target. Digest, size and media type of a target are only replaced together.
///
/// # Errors
/// `InvalidArgument` for an unknown field.
pub fn update_image(into: &mut Image, from: &Image, fields: &[String]) -> Result<()> {
    if fields.is_empty() {
        into.labels.clone_from(&from.labels);
        into.target.clone_from(&from.target);
    }
    for path in fields {
        if let Some(key) = path.strip_prefix("labels.") {
            take_entry(&mut into.labels, &from.labels, key);
        } else if let Some(key) = path.strip_prefix("annotations.") {
            take_entry(&mut into.target.annotations, &from.target.annotations, key);
        } else {
            match path.as_str() {
                "labels" => into.labels.clone_from(&from.labels),
                "target" => into.target.clone_from(&from.target),
                "annotations" => into.target.annotations.clone_from(&from.target.annotations),
                _ => {
                    let name = &into.name;
                    return Err(Error::InvalidArgument(format!(
                        "cannot update {path:?} field on image {name:?}"
                    )));
                }
            }
        }
    }
    drop_empty(&mut into.labels);
    Ok(())
}

/// Replaces the parts of a sandbox that `fields` names; none: all that may be changed.
///
/// # Errors
/// `InvalidArgument` for an unknown field.
pub fn update_sandbox(into: &mut Sandbox, from: &Sandbox, fields: &[String]) -> Result<()> {
    let all = ["labels", "extensions", "spec", "runtime"].map(str::to_owned);
    for path in if fields.is_empty() { &all[..] } else { fields } {
        if let Some(key) = path.strip_prefix("labels.") {
            take_entry(&mut into.labels, &from.labels, key);
        } else if let Some(key) = path.strip_prefix("extensions.") {
            take_entry(&mut into.extensions, &from.extensions, key);
        } else {
            match path.as_str() {
                "labels" => into.labels.clone_from(&from.labels),
                "extensions" => into.extensions.clone_from(&from.extensions),
                "runtime" => into.runtime.clone_from(&from.runtime),
                "spec" => into.spec.clone_from(&from.spec),
                _ => {
                    return Err(Error::InvalidArgument(format!(
                        "cannot update {path:?} field on sandbox {:?}",
                        into.id
                    )));
                }
            }
        }
    }
    drop_empty(&mut into.labels);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn one_label_leaves_the_others() {
        let mut into = labels(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let from = labels(&[("a", "9"), ("b", "")]);
        update_labels(
            &mut into,
            &from,
            &["labels.a".into(), "labels.b".into(), "labels.c".into()],
            "x",
        )
        .unwrap();
        assert_eq!(into, labels(&[("a", "9")]));
    }

    #[test]
    fn label_names_may_have_dots() {
        let mut into = Labels::new();
        let from = labels(&[("containerd.io/gc.ref.content.0", "sha256:x")]);
        update_labels(&mut into, &from, &["labels.containerd.io/gc.ref.content.0".into()], "x").unwrap();
        assert_eq!(into, from);
    }

    #[test]
    fn runtime_of_a_container_stays() {
        let mut into = Container {
            id: "c".into(),
            ..Container::default()
        };
        let mut from = into.clone();
        from.runtime.name = "other".into();
        let error = update_container(&mut into, &from, &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "container.Runtime.Name field is immutable: invalid argument"
        );
        let error = update_container(&mut into, &from, &["runtime".into()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot update \"runtime\" field on \"c\": invalid argument"
        );
    }
}

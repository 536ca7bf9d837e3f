//! features.md and features-linux.md.

use crate::conformance::must::Must;
use crate::must;

/// The table.
#[rustfmt::skip]
pub(super) const MUSTS: &[Must] = &[
    must!("features.version-min", "features.md#specification-version", "ociVersionMin is accepted as ociVersion", features::versions),
    must!("features.version-max", "features.md#specification-version", "ociVersionMax is accepted as ociVersion", features::versions),
    must!("features.version-order", "features.md#specification-version", "ociVersionMax is not less than ociVersionMin", features::versions),
    must!("features.defined-only", "features.md#specification-version", "no property that the specification does not define", features::known_properties),
    must!("features.null", "features.md#features-structure", "null is not an empty value", not "binds who reads the document"),
    must!("features.hooks", "features.md#hooks", "each hook that is told is supported", features::hooks_told),
    must!("features.mount-options", "features.md#mount-options", "each mount option that is told is recognised", features::mount_options),
    must!("features.annotations", "features.md#annotations", "annotations are a map of strings", features::known_properties),
    must!("features.namespaces", "features-linux.md#namespaces", "each namespace that is told is recognised", features::namespaces_told),
    must!("features.capabilities", "features-linux.md#capabilities", "each capability that is told is recognised", features::capabilities),
    must!("features.seccomp-actions", "features-linux.md#seccomp", "each action that is told is recognised", features::seccomp_words),
    must!("features.seccomp-operators", "features-linux.md#seccomp", "each operator that is told is recognised", features::seccomp_words),
    must!("features.seccomp-archs", "features-linux.md#seccomp", "each architecture that is told is recognised", features::seccomp_words),
    must!("features.seccomp-known-flags", "features-linux.md#seccomp", "each flag that is told as known is recognised", features::seccomp_words),
    must!("features.seccomp-supported-flags", "features-linux.md#seccomp", "each flag that is told as supported is supported", features::seccomp_words),
    must!("features.memory-policy", "features-linux.md#memorypolicy", "each mode and flag of memoryPolicy that is told is recognised", features::memory_policy),
    must!("features.idmap", "features-linux.md#mountextensions", "idmap.enabled is true when mappings of mounts are looked at", features::idmap),
];

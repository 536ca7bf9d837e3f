//! Doors for fuzz targets to what is private: no part of the library's interface.

use std::path::Path;

use crate::plan::Plan;
use crate::plan::mount_options::MountOptions;
use crate::record::Record;
use crate::seccomp::Filter;

/// A `config.json`: loaded, validated, planned. Whether it came that far.
pub fn config(data: &[u8]) -> bool {
    let Ok(loaded) = runtime_spec::load::load_with_warnings(data) else {
        return false;
    };
    if runtime_spec::validate(&loaded.spec).is_err() {
        return false;
    }
    let mut warnings = Vec::new();
    let Ok(plan) = Plan::new(&loaded.spec, Path::new("/bundle"), &mut warnings) else {
        return false;
    };
    for mount in &plan.mounts {
        assert!(
            mount.destination.is_absolute()
                && mount
                    .destination
                    .components()
                    .all(|part| part != std::path::Component::ParentDir)
        );
    }
    for (path, _) in &plan.sysctl {
        assert!(!path.split('/').any(|part| part.is_empty() || part == ".."), "{path}");
    }
    true
}

/// Options of one mount, separated by commas.
pub fn mount_options(text: &str) {
    let options = MountOptions::parse(text.split(','));
    for change in [options.attr, options.recursive_attr] {
        assert_eq!(change.set & change.clear, 0, "{text:?} both sets and clears");
    }
}

/// A container's record as it lies on the disk, or its filter. Whether it was either.
pub fn record(data: &[u8]) -> bool {
    let record = serde_json::from_slice::<Record>(data);
    if let Ok(record) = &record {
        let again = serde_json::to_vec(record).and_then(|text| serde_json::from_slice::<Record>(&text));
        assert!(again.is_ok(), "what was read cannot be written");
    }
    record.is_ok() || Filter::from_bytes(data, None).is_ok()
}

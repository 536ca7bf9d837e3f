//! Fuzz targets: functions that get any bytes and must neither panic nor hang, nor say what cannot be.
//!
//! The same functions are driven in two ways: by libFuzzer for as long as one likes (`fuzz/libfuzzer`, see CONTRIBUTING.md), and by a test with a
//! simple mutator from the committed corpus, which runs everywhere.

mod cgroups;
mod mutate;
mod seccomp;

pub use mutate::Mutator;

/// A target: its name, which is its corpus's too, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 6] = [
    ("config", config),
    ("seccomp", seccomp::policy),
    ("mount_options", mount_options),
    ("cgroup_files", cgroups::files),
    ("records", record),
    ("names", names),
];

fn config(data: &[u8]) {
    runc_rs::fuzzing::config(data);
}

fn record(data: &[u8]) {
    runc_rs::fuzzing::record(data);
}

fn mount_options(data: &[u8]) {
    runc_rs::fuzzing::mount_options(&String::from_utf8_lossy(data));
}

/// References of images, digests, users with the files they are looked up in. What was read and is written reads the same.
fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    if let Ok(reference) = runtime_spec::Reference::parse(first) {
        let again = runtime_spec::Reference::parse(&reference.to_string());
        assert_eq!(again.as_ref(), Ok(&reference), "{first:?}");
        // What users are shown need not be read the same, with Docker neither: `docker.io/a.b/c` is `a.b/c`, and 64 hexadecimal digits are an id.
        let _ = runtime_spec::Reference::parse(&reference.familiar());
    }
    // Refused or not: no text is a panic.
    let _ = first.parse::<runtime_spec::Digest>();
    let _ = runtime_spec::user::parse_ids(first);
    let (passwd, group) = rest.split_once("\n\n").unwrap_or((rest, rest));
    if let Ok(user) = runtime_spec::user::resolve(first, passwd, group)
        && let Ok((uid, gid)) = runtime_spec::user::parse_ids(first)
    {
        // A number is that user (CVE-2026-30892).
        assert_eq!(user.uid, uid, "{first:?}");
        assert!(gid.is_none_or(|gid| gid == user.gid), "{first:?}");
    }
    let _ = runtime_spec::user::additional_groups(&[first], group);
}

//! Files of control groups, and resources to be written to them.

use oci_spec::runtime::LinuxResources;
use runc_rs_cgroups::Host;
use runc_rs_cgroups::devices;
use runc_rs_cgroups::stats::{parse, v2};

/// Any text as each of the files. A text that is JSON is resources.
pub(crate) fn files(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    parse::flat(&text);
    for line in text.lines() {
        parse::nested(line);
        parse::device(line);
        parse::rdma_line(line);
        v2::Io::parse(line);
    }
    parse::page_sizes(text.lines().map(str::to_owned), ".max");
    v2::Pressure::parse(&text);
    let (mountinfo, own) = text.split_once("\n\n").unwrap_or((&text, ""));
    // Without a mount of control groups it is an error.
    let _ = Host::parse(mountinfo, own);
    if let Ok(resources) = serde_json::from_slice::<LinuxResources>(data)
        && let Ok(policy) = devices::fold(resources.devices().as_deref().unwrap_or_default())
    {
        devices::writes_v1(&policy);
        devices::changes_v1(&text, &policy);
    }
}

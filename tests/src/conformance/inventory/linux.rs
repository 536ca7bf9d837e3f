//! config-linux.md, but for resources and seccomp.

use crate::conformance::must::Must;
use crate::must;

/// What runc-rs writes is tested on a tree of files that stands in for resctrl (`runc-rs/src/intel_rdt.rs`).
const RDT: &str = "needs a processor with Intel RDT: neither the test machine nor a guest has one";

/// The table.
#[rustfmt::skip]
pub(super) const MUSTS: &[Must] = &[
    must!("linux.namespaces.path-absolute", "config-linux.md#namespaces", "a namespace path that is not absolute is an error", namespaces::invalid),
    must!("linux.namespaces.join", "config-linux.md#namespaces", "with a path, the process is in that namespace", namespaces::join),
    must!("linux.namespaces.type-mismatch", "config-linux.md#namespaces", "a path of a namespace of another type is an error", namespaces::invalid),
    must!("linux.namespaces.new", "config-linux.md#namespaces", "without a path, the namespace is new", namespaces::new_ones),
    must!("linux.namespaces.inherit", "config-linux.md#namespaces", "a type that is not listed is the runtime's", namespaces::inherited),
    must!("linux.namespaces.twice", "config-linux.md#namespaces", "a type that is listed twice is an error", namespaces::invalid),
    must!("linux.user-namespace.mappings", "config-linux.md#user-namespace-mappings", "uidMappings and gidMappings are the user namespace's", namespaces::user_mappings),
    must!("linux.time-offsets", "config-linux.md#offset-for-time-namespace", "timeOffsets shift the clocks of the time namespace", namespaces::time_offsets),

    must!("linux.devices.available", "config-linux.md#devices", "each device of the list is there, in and outside of /dev", devices::listed),
    must!("linux.devices.mismatch", "config-linux.md#devices", "another file at a device's path is an error", devices::mismatch),
    must!("linux.devices.mode", "config-linux.md#devices", "fileMode, uid and gid are the device's", devices::listed),
    must!("linux.default-devices", "config-linux.md#default-devices", "null, zero, full, random, urandom and tty are there, and work", devices::defaults),
    must!("linux.default-devices.console", "config-linux.md#default-devices", "with a terminal, /dev/console is the terminal", terminal::attached),
    must!("linux.default-devices.ptmx", "config-linux.md#default-devices", "/dev/ptmx is the container's /dev/pts/ptmx", devices::ptmx),

    must!("linux.net-devices.moved", "config-linux.md#network-devices", "each network device of the list is in the container, with its new name", net_devices::moved),
    must!("linux.net-devices.exists", "config-linux.md#network-devices", "a name that is taken in the container is an error", net_devices::name_is_taken),
    must!("linux.net-devices.template", "config-linux.md#network-devices", "a name that ends in %d is one the kernel completes", net_devices::template),
    must!("linux.net-devices.attributes", "config-linux.md#network-devices", "attributes and global addresses are kept", net_devices::moved),
    must!("linux.net-devices.up", "config-linux.md#network-devices", "the device is up", net_devices::moved),
    must!("linux.net-devices.not-managed", "config-linux.md#namespace-lifecycle-and-container-termination", "after that the runtime leaves the device alone", net_devices::left_alone),
    must!("linux.net-devices.not-back", "config-linux.md#namespace-lifecycle-and-container-termination", "the runtime does not take the device out before the namespace goes", net_devices::left_alone),

    must!("linux.cgroup.unfit", "config-linux.md#control-groups", "a cgroup that the runtime finds unfit (frozen) is an error", cgroups::frozen),
    must!("linux.cgroups-path.absolute", "config-linux.md#cgroups-path", "an absolute path starts at the cgroup mount", cgroups::paths),
    must!("linux.cgroups-path.consistent", "config-linux.md#cgroups-path", "the same path is the same cgroup, each time", cgroups::paths),
    must!("linux.cgroups-path.form", "config-linux.md#cgroups-path", "the path is absolute or relative", not "every string is one of the two"),
    must!("linux.cgroups-path.invalid", "config-linux.md#cgroups-path", "a path that the runtime finds invalid is an error", cgroups::invalid_path),
    must!("linux.cgroup-ownership.missing-files", "config-linux.md#cgroup-ownership", "files to be delegated that do not exist are no error", cgroups::delegated),
    must!("linux.cgroup-ownership.fallback", "config-linux.md#cgroup-ownership", "without /sys/kernel/cgroup/delegate: cgroup.procs, cgroup.subtree_control and cgroup.threads", not "every kernel that the suite runs on has the file"),

    must!("linux.unified.controllers", "config-linux.md#unified", "controllers that unified needs are enabled", resources::unified),
    must!("linux.unified.unknown", "config-linux.md#unified", "keys that the runtime does not know are written all the same", resources::unified),
    must!("linux.unified.absent", "config-linux.md#unified", "a controller that is not there is an error", resources::unified_absent),
    must!("linux.unified.no-conversion", "config-linux.md#unified", "a v1 setting that v2 has nothing for is an error", resources::no_conversion),

    must!("linux.rdt.absent", "config-linux.md#intelrdt", "intelRdt without a mounted resctrl is an error", paths::rdt_absent),
    must!("linux.rdt.tasks", "config-linux.md#intelrdt", "the process is written to the tasks file of the group", not RDT),
    must!("linux.rdt.untouched", "config-linux.md#intelrdt", "without intelRdt no resctrl is touched", not RDT),
    must!("linux.rdt.default-clos", "config-linux.md#intelrdt", "closID / is the root of resctrl", not RDT),
    must!("linux.rdt.mem-bw-schema", "config-linux.md#intelrdt", "memBwSchema begins with MB: and is one line", not RDT),
    must!("linux.rdt.schemata-lines", "config-linux.md#intelrdt", "no element of schemata has a line break", not RDT),
    must!("linux.rdt.schemata-order", "config-linux.md#intelrdt", "l3CacheSchema is written first, memBwSchema then, schemata last", not RDT),
    must!("linux.rdt.schemata-unset", "config-linux.md#intelrdt", "without a schema no schemata file is written", not RDT),
    must!("linux.rdt.clos-of-id", "config-linux.md#intelrdt", "without closID the group is named after the container", not RDT),
    must!("linux.rdt.clos-created", "config-linux.md#intelrdt", "a closID with a schema is made when it is missing", not RDT),
    must!("linux.rdt.clos-compared", "config-linux.md#intelrdt", "one that exists and differs is an error", not RDT),
    must!("linux.rdt.clos-assigned", "config-linux.md#intelrdt", "a closID without a schema has to exist", not RDT),
    must!("linux.rdt.removed", "config-linux.md#intelrdt", "a group that the runtime made for the container goes with it; others stay", not RDT),
    must!("linux.rdt.monitoring", "config-linux.md#intelrdt", "enableMonitoring makes a monitoring group named after the container, or is an error; it goes with the container", not RDT),

    must!("linux.memory-policy", "config-linux.md#memory-policy", "memoryPolicy is the process's NUMA policy", paths::memory_policy),
    must!("linux.memory-policy.invalid", "config-linux.md#memory-policy", "a mode that does not exist is an error", paths::memory_policy_invalid),
    must!("linux.sysctl", "config-linux.md#sysctl", "sysctl sets what belongs to the container's namespaces", paths::sysctls),
    must!("linux.rootfs-propagation", "config-linux.md#rootfs-mount-propagation", "rootfsPropagation is the root mount's propagation", paths::root_propagation),
    must!("linux.masked-paths", "config-linux.md#masked-paths", "masked files and directories can't be read", paths::masked),
    must!("linux.masked-paths.absolute", "config-linux.md#masked-paths", "a masked path that is not absolute is an error", paths::relative_masked),
    must!("linux.readonly-paths", "config-linux.md#readonly-paths", "read-only paths can be read, and not be written", paths::readonly),
    must!("linux.readonly-paths.absolute", "config-linux.md#readonly-paths", "a read-only path that is not absolute is an error", paths::relative_readonly),
    must!("linux.mount-label", "config-linux.md#mount-label", "mountLabel is the SELinux context of the mounts", not "needs a policy in the kernel: tests/tests/runtime_with_selinux.rs brings one for runc-rs"),
    must!("linux.personality", "config-linux.md#personality", "personality is the process's execution domain", paths::personality),
];

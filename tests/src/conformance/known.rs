//! Where runtimes differ from the specification, and why. A difference that is no more fails the run as one that is new does.

use Where::{Everywhere, V2};

use super::subject::{Place, Subject};

/// Where a difference is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// Wherever the check can be made.
    Everywhere,
    /// With cgroup v1.
    V1,
    /// With cgroup v2, by whatever driver.
    V2,
    /// As an ordinary user.
    Rootless,
    /// Not as an ordinary user.
    Root,
}

impl Where {
    fn holds(self, place: Place) -> bool {
        match self {
            Self::Everywhere => true,
            Self::V1 => !place.v2 && !place.rootless,
            Self::V2 => place.v2 && !place.rootless,
            Self::Rootless => place.rootless,
            Self::Root => !place.rootless,
        }
    }
}

/// A MUST that a runtime does not do.
#[derive(Debug)]
pub struct Difference {
    /// The runtime, as its `--version` begins.
    pub runtime: &'static str,
    /// Where.
    pub place: Where,
    /// The MUST.
    pub id: &'static str,
    /// Seen in some runs and not in others: a race of the runtime's.
    pub sometimes: bool,
    /// Why that is so, or what it does instead.
    pub reason: &'static str,
}

/// The difference that is known of a runtime in a place, if any.
pub fn of(subject: &Subject, id: &str) -> Option<&'static Difference> {
    DIFFERENCES
        .iter()
        .find(|known| known.id == id && known.runtime == subject.name && known.place.holds(subject.place))
}

const fn always(runtime: &'static str, place: Where, id: &'static str, reason: &'static str) -> Difference {
    Difference {
        runtime,
        place,
        id,
        sometimes: false,
        reason,
    }
}

const fn sometimes(runtime: &'static str, place: Where, id: &'static str, reason: &'static str) -> Difference {
    Difference {
        sometimes: true,
        ..always(runtime, place, id, reason)
    }
}

/// All that are known, of the versions that Debian 12 has: runc 1.1.5 and crun 1.8.1.
#[rustfmt::skip]
pub const DIFFERENCES: &[Difference] = &[
    always("runc-rs", Everywhere, "runtime.delete.created", "as runc: delete ends a created container, and callers (containerd's shim) count on it"),
    always("runc-rs", Everywhere, "linux.seccomp.names", "as runc: a rule for no call is none, and engines that filter names by kernel write such rules"),
    always("runc-rs", V2, "linux.unified.no-conversion", "as runc: realtime settings, which cgroup v2 has nothing for, are left out"),
    always("runc", Everywhere, "runtime.lifecycle.start-container-fails", "start does not wait for what becomes of the container's process"),
    always("runc", Everywhere, "runtime.lifecycle.poststart-fails", "1.1 calls poststart hooks at the end of create"),
    always("runc", Everywhere, "runtime.lifecycle.poststop-fails", "the hooks behind one that fails are not called"),
    always("runc", Everywhere, "runtime.warnings.go-on", "the hooks behind one that fails are not called"),
    always("runc", Everywhere, "runtime.delete.created", "delete ends a created container, as callers have come to expect"),
    always("runc", Everywhere, "config.version", "ociVersion is not looked at"),
    always("runc", Everywhere, "config.rlimits.twice", "the last one counts"),
    always("runc", Everywhere, "config.process.scheduler", "came with runc 1.2"),
    always("runc", Everywhere, "config.process.scheduler-invalid", "came with runc 1.2"),
    always("runc", Everywhere, "config.process.io-priority", "came with runc 1.2"),
    always("runc", Everywhere, "config.process.exec-affinity", "came with runc 1.3"),
    always("runc", Everywhere, "config.domainname", "came with runc 1.2"),
    sometimes("runc", Everywhere, "config.hooks.timeout-positive", "0 is a limit of no time, which a quick hook may meet"),
    always("runc", Everywhere, "config.hooks.order", "1.1 calls poststart hooks at the end of create"),
    always("runc", Everywhere, "config.hooks.state-status", "1.1 calls poststart hooks at the end of create, of a container that is created"),
    always("runc", Everywhere, "config.hooks.prestart.when", "1.1 calls poststart hooks at the end of create, so the trace is another"),
    always("runc", Everywhere, "config.hooks.prestart.first", "1.1 calls poststart hooks at the end of create, so the trace is another"),
    always("runc", Everywhere, "config.hooks.create-runtime.when", "1.1 calls poststart hooks at the end of create, so the trace is another"),
    always("runc", Everywhere, "config.hooks.create-container.when", "1.1 calls poststart hooks at the end of create, so the trace is another"),
    always("runc", Everywhere, "config.hooks.create-container.after", "1.1 calls poststart hooks at the end of create, so the trace is another"),
    always("runc", Everywhere, "config.hooks.start-container.when", "1.1 calls poststart hooks at the end of create, before startContainer"),
    always("runc", Everywhere, "config.annotations.key-empty", "keys are not looked at"),
    always("runc", Everywhere, "config.valid-values", "1.1 knows no personality, and takes each for one that it need not know"),
    always("runc", Everywhere, "config.mounts.option.defaults", "1.1 hands it to tmpfs"),
    always("runc", Everywhere, "config.mounts.recursive", "an option does not take its opposite back"),
    always("runc", Everywhere, "config.mounts.idmap", "came with runc 1.2"),
    always("runc", Everywhere, "config.mounts.idmap-nothing", "came with runc 1.2"),
    always("runc", Everywhere, "config.mounts.mappings-both", "came with runc 1.2"),
    always("runc", Everywhere, "linux.time-offsets", "came with runc 1.2"),
    always("runc", Everywhere, "linux.devices.mismatch", "mknod finds a file, and that is taken for the device"),
    always("runc", Everywhere, "linux.net-devices.moved", "came with runc 1.4"),
    always("runc", Everywhere, "linux.net-devices.exists", "came with runc 1.4"),
    always("runc", Everywhere, "linux.net-devices.template", "came with runc 1.4"),
    always("runc", Everywhere, "linux.net-devices.attributes", "came with runc 1.4"),
    always("runc", Everywhere, "linux.net-devices.up", "came with runc 1.4"),
    always("runc", Everywhere, "linux.net-devices.not-managed", "came with runc 1.4"),
    always("runc", Everywhere, "linux.net-devices.not-back", "came with runc 1.4"),
    always("runc", Everywhere, "linux.memory-policy", "came with runc 1.4"),
    always("runc", Everywhere, "linux.memory-policy.invalid", "came with runc 1.4"),
    always("runc", Everywhere, "linux.rootfs-propagation", "shared is set before the root is bound, which makes it private where / is"),
    always("runc", Everywhere, "linux.masked-paths.absolute", "the path is taken as one from /"),
    always("runc", Everywhere, "linux.readonly-paths.absolute", "the path is taken as one from /"),
    always("runc", Everywhere, "linux.personality", "came with runc 1.2"),
    always("runc", Everywhere, "linux.cpu.burst", "came with runc 1.2"),
    always("runc", Everywhere, "linux.cpu.burst-limit", "came with runc 1.2"),
    always("runc", Everywhere, "linux.cpu.idle", "came with runc 1.2"),
    always("runc", Everywhere, "linux.seccomp.errno-unsupported", "the number is ignored"),
    always("runc", Everywhere, "linux.seccomp.default-errno-unsupported", "the number is ignored"),
    always("runc", Everywhere, "linux.seccomp.flags", "came with runc 1.1.6"),
    always("runc", Everywhere, "linux.seccomp.names", "a rule for no call is none"),
    always("runc", Everywhere, "linux.seccomp.metadata-alone", "metadata for nobody is ignored"),
    always("runc", Everywhere, "features.mount-options", "1.1 hands defaults to tmpfs"),
    always("runc", V2, "linux.unified.no-conversion", "realtime settings, which cgroup v2 has nothing for, are left out"),
    always("runc", V2, "linux.cgroup-ownership.missing-files", "1.1.5 leaves the cgroup root's, so that the container can't make one in it"),
    always("runc", V2, "linux.memory.check-before-update", "came with runc 1.2"),
    always("crun", Everywhere, "runtime.lifecycle.environment-error", "a relative cwd is taken as one from /"),
    always("crun", Everywhere, "runtime.errors.as-before", "a relative cwd is taken as one from /, so there is a container"),
    always("crun", Everywhere, "runtime.create.cannot-apply", "a relative cwd is taken as one from /"),
    always("crun", Everywhere, "runtime.lifecycle.start-container-fails", "start does not wait for what becomes of the container's process"),
    always("crun", Everywhere, "runtime.lifecycle.poststart-fails", "1.8 follows the specification of its time: a warning"),
    always("crun", Everywhere, "runtime.kill.signal", "a signal that does not exist is no error"),
    always("crun", Everywhere, "runtime.delete.created", "delete ends a created container, as callers have come to expect"),
    always("crun", Everywhere, "config.process.cwd-absolute", "a relative cwd is taken as one from /"),
    always("crun", Everywhere, "config.rlimits.twice", "the last one counts"),
    always("crun", Everywhere, "config.capabilities.unknown", "no word about it"),
    always("crun", Everywhere, "config.process.scheduler", "came with crun 1.9"),
    always("crun", Everywhere, "config.process.scheduler-invalid", "came with crun 1.9"),
    always("crun", Everywhere, "config.process.io-priority", "came with crun 1.9"),
    always("crun", Everywhere, "config.process.exec-affinity", "came with crun 1.20"),
    always("crun", Everywhere, "config.hooks.timeout-positive", "0 is taken for no limit"),
    sometimes("crun", Everywhere, "config.hooks.order", "start does not wait for the container's own hooks"),
    always("crun", Everywhere, "config.hooks.state", "startContainer hooks are told / as the bundle"),
    always("crun", Everywhere, "config.hooks.state-status", "the states before created are told as created or starting"),
    sometimes("crun", Everywhere, "config.hooks.start-container.when", "start does not wait for the container's own hooks"),
    sometimes("crun", Everywhere, "config.hooks.poststart.when", "start does not wait for the container's own hooks"),
    always("crun", Everywhere, "config.annotations.map", "annotations that are no map are none"),
    always("crun", Everywhere, "config.annotations.key-empty", "keys are not looked at"),
    always("crun", Everywhere, "config.valid-values", "a propagation that does not exist is ignored"),
    always("crun", Everywhere, "config.mounts.option.async", "an option does not take its opposite back"),
    always("crun", Everywhere, "config.mounts.option.atime", "an option does not take its opposite back"),
    always("crun", Everywhere, "config.mounts.option.dev", "an option does not take its opposite back"),
    always("crun", Everywhere, "config.mounts.option.diratime", "an option does not take its opposite back"),
    always("crun", Everywhere, "config.mounts.option.exec", "an option does not take its opposite back"),
    always("crun", Everywhere, "config.mounts.option.nostrictatime", "an option does not take its opposite back"),
    always("crun", Everywhere, "config.mounts.option.rw", "an option does not take its opposite back"),
    always("crun", Everywhere, "config.mounts.option.suid", "an option does not take its opposite back"),
    always("crun", Everywhere, "config.mounts.option.iversion", "1.8 hands it to the filesystem"),
    always("crun", Everywhere, "config.mounts.option.loud", "1.8 hands it to the filesystem"),
    always("crun", Everywhere, "config.mounts.option.noiversion", "1.8 hands it to the filesystem"),
    always("crun", Everywhere, "config.mounts.option.silent", "1.8 hands it to the filesystem"),
    always("crun", Everywhere, "config.mounts.option.nosymfollow", "1.8 hands it to the filesystem"),
    always("crun", Everywhere, "config.mounts.option.symfollow", "1.8 hands it to the filesystem"),
    always("crun", Everywhere, "config.mounts.option.shared", "the root is made private at the end, with all below it"),
    always("crun", Everywhere, "config.mounts.option.rshared", "the root is made private at the end, with all below it"),
    always("crun", Everywhere, "config.mounts.option.slave", "the root is made private at the end, with all below it"),
    always("crun", Everywhere, "config.mounts.option.rslave", "the root is made private at the end, with all below it"),
    always("crun", Everywhere, "config.mounts.option.unbindable", "the root is made private at the end, with all below it"),
    always("crun", Everywhere, "config.mounts.option.runbindable", "the root is made private at the end, with all below it"),
    always("crun", Everywhere, "config.mounts.recursive", "rnoatime and its kind are refused by the kernel as 1.8 asks for them"),
    always("crun", Everywhere, "linux.namespaces.path-absolute", "the path is taken as one from the working directory"),
    always("crun", Everywhere, "linux.namespaces.twice", "the second entry is ignored"),
    always("crun", Everywhere, "linux.time-offsets", "1.8 fails where nanoseconds are given"),
    always("crun", Everywhere, "linux.devices.mismatch", "mknod finds a file, and that is taken for the device"),
    always("crun", Everywhere, "linux.net-devices.moved", "came with crun 1.22"),
    always("crun", Everywhere, "linux.net-devices.exists", "came with crun 1.22"),
    always("crun", Everywhere, "linux.net-devices.template", "came with crun 1.22"),
    always("crun", Everywhere, "linux.net-devices.attributes", "came with crun 1.22"),
    always("crun", Everywhere, "linux.net-devices.up", "came with crun 1.22"),
    always("crun", Everywhere, "linux.net-devices.not-managed", "came with crun 1.22"),
    always("crun", Everywhere, "linux.net-devices.not-back", "came with crun 1.22"),
    always("crun", Everywhere, "linux.rdt.absent", "came with crun 1.9"),
    always("crun", Everywhere, "linux.memory-policy", "came with crun 1.24"),
    always("crun", Everywhere, "linux.memory-policy.invalid", "came with crun 1.24"),
    always("crun", Everywhere, "linux.masked-paths.absolute", "the path is taken as one from /"),
    always("crun", Everywhere, "linux.readonly-paths.absolute", "the path is taken as one from /"),
    always("crun", Everywhere, "linux.cpu.burst", "came with crun 1.9"),
    always("crun", Everywhere, "linux.cpu.burst-limit", "came with crun 1.9"),
    always("crun", Everywhere, "linux.cgroup.unfit", "create waits for ever on its process in a frozen cgroup"),
    always("crun", Everywhere, "linux.block-io.weight", "1.8 knows only blkio.weight, which kernels from 5 on have not"),
    always("crun", Everywhere, "linux.seccomp.names", "a rule for no call is none"),
    always("crun", Everywhere, "linux.seccomp.listener-ignored", "the listener is connected to whether it is needed or not"),
    always("crun", Everywhere, "linux.seccomp.metadata-alone", "metadata for nobody is ignored"),
];

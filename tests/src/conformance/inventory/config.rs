//! config.md, but for mounts.

use super::runtime::AUTHOR;
use crate::conformance::must::Must;
use crate::must;

const OTHER: &str = "of another platform than Linux";
const APPARMOR: &str = "needs a kernel with AppArmor at work: neither the test machine nor the guest has one";
const SELINUX: &str = "needs a policy in the kernel: tests/tests/runtime_with_selinux.rs brings one for runc-rs";

/// The table.
#[rustfmt::skip]
pub(super) const MUSTS: &[Must] = &[
    must!("config.version", "config.md#specification-version", "ociVersion is a semantic version that the runtime supports, or an error", values::version),
    must!("config.root", "config.md#root", "root is there", values::root_is_required),
    must!("config.root.path", "config.md#root", "root.path is a directory", values::root_is_required),
    must!("config.root.path-relative", "config.md#root", "root.path is absolute, or relative to the bundle", values::root_paths),
    must!("config.root.readonly", "config.md#root", "with root.readonly nothing can be written to the root filesystem", values::root_readonly),
    must!("config.root.windows", "config.md#root", "root on Windows: a volume's path, never read-only, not with Hyper-V", not OTHER),

    must!("config.process.required", "config.md#process", "process is there when start is called", lifecycle::no_process),
    must!("config.process.terminal", "config.md#process", "with terminal the standard streams are a pseudoterminal, which the caller gets", terminal::attached),
    must!("config.process.console-size", "config.md#process", "consoleSize is the size of the terminal", terminal::attached),
    must!("config.process.console-size-ignored", "config.md#process", "consoleSize without a terminal means nothing", terminal::size_without_terminal),
    must!("config.process.cwd", "config.md#process", "the program's working directory is cwd", process::environment),
    must!("config.process.cwd-absolute", "config.md#process", "a cwd that is not absolute is an error", process::invalid),
    must!("config.process.env", "config.md#process", "the program's environment is env", process::environment),
    must!("config.process.args", "config.md#process", "the program is args, found by PATH as execvp does", process::arguments),
    must!("config.process.args-one", "config.md#process", "args without an entry is an error", process::invalid),
    must!("config.process.command-line", "config.md#process", "commandLine on Windows", not OTHER),

    must!("config.rlimits.unknown", "config.md#posix-process", "a resource limit that the kernel does not know is an error", process::invalid),
    must!("config.rlimits.getrlimit", "config.md#posix-process", "each limit that is configured can be read back", process::rlimits),
    must!("config.rlimits.soft", "config.md#posix-process", "the soft limit is what is configured", process::rlimits),
    must!("config.rlimits.hard", "config.md#posix-process", "the hard limit is what is configured", process::rlimits),
    must!("config.rlimits.twice", "config.md#posix-process", "a limit that is configured twice is an error", process::invalid),

    must!("config.process.apparmor", "config.md#linux-process", "apparmorProfile confines the program", not APPARMOR),
    must!("config.process.selinux", "config.md#linux-process", "selinuxLabel is the program's label", not SELINUX),
    must!("config.capabilities.unknown", "config.md#linux-process", "a capability that can't be granted is a warning, not an error", process::unknown_capability),
    must!("config.capabilities.sets", "config.md#linux-process", "the five sets are as configured", process::capabilities),
    must!("config.process.no-new-privileges", "config.md#linux-process", "noNewPrivileges forbids to gain privileges", process::privileges),
    must!("config.process.oom-score", "config.md#linux-process", "oomScoreAdj is set when it is configured", process::oom_score),
    must!("config.process.oom-score-unset", "config.md#linux-process", "oom_score_adj stays as it is when it is not configured", process::oom_score),
    must!("config.process.scheduler", "config.md#linux-process", "scheduler sets policy, nice value and priority; what is not set is 0", process::scheduler),
    must!("config.process.scheduler-invalid", "config.md#linux-process", "a scheduling policy that does not exist is an error", process::invalid),
    must!("config.process.io-priority", "config.md#linux-process", "ioPriority sets class and level", process::io_priority),
    must!("config.process.exec-affinity", "config.md#linux-process", "execCPUAffinity is for exec, not for the container's process", process::exec_affinity),

    must!("config.user.uid", "config.md#posix-platform-user", "the program's user is uid", process::user),
    must!("config.user.gid", "config.md#posix-platform-user", "the program's group is gid", process::user),
    must!("config.user.umask", "config.md#posix-platform-user", "the program's umask is umask; unset, it is the caller's", process::umask),
    must!("config.user.additional-gids", "config.md#posix-platform-user", "additionalGids are the program's other groups", process::user),

    must!("config.hostname", "config.md#hostname", "hostname is the name in the container's UTS namespace", namespaces::names),
    must!("config.domainname", "config.md#domainname", "domainname is the domain's name there", namespaces::names),
    must!("config.platform.windows", "config.md#platform-specific-configuration", "windows is set for that platform", not OTHER),

    must!("config.hooks.path-absolute", "config.md#posix-platform-hooks", "a hook's path that is not absolute is an error", hooks::invalid),
    must!("config.hooks.timeout-positive", "config.md#posix-platform-hooks", "a hook's timeout that is not greater than zero is an error", hooks::invalid),
    must!("config.hooks.timeout", "config.md#posix-platform-hooks", "a hook that takes longer than its timeout is aborted", hooks::timeout),
    must!("config.hooks.env", "config.md#posix-platform-hooks", "a hook's environment is its env", hooks::all_six),
    must!("config.hooks.order", "config.md#posix-platform-hooks", "hooks are called in the order of the list", hooks::all_six),
    must!("config.hooks.state", "config.md#posix-platform-hooks", "each hook gets the state on standard input", hooks::all_six),
    must!("config.hooks.state-status", "config.md#posix-platform-hooks", "the status in that state is the one of the moment", hooks::all_six),
    must!("config.hooks.state-pid", "runtime.md#state", "the pid in that state is the one that the hook's namespace sees", hooks::all_six),
    must!("config.hooks.prestart.path", "config.md#prestart", "prestart: the path is the runtime's", hooks::all_six),
    must!("config.hooks.prestart.executed", "config.md#prestart", "prestart: runs in the runtime's namespaces", hooks::all_six),
    must!("config.hooks.prestart.when", "config.md#prestart", "prestart: during create", hooks::all_six),
    must!("config.hooks.prestart.first", "config.md#prestart", "prestart: before createRuntime", hooks::all_six),
    must!("config.hooks.create-runtime.path", "config.md#createruntime-hooks", "createRuntime: the path is the runtime's", hooks::all_six),
    must!("config.hooks.create-runtime.executed", "config.md#createruntime-hooks", "createRuntime: runs in the runtime's namespaces", hooks::all_six),
    must!("config.hooks.create-runtime.when", "config.md#createruntime-hooks", "createRuntime: during create", hooks::all_six),
    must!("config.hooks.create-container.path", "config.md#createcontainer-hooks", "createContainer: the path is the runtime's, for the root has not been changed yet", hooks::all_six),
    must!("config.hooks.create-container.executed", "config.md#createcontainer-hooks", "createContainer: runs in the container's namespaces", hooks::all_six),
    must!("config.hooks.create-container.when", "config.md#createcontainer-hooks", "createContainer: during create", hooks::all_six),
    must!("config.hooks.create-container.after", "config.md#createcontainer-hooks", "createContainer: after createRuntime", hooks::all_six),
    must!("config.hooks.start-container.path", "config.md#startcontainer-hooks", "startContainer: the path is the container's", hooks::all_six),
    must!("config.hooks.start-container.executed", "config.md#startcontainer-hooks", "startContainer: runs in the container's namespaces", hooks::all_six),
    must!("config.hooks.start-container.when", "config.md#startcontainer-hooks", "startContainer: during start, before the program", hooks::all_six),
    must!("config.hooks.poststart.path", "config.md#poststart", "poststart: the path is the runtime's", hooks::all_six),
    must!("config.hooks.poststart.executed", "config.md#poststart", "poststart: runs in the runtime's namespaces", hooks::all_six),
    must!("config.hooks.poststart.when", "config.md#poststart", "poststart: before start returns", hooks::all_six),
    must!("config.hooks.poststop.path", "config.md#poststop", "poststop: the path is the runtime's", hooks::all_six),
    must!("config.hooks.poststop.executed", "config.md#poststop", "poststop: runs in the runtime's namespaces", hooks::all_six),
    must!("config.hooks.poststop.when", "config.md#poststop", "poststop: before delete returns", hooks::all_six),

    must!("config.annotations.map", "config.md#annotations", "annotations are a map, or it is an error", values::annotations),
    must!("config.annotations.keys", "config.md#annotations", "keys are strings", not "JSON has no other keys"),
    must!("config.annotations.key-empty", "config.md#annotations", "an empty key is an error", values::empty_annotation_key),
    must!("config.annotations.values", "config.md#annotations", "values are strings, or it is an error", values::annotations),
    must!("config.annotations.unknown", "config.md#annotations", "keys that the runtime does not know are left alone", values::unknown_annotations),
    must!("config.annotations.reserved", "config.md#annotations", "org.opencontainers keys are used as the specification says", not AUTHOR),
    must!("config.annotations.image", "config.md#annotations", "values of org.opencontainers.image keys are those of the image specification", not AUTHOR),
    must!("config.extensibility", "config.md#extensibility", "properties that the runtime does not know are ignored, at any depth", values::unknown_properties),
    must!("config.valid-values", "config.md#valid-values", "invalid and unsupported values are errors", values::invalid_values),
];

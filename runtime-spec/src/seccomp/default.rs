//! The default policy: what programs in containers need, less what reaches past the container. The selection is Docker's, so that
//! an image that runs there runs here; what it says of each group of calls is in the comments.

use oci_spec::runtime::{Arch, LinuxSeccompAction, LinuxSeccompOperator};

use super::profile::{ArchMap, Argument, Conditions, Profile, Rule};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// `AF_VSOCK`: a socket to the hypervisor is outside every network namespace.
const AF_VSOCK: u64 = 40;
/// All namespace flags of clone(2): `CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}`.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// Personalities that change no protection: Linux, 32-bit Linux, each also with `UNAME26`, and "only ask".
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Files and directories.
const FILES: &str = "access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat \
    faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl \
    fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync \
    ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat ioctl lchown lchown32 lgetxattr \
    link linkat listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod \
    mknodat name_to_handle_at newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read \
    readahead readlink readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir sendfile sendfile64 \
    setxattr setxattrat splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs tee \
    truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev";

/// Waiting and being told.
const EVENTS: &str = "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait \
    epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch \
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect pause pipe pipe2 \
    poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4";

/// Memory.
const MEMORY: &str = "brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 \
    mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect \
    remap_file_pages";

/// Processes, threads and their identities.
const PROCESSES: &str = "capget capset execve execveat exit exit_group fork get_robust_list get_thread_area getcpu \
    getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid \
    getpriority getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 \
    ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr \
    lsm_list_modules lsm_set_self_attr pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease \
    process_vm_readv process_vm_writev ptrace restart_syscall rseq sched_get_priority_max sched_get_priority_min \
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval \
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp \
    set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups \
    setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid \
    setreuid32 setrlimit setsid setuid setuid32 sysinfo tgkill times tkill ugetrlimit uname uretprobe vfork wait4 \
    waitid waitpid";

/// Signals, futexes and System V and POSIX messages.
const IPC: &str = "futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake ipc mq_getsetattr mq_notify mq_open \
    mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd \
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait \
    rt_sigtimedwait_time64 rt_tgsigqueueinfo semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget \
    sigaltstack sigprocmask sigreturn";

/// Sockets, but for making one, which has a rule of its own.
const SOCKETS: &str = "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg \
    recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair";

/// Time and chance. (The clocks can be read and slewed; setting them needs a capability anyway.)
const TIME: &str = "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime \
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer getrandom gettimeofday nanosleep setitimer time \
    timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 \
    timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64";

/// What a capability brings with it.
const BY_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount listns lookup_dcookie mount mount_setattr \
         move_mount open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname sethostname setns \
         statmount syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_PACCT", "acct"),
    (
        "CAP_SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    (
        "CAP_SYS_NICE",
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// What belongs to an architecture.
const BY_ARCH: [(&[&str], &str); 6] = [
    (&["ppc64le"], "swapcontext sync_file_range2"),
    (
        &["arm", "arm64"],
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    ),
    (&["amd64", "amd64p32"], "arch_prctl"),
    (&["amd64", "amd64p32", "386"], "modify_ldt"),
    (
        &["s390", "s390x"],
        "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    ),
    (&["riscv64"], "riscv_flush_icache riscv_hwprobe"),
];

fn names(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn allow(text: &str) -> Rule {
    Rule {
        names: names(text),
        action: LinuxSeccompAction::ScmpActAllow,
        ..Rule::default()
    }
}

fn arches(list: &[&str]) -> Conditions {
    Conditions {
        arches: list.iter().map(|a| (*a).to_owned()).collect(),
        ..Conditions::default()
    }
}

fn caps(cap: &str) -> Conditions {
    Conditions {
        caps: vec![cap.to_owned()],
        ..Conditions::default()
    }
}

fn argument(index: usize, op: LinuxSeccompOperator, value: u64) -> Argument {
    Argument {
        index,
        value,
        value_two: 0,
        op,
    }
}

/// The policy with its conditions.
pub(super) fn profile() -> Profile {
    use LinuxSeccompOperator::{ScmpCmpEq, ScmpCmpMaskedEq, ScmpCmpNe};
    let mut rules: Vec<Rule> = [FILES, EVENTS, MEMORY, PROCESSES, IPC, SOCKETS, TIME]
        .into_iter()
        .map(allow)
        .collect();
    rules.push(Rule {
        args: vec![argument(0, ScmpCmpNe, AF_VSOCK)],
        ..allow("socket")
    });
    for value in PERSONALITIES {
        rules.push(Rule {
            args: vec![argument(0, ScmpCmpEq, value)],
            ..allow("personality")
        });
    }
    for (list, text) in BY_ARCH {
        rules.push(Rule {
            includes: arches(list),
            ..allow(text)
        });
    }
    for (cap, text) in BY_CAPABILITY {
        rules.push(Rule {
            includes: caps(cap),
            ..allow(text)
        });
    }
    // Without CAP_SYS_ADMIN: new threads and processes, but no new namespaces. The flags of s390's clone are its second argument.
    let swapped = ["s390", "s390x"];
    let masked = |index| vec![argument(index, ScmpCmpMaskedEq, CLONE_NAMESPACES)];
    let excludes = Conditions {
        arches: arches(&swapped).arches,
        ..caps("CAP_SYS_ADMIN")
    };
    rules.push(Rule {
        args: masked(0),
        excludes,
        ..allow("clone")
    });
    let excludes = caps("CAP_SYS_ADMIN");
    rules.push(Rule {
        args: masked(1),
        includes: arches(&swapped),
        excludes: excludes.clone(),
        ..allow("clone")
    });
    // clone3 keeps its flags in memory, where no filter can look: "no such call" makes the C library fall back to clone.
    rules.push(Rule {
        names: names("clone3"),
        action: LinuxSeccompAction::ScmpActErrno,
        errno_ret: Some(ENOSYS),
        excludes,
        ..Rule::default()
    });
    Profile {
        default_action: LinuxSeccompAction::ScmpActErrno,
        default_errno_ret: Some(EPERM),
        arch_map: Some(arch_map()),
        syscalls: rules,
        ..Profile::default()
    }
}

fn arch_map() -> Vec<ArchMap> {
    let map = |architecture, others: &[Arch]| ArchMap {
        architecture,
        sub_architectures: others.to_vec(),
    };
    vec![
        map(Arch::ScmpArchX86_64, &[Arch::ScmpArchX86, Arch::ScmpArchX32]),
        map(Arch::ScmpArchAarch64, &[Arch::ScmpArchArm]),
        map(Arch::ScmpArchS390x, &[Arch::ScmpArchS390]),
        map(Arch::ScmpArchRiscv64, &[]),
        map(Arch::ScmpArchPpc64le, &[]),
        map(Arch::ScmpArchLoongarch64, &[]),
    ]
}

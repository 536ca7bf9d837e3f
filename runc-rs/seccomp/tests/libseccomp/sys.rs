//! libseccomp, loaded when the test runs, so that nothing has to be installed to compile it.
#![allow(unsafe_code, dead_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;

use runc_rs_seccomp::Insn;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::policy::Policy;

/// `struct scmp_arg_cmp` of `<seccomp.h>`.
#[repr(C)]
struct ArgCompare {
    arg: c_uint,
    op: c_uint,
    first: u64,
    second: u64,
}

/// The functions of libseccomp that a runtime uses.
#[derive(Clone, Copy)]
pub(crate) struct Library {
    init: unsafe extern "C" fn(u32) -> *mut c_void,
    attr_set: unsafe extern "C" fn(*mut c_void, c_uint, u32) -> c_int,
    arch_add: unsafe extern "C" fn(*mut c_void, u32) -> c_int,
    resolve: unsafe extern "C" fn(*const c_char) -> c_int,
    rule_add: unsafe extern "C" fn(*mut c_void, u32, c_int, c_uint, *const ArgCompare) -> c_int,
    export: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
}

const CTL_NNP: c_uint = 3;
/// `__NR_SCMP_ERROR`.
const UNKNOWN: c_int = -1;
const EEXIST: c_int = -libc::EEXIST;

fn token(arch: &str) -> u32 {
    match arch {
        "SCMP_ARCH_X86" => 0x4000_0003,
        "SCMP_ARCH_X32" => 0x4000_003e,
        "SCMP_ARCH_ARM" => 0x4000_0028,
        "SCMP_ARCH_AARCH64" => 0xc000_00b7,
        _ => 0xc000_003e,
    }
}

impl Library {
    pub(crate) fn open() -> Self {
        // SAFETY: a C string; the library's initialisers are libseccomp's own. It is never closed.
        let handle = unsafe { libc::dlopen(c"libseccomp.so.2".as_ptr(), libc::RTLD_NOW) };
        assert!(
            !handle.is_null(),
            "libseccomp.so.2 (Debian: libseccomp2) is not installed"
        );
        let symbol = |name: &CStr| {
            // SAFETY: the handle is open, the name a C string.
            let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
            assert!(!found.is_null(), "{name:?}");
            found
        };
        // SAFETY: each symbol is the function of that name in `<seccomp.h>`, whose C types the fields' types are.
        unsafe {
            Self {
                init: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(u32) -> *mut c_void>(symbol(
                    c"seccomp_init",
                )),
                attr_set: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void, c_uint, u32) -> c_int>(
                    symbol(c"seccomp_attr_set"),
                ),
                arch_add: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void, u32) -> c_int>(symbol(
                    c"seccomp_arch_add",
                )),
                resolve: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*const c_char) -> c_int>(symbol(
                    c"seccomp_syscall_resolve_name",
                )),
                rule_add: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(*mut c_void, u32, c_int, c_uint, *const ArgCompare) -> c_int,
                >(symbol(c"seccomp_rule_add_array")),
                export: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void, c_int) -> c_int>(symbol(
                    c"seccomp_export_bpf",
                )),
            }
        }
    }

    /// The filter of a policy; `None` when libseccomp refuses it, or does not come back within two seconds. In a process of its own.
    pub(crate) fn compile(&self, policy: &Policy) -> Option<Vec<Insn>> {
        let mut file = File::from(memfd_create("filter", MemfdFlags::CLOEXEC).unwrap());
        // SAFETY: glibc's fork holds the allocator's locks, so the child may allocate; it calls libseccomp, which has none of its own, and ends
        // in `_exit`.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork");
        if pid == 0 {
            // SAFETY: the alarm's default action ends the child; `_exit` has no preconditions.
            unsafe {
                libc::alarm(2);
                let made = self.build(policy, file.as_raw_fd());
                libc::_exit(if made.is_some() { 0 } else { 1 });
            }
        }
        let mut status = 0;
        // SAFETY: a child of ours, and a place for its status.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        if status != 0 {
            return None;
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        let insn = |b: &[u8]| Insn {
            code: u16::from_le_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
        };
        Some(bytes.chunks_exact(8).map(insn).collect())
    }

    /// Whether libseccomp has heard of a call.
    pub(crate) fn knows(&self, name: &str) -> bool {
        let name = CString::new(name).unwrap();
        // SAFETY: a C string that is live for the call.
        unsafe { (self.resolve)(name.as_ptr()) != UNKNOWN }
    }

    fn build(&self, policy: &Policy, fd: c_int) -> Option<()> {
        let done = |result: c_int| (result == 0).then_some(());
        // SAFETY: the context comes from `seccomp_init` and is used by this one thread; pointers are to live C strings and arrays.
        unsafe {
            let context = (self.init)(policy.default.word());
            if context.is_null() {
                return None;
            }
            done((self.attr_set)(context, CTL_NNP, 0))?;
            for arch in &policy.architectures {
                match (self.arch_add)(context, token(arch)) {
                    EEXIST => {}
                    result => done(result)?,
                }
            }
            for rule in policy
                .rules
                .iter()
                .filter(|rule| rule.answer.word() != policy.default.word())
            {
                let name = CString::new(rule.name).ok()?;
                let call = (self.resolve)(name.as_ptr());
                // Unknown names are skipped, as runc does.
                if call == UNKNOWN {
                    continue;
                }
                let compare = |arg: &crate::policy::Arg| ArgCompare {
                    arg: arg.index as c_uint,
                    op: arg.op as c_uint + 1,
                    first: arg.value,
                    second: arg.second,
                };
                let args: Vec<ArgCompare> = rule.args.iter().map(compare).collect();
                let count = args.len() as c_uint;
                match (self.rule_add)(context, rule.answer.word(), call, count, args.as_ptr()) {
                    // The same rule twice.
                    EEXIST => {}
                    result => done(result)?,
                }
            }
            done((self.export)(context, fd))
        }
    }
}

//! The program: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    containerd_shim_runc_rs::main()
}

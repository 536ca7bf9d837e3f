//! The `hello-world` image: a container that needs no network, no registry and no compiler.
//!
//! Its one program is a static ELF file of a few hundred bytes, put together here: write(2) a text, exit(2) with 0.

use crate::Result;

const TEXT: &str = "
Hello from a container.

This text was written by a program in an image of a single file. To get here,
 1. the client asked the daemon's REST API to create and start a container;
 2. the daemon had the manager prepare a snapshot of the image, over gRPC;
 3. the manager started a shim, which holds the container's output and its exit code;
 4. the runtime in the shim made namespaces, mounts and control groups, and executed the program;
 5. the shim handed the output on, and the client printed it.

";

const BASE: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 56;

/// A `docker save` archive of the image, for `POST /images/load`.
///
/// # Errors
/// On a processor that no program is written for.
pub(crate) fn archive() -> Result<Vec<u8>> {
    let (machine, code, architecture) = code()?;
    let layer = tar(&[("hello", 0o755, &elf(machine, &code))])?;
    let config = serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": { "Cmd": ["/hello"], "Env": ["PATH=/"], "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        "history": [{ "created": "2026-01-01T00:00:00Z", "created_by": "COPY hello /" }],
    });
    let config = serde_json::to_vec(&config)?;
    let name = format!("{}.json", digest(&config).trim_start_matches("sha256:"));
    let manifest = serde_json::json!([{ "Config": name, "RepoTags": ["hello-world:latest"], "Layers": ["layer.tar"] }]);
    tar(&[
        (&name, 0o644, &config),
        ("layer.tar", 0o644, &layer),
        ("manifest.json", 0o644, &serde_json::to_vec(&manifest)?),
    ])
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

fn tar(files: &[(&str, u32, &[u8])]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, mode, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(1_767_225_600);
        builder.append_data(&mut header, name, *content)?;
    }
    Ok(builder.into_inner()?)
}

/// ELF machine number, machine code, and the name of this processor in image configs. The text stands right behind the code.
fn code() -> Result<(u16, Vec<u8>, &'static str)> {
    let length = u32::try_from(TEXT.len())?;
    match std::env::consts::ARCH {
        "x86_64" => Ok((62, x86_64(length), "amd64")),
        "aarch64" => Ok((183, aarch64(length), "arm64")),
        other => Err(format!("the hello-world program is not written for {other}").into()),
    }
}

fn x86_64(length: u32) -> Vec<u8> {
    let mut code = vec![0xb8, 1, 0, 0, 0]; // mov eax, 1 (write)
    code.extend([0xbf, 1, 0, 0, 0]); // mov edi, 1 (standard output)
    code.extend([0x48, 0x8d, 0x35, 16, 0, 0, 0]); // lea rsi, [rip + 16] (the text)
    code.push(0xba); // mov edx, length
    code.extend(length.to_le_bytes());
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xb8, 60, 0, 0, 0]); // mov eax, 60 (exit)
    code.extend([0x31, 0xff]); // xor edi, edi
    code.extend([0x0f, 0x05]); // syscall
    code
}

fn aarch64(length: u32) -> Vec<u8> {
    let mov = |register: u32, value: u32| 0xd280_0000 | (value & 0xffff) << 5 | register;
    let adr_x1 = |offset: u32| 0x1000_0001 | (offset & 3) << 29 | (offset >> 2) << 5;
    let svc = 0xd400_0001;
    let words = [
        mov(0, 1),
        adr_x1(28),
        mov(2, length),
        mov(8, 64),
        svc,
        mov(0, 0),
        mov(8, 93),
        svc,
    ];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// An executable of one segment that holds the whole file.
fn elf(machine: u16, code: &[u8]) -> Vec<u8> {
    let size = HEADERS + (code.len() + TEXT.len()) as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend(2u16.to_le_bytes()); // executable
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes()); // version
    file.extend((BASE + HEADERS).to_le_bytes()); // entry point
    file.extend(64u64.to_le_bytes()); // program headers
    file.extend(0u64.to_le_bytes()); // no section headers
    file.extend(0u32.to_le_bytes()); // flags
    for half in [64u16, 56, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes()); // load
    file.extend(5u32.to_le_bytes()); // read, execute
    for word in [0, BASE, BASE, size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file.extend(TEXT.as_bytes());
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_prints_its_text_and_exits_with_0() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hello");
        let (machine, code, _) = code().unwrap();
        std::fs::write(&path, elf(machine, &code)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let output = std::process::Command::new(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), TEXT);
    }
}

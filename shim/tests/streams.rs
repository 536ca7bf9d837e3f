//! Streams: every byte arrives, whoever reads, stops reading, or is killed.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use containerd_proto::containerd::runc::v1::Options;
use containerd_proto::containerd::task::v3::*;
use serde_json::Value;
use support::*;

/// The texts of a stream in a json-file log.
fn logged(path: &str, stream: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line["stream"] == stream)
        .map(|line| line["log"].as_str().unwrap().to_owned())
        .collect()
}

async fn run_to_end(shim: &Shim) -> u32 {
    shim.start("").await.unwrap();
    shim.wait("").await.unwrap()
}

#[tokio::test]
async fn the_log_has_both_streams_before_the_exit_is_told() {
    let shim = Shim::new("echo out; echo err >&2; echo -n '<tail>'").await;
    let log = shim.path("x-json.log");
    let uri = format!("docker-json-file://{log}?attrs=%7B%22a%22%3A%22b%22%7D");
    shim.create(&uri, &uri).await;
    run_to_end(&shim).await;
    assert_eq!(logged(&log, "stdout"), ["out\n", "<tail>"]);
    assert_eq!(logged(&log, "stderr"), ["err\n"]);
    let text = fs::read_to_string(&log).unwrap();
    assert!(
        text.contains(r#"{"log":"\u003ctail\u003e","stream":"stdout","attrs":{"a":"b"},"time":""#),
        "{text}"
    );
    assert_eq!(
        fs::metadata(&log).unwrap().permissions().mode() & 0o777,
        0o640 & !umask()
    );
    shim.delete("").await.unwrap();
    shim.end().await;
}

fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
    u32::from_str_radix(line.trim(), 8).unwrap()
}

/// A daemon may be killed and come back any number of times: the log does not notice, and a listener gets what comes while it listens.
#[tokio::test]
async fn listeners_come_and_go_and_the_log_is_whole() {
    let shim = Shim::new("n=0; while [ $n -lt 3000 ]; do n=$((n+1)); echo line $n; done; sleep 0.2; echo last").await;
    let (log, attach) = (shim.path("log"), shim.path("attach"));
    drop(fifo(Path::new(&attach)));
    let listen = || {
        fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&attach)
            .unwrap()
    };
    shim.create(&format!("docker-json-file://{log}?attach-stdout={attach}"), "")
        .await;
    let first = listen();
    shim.start("").await.unwrap();
    let heard = read_some(&first).await;
    assert!(heard.starts_with("line 1\nline 2\n"), "{heard:?}");
    // Killed, with unread bytes in its fifo.
    drop(first);
    let second = listen();
    assert_eq!(shim.wait("").await.unwrap(), 0);
    let rest = read_all(second, |all| all.ends_with(b"last\n")).await;
    assert!(String::from_utf8(rest).unwrap().ends_with("line 3000\nlast\n"));
    let mut expected: Vec<String> = (1..=3000).map(|n| format!("line {n}\n")).collect();
    expected.push("last\n".to_owned());
    assert_eq!(logged(&log, "stdout"), expected);
    shim.delete("").await.unwrap();
    shim.end().await;
}

async fn read_some(mut file: &fs::File) -> String {
    let mut buffer = vec![0; 4096];
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        match file.read(&mut buffer) {
            Ok(n) if n > 0 => return String::from_utf8_lossy(&buffer[..n]).into_owned(),
            _ => tokio::time::sleep(Duration::from_millis(2)).await,
        }
        assert!(std::time::Instant::now() < end, "nothing to read");
    }
}

#[tokio::test]
async fn a_listener_hears_the_end_of_a_silent_process() {
    let shim = Shim::new("true").await;
    let attach = shim.path("attach");
    drop(fifo(Path::new(&attach)));
    shim.create(&format!("docker-attach:///?attach-stdout={attach}"), "")
        .await;
    let reader = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&attach)
        .unwrap();
    run_to_end(&shim).await;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(
        poll(&mut [PollFd::new(&reader, PollFlags::IN)], Some(&patience)).unwrap(),
        1
    );
    shim.delete("").await.unwrap();
    shim.end().await;
}

/// A listener that sleeps holds up its stream, while the process lives. When that is killed, all it has written is in the log, the exit is told,
/// and Delete does not wait.
#[tokio::test]
async fn a_listener_that_does_not_read_cannot_hold_up_the_end() {
    let shim = Shim::new("seq 10001 99999; sleep 1000").await;
    let (log, attach) = (shim.path("log"), shim.path("attach"));
    let sleeper = fifo(Path::new(&attach));
    let pid = shim
        .create(&format!("docker-json-file://{log}?attach-stdout={attach}"), "")
        .await;
    shim.start("").await.unwrap();
    // Its last write does not fit: it sleeps in the kernel's pipe_write.
    let blocked = || fs::read_to_string(format!("/proc/{}/wchan", child_of(pid))).is_ok_and(|at| at.contains("pipe"));
    until("a process that is held up", blocked).await;
    shim.kill("", 9).await.unwrap();
    assert_eq!(shim.wait("").await.unwrap(), 137);
    let lines = logged(&log, "stdout");
    let written: usize = lines.iter().map(String::len).sum();
    // The fifo's buffer, and the pipe's behind it.
    assert!(written >= 2 * 65536 - 4096, "{written}");
    // Only the last may be cut.
    let whole = &lines[..lines.len() - 1];
    assert!(whole.iter().zip(10001..).all(|(line, n)| *line == format!("{n}\n")));
    shim.delete("").await.unwrap();
    drop(sleeper);
    shim.end().await;
}

fn child_of(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children
        .split_whitespace()
        .next()
        .map_or(pid, |child| child.parse().unwrap())
}

#[tokio::test]
async fn the_log_rotates() {
    let shim = Shim::new("seq 1 1000").await;
    let log = shim.path("log");
    shim.create(&format!("docker-json-file://{log}?max-size=20000&max-file=3"), "")
        .await;
    run_to_end(&shim).await;
    let all: Vec<String> = [".2", ".1", ""]
        .iter()
        .flat_map(|end| logged(&format!("{log}{end}"), "stdout"))
        .collect();
    assert!(all.len() > 400 && all.len() < 1000, "{}", all.len());
    let first: usize = all[0].trim().parse().unwrap();
    assert!(
        all.iter()
            .enumerate()
            .all(|(n, text)| text.trim() == (first + n).to_string())
    );
    assert_eq!(all.last().unwrap(), "1000\n");
    assert!(!Path::new(&format!("{log}.3")).exists());
    shim.delete("").await.unwrap();
    shim.end().await;
}

#[tokio::test]
async fn a_stream_that_makes_no_sense_is_refused() {
    let shim = Shim::new("true").await;
    for bad in [
        "http://x/y",
        "docker-json-file:///x?max-size=none",
        "/no/such/fifo",
        "binary:///no/such/logger",
    ] {
        let error = shim
            .task
            .create(&shim.context, &shim.create_request(bad, ""))
            .await
            .unwrap_err();
        assert!(!error.message.is_empty());
        shim.assert_clean();
    }
    shim.end().await;
}

/// A reader of a plain fifo may go and another come: bytes that nobody has read yet wait in the fifo.
#[tokio::test]
async fn fifos_outlive_their_readers() {
    for binary_name in ["", "runc"] {
        let options = Options {
            binary_name: binary_name.into(),
            ..Options::default()
        };
        let shim = Shim::with("echo one; sleep 0.3; echo two; echo err >&2", options, |_| {}).await;
        let (out, err) = (shim.path("out"), shim.path("err"));
        let (first, errors) = (fifo(Path::new(&out)), fifo(Path::new(&err)));
        shim.create(&out, &err).await;
        shim.start("").await.unwrap();
        assert_eq!(read_some(&first).await, "one\n");
        drop(first);
        assert_eq!(shim.wait("").await.unwrap(), 0);
        let second = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&out)
            .unwrap();
        assert_eq!(read_some(&second).await, "two\n");
        assert_eq!(read_some(&errors).await, "err\n");
        shim.delete("").await.unwrap();
        shim.end().await;
    }
}

/// Input ends only when the manager says so, not when a writer goes away; then what is in the fifo still arrives.
#[tokio::test]
async fn input_ends_by_close_io() {
    for binary_name in ["", "runc"] {
        let options = Options {
            binary_name: binary_name.into(),
            ..Options::default()
        };
        let shim = Shim::with("cat", options, |_| {}).await;
        let (input, out) = (shim.path("in"), shim.path("out"));
        drop(fifo(Path::new(&input)));
        let reader = fifo(Path::new(&out));
        let mut request = shim.create_request(&out, "");
        request.stdin = input.clone();
        shim.task.create(&shim.context, &request).await.unwrap();
        shim.start("").await.unwrap();
        for word in ["first ", "second"] {
            fs::OpenOptions::new()
                .write(true)
                .open(&input)
                .unwrap()
                .write_all(word.as_bytes())
                .unwrap();
        }
        assert_eq!(read_all(reader, |all| all.len() == 12).await, b"first second");
        let close = CloseIoRequest {
            id: shim.id.clone(),
            stdin: true,
            ..CloseIoRequest::default()
        };
        shim.task.close_io(&shim.context, &close).await.unwrap();
        assert_eq!(shim.wait("").await.unwrap(), 0);
        shim.delete("").await.unwrap();
        shim.end().await;
    }
}

#[tokio::test]
async fn megabytes_pass_through_byte_for_byte() {
    let shim = Shim::new("cat").await;
    let (input, out) = (shim.path("in"), shim.path("out"));
    drop(fifo(Path::new(&input)));
    let reader = fifo(Path::new(&out));
    let mut request = shim.create_request(&out, "");
    request.stdin = input.clone();
    shim.task.create(&shim.context, &request).await.unwrap();
    shim.start("").await.unwrap();
    let data: Vec<u8> = (0..8_u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let copy = data.clone();
    let writer = std::thread::spawn(move || {
        fs::OpenOptions::new()
            .write(true)
            .open(input)
            .unwrap()
            .write_all(&copy)
            .unwrap()
    });
    let back = read_all(reader, |all| all.len() >= 8 << 20).await;
    assert!(back == data);
    writer.join().unwrap();
    let close = CloseIoRequest {
        id: shim.id.clone(),
        stdin: true,
        ..CloseIoRequest::default()
    };
    shim.task.close_io(&shim.context, &close).await.unwrap();
    assert_eq!(shim.wait("").await.unwrap(), 0);
    shim.delete("").await.unwrap();
    shim.end().await;
}

#[tokio::test]
async fn terminals_have_a_size_and_one_stream() {
    for binary_name in ["", "runc"] {
        let options = Options {
            binary_name: binary_name.into(),
            ..Options::default()
        };
        let script = "read x; stty size; echo got $x; echo err >&2";
        let shim = Shim::with(script, options, |config| config["process"]["terminal"] = true.into()).await;
        let (input, log) = (shim.path("in"), shim.path("log"));
        drop(fifo(Path::new(&input)));
        let mut request = shim.create_request(&format!("docker-json-file://{log}"), "");
        (request.terminal, request.stdin) = (true, input.clone());
        shim.task.create(&shim.context, &request).await.unwrap();
        let size = ResizePtyRequest {
            id: shim.id.clone(),
            width: 101,
            height: 37,
            ..ResizePtyRequest::default()
        };
        shim.task.resize_pty(&shim.context, &size).await.unwrap();
        shim.start("").await.unwrap();
        fs::OpenOptions::new()
            .write(true)
            .open(&input)
            .unwrap()
            .write_all(b"word\n")
            .unwrap();
        assert_eq!(shim.wait("").await.unwrap(), 0);
        assert_eq!(
            logged(&log, "stdout"),
            ["word\r\n", "37 101\r\n", "got word\r\n", "err\r\n"]
        );
        assert!(shim.state("").await.unwrap().terminal);
        shim.delete("").await.unwrap();
        shim.end().await;
    }
}

#[tokio::test]
async fn further_processes_have_terminals_too() {
    for binary_name in ["", "runc"] {
        let options = Options {
            binary_name: binary_name.into(),
            ..Options::default()
        };
        let shim = Shim::with("sleep 1000", options, |_| {}).await;
        shim.create("", "").await;
        shim.start("").await.unwrap();
        let out = shim.path("out");
        let reader = fifo(Path::new(&out));
        let request = ExecProcessRequest {
            id: shim.id.clone(),
            exec_id: "t".into(),
            terminal: true,
            stdout: out,
            spec: Some(prost_types::Any {
                type_url: containerd_proto::type_urls::PROCESS.into(),
                value: process("test -t 0 && test -t 1 && echo a terminal; exit 8")
                    .to_string()
                    .into_bytes(),
            }),
            ..ExecProcessRequest::default()
        };
        shim.task.exec(&shim.context, &request).await.unwrap();
        shim.start("t").await.unwrap();
        assert_eq!(shim.wait("t").await.unwrap(), 8);
        assert_eq!(read_some(&reader).await, "a terminal\r\n");
        shim.delete("t").await.unwrap();
        shim.kill("", 9).await.unwrap();
        shim.wait("").await.unwrap();
        shim.delete("").await.unwrap();
        shim.end().await;
    }
}

#[tokio::test]
async fn files_and_logging_programs() {
    let shim = Shim::new("echo out; echo err >&2").await;
    let file = shim.path("dir/file");
    shim.create(&format!("file://{file}"), &format!("file://{file}")).await;
    run_to_end(&shim).await;
    shim.delete("").await.unwrap();
    let mut lines: Vec<_> = fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["err", "out"]);

    let (logger, seen) = (shim.path("logger"), shim.path("seen"));
    let script =
        format!("#!/bin/sh\nexec 5>&-\n(echo \"$CONTAINER_ID $CONTAINER_NAMESPACE $*\"; cat <&3; cat <&4) > {seen}\n");
    fs::write(&logger, script).unwrap();
    fs::set_permissions(&logger, fs::Permissions::from_mode(0o755)).unwrap();
    shim.create(
        &format!("binary://{logger}?key=value"),
        &format!("binary://{logger}?key=value"),
    )
    .await;
    run_to_end(&shim).await;
    shim.delete("").await.unwrap();
    let expected = format!("{} {NAMESPACE} key value\nout\nerr\n", shim.id);
    until("the logger's file", || {
        fs::read_to_string(&seen).is_ok_and(|text| text == expected)
    })
    .await;
    shim.end().await;
}

/// A process that leaves a child behind with its output open has ended all the same.
#[tokio::test]
async fn a_child_that_keeps_the_output_does_not_hold_up_the_exit() {
    let shim = Shim::new("sleep 1000").await;
    let out = shim.path("out");
    let reader = fifo(Path::new(&out));
    shim.create("", "").await;
    shim.start("").await.unwrap();
    shim.exec("e", "sleep 1000 & echo done", &out).await.unwrap();
    shim.start("e").await.unwrap();
    assert_eq!(shim.wait("e").await.unwrap(), 0);
    // Told after the output was passed on, although the stream has not ended.
    assert_eq!(read_some(&reader).await, "done\n");
    shim.delete("e").await.unwrap();
    shim.kill("", 9).await.unwrap();
    shim.wait("").await.unwrap();
    shim.delete("").await.unwrap();
    shim.end().await;
}

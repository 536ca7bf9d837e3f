//! config-linux.md: the seccomp listener, and the container process state that it gets.

use std::io::{IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use crate::conformance::bundle::Bundle;
use crate::conformance::trial::{Done, Stop, Trial};

/// A bundle whose `mkdir` is to be asked about at this socket.
fn with<'a>(t: &Trial<'a>, action: &str) -> Bundle<'a> {
    let mut bundle = t.bundle();
    let socket = bundle.dir.join("agent.sock");
    bundle.set("/process/noNewPrivileges", json!(true));
    bundle.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket, "listenerMetadata": "some=thing",
            "syscalls": [{"names": ["mkdir"], "action": action}],
        }),
    );
    bundle
}

/// All that came by one connection.
struct Message {
    text: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    /// They came with the first piece.
    first: bool,
}

/// Waits for a connection while `bundle` is being started, and reads it to its end.
fn receive(listener: &UnixListener) -> Result<Message, Stop> {
    listener.set_nonblocking(true)?;
    let end = Instant::now() + Duration::from_secs(30);
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(format!("nobody connected: {error}").into()),
        }
    };
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut piece = [0; 16384];
    let got = recvmsg(
        &stream,
        &mut [IoSliceMut::new(&mut piece)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )
    .map_err(std::io::Error::from)?;
    let descriptors: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds.collect::<Vec<_>>()),
            _ => None,
        })
        .flatten()
        .collect();
    let mut text = piece[..got.bytes].to_vec();
    // Ends when the other side has closed, and with an error when it does not.
    stream.read_to_end(&mut text)?;
    Ok(Message {
        text,
        first: !descriptors.is_empty(),
        descriptors,
    })
}

/// One state by one connection that is closed, with what it has to have.
pub fn state(t: &mut Trial) -> Done {
    let mut bundle = with(t, "SCMP_ACT_NOTIFY");
    bundle.set("/annotations", json!({"org.example.key": "value"}));
    bundle.script("while :; do sleep 1; done");
    let listener = UnixListener::bind(bundle.dir.join("agent.sock"))?;
    bundle.write();
    let received = std::thread::scope(|scope| {
        let agent = scope.spawn(|| receive(&listener));
        let started = bundle.started().map(|_| ());
        let received = agent
            .join()
            .unwrap_or_else(|_| Err("the agent panicked".to_owned().into()));
        started.and(received)
    })?;
    t.must("linux.seccomp.listener-socket", true, "");
    t.must("linux.seccomp.listener-closed", true, "");
    t.must(
        "linux.seccomp.state-first",
        received.first,
        "no descriptor with the first message",
    );
    let text = String::from_utf8_lossy(&received.text).into_owned();
    let state: Value = serde_json::from_str(&text).unwrap_or_default();
    t.must(
        "linux.seccomp.state-json",
        state.is_object() && received.descriptors.len() == 1,
        &text,
    );
    t.must("linux.seccomp.listener-one", state.is_object(), &text);
    t.must(
        "linux.seccomp.listener-one",
        listener.accept().is_err(),
        "a second connection",
    );
    let id = "linux.seccomp.state-content";
    let pid = bundle.pid()?;
    t.must(
        id,
        state["ociVersion"].is_string() && state["fds"] == json!(["seccompFd"]),
        &text,
    );
    t.must(
        id,
        state["pid"] == pid && state["metadata"] == "some=thing",
        format_args!("{pid}: {text}"),
    );
    let inner = &state["state"];
    t.must(
        id,
        inner["id"] == bundle.id && inner["bundle"] == json!(bundle.dir),
        &text,
    );
    t.must(
        id,
        inner["status"].is_string() && inner["annotations"]["org.example.key"] == "value",
        &text,
    );
    Ok(())
}

/// Nobody is at the socket.
pub fn nobody_listens(t: &mut Trial) -> Done {
    let mut bundle = with(t, "SCMP_ACT_NOTIFY");
    bundle.script("true");
    t.refused("linux.seccomp.listener-fails", &bundle.run());
    Ok(())
}

/// Nobody is at the socket, and nobody has to be.
pub fn ignored(t: &mut Trial) -> Done {
    let mut bundle = with(t, "SCMP_ACT_ERRNO");
    t.same(
        "linux.seccomp.listener-ignored",
        bundle.tell("echo here")?.trim(),
        "here",
    );
    Ok(())
}

/// Metadata for nobody.
pub fn metadata_alone(t: &mut Trial) -> Done {
    let mut bundle = with(t, "SCMP_ACT_NOTIFY");
    bundle.script("true");
    if let Some(Value::Object(profile)) = bundle.config.pointer_mut("/linux/seccomp") {
        profile.remove("listenerPath");
        profile.insert("syscalls".into(), json!([]));
    }
    t.refused("linux.seccomp.metadata-alone", &bundle.run());
    Ok(())
}

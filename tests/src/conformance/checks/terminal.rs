//! config.md: the terminal.

use std::fs::File;
use std::io::{IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;

use crate::conformance::trial::{Done, Stop, Trial};

/// The caller gets the terminal's other end by the console socket; the program's streams and `/dev/console` are the terminal, of the size that was asked for.
pub fn attached(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    let socket = bundle.dir.join("console.sock");
    let listener = UnixListener::bind(&socket)?;
    bundle.set("/process/terminal", json!(true));
    bundle.set("/process/consoleSize", json!({"height": 33, "width": 77}));
    bundle.script("busybox stty size; busybox tty; [ -t 1 ] && [ -t 2 ] && echo streams; [ -c /dev/console ] && echo console; [ -L /dev/ptmx -o -c /dev/ptmx ] && echo ptmx");
    bundle.write();
    bundle
        .call(&["create", "--console-socket", &socket.display().to_string(), &bundle.id])
        .ok()?;
    let mut terminal = File::from(receive(&listener)?);
    bundle.start().ok()?;
    let mut said = String::new();
    let mut piece = [0; 512];
    // A read ends with EIO when the last process has closed the terminal.
    while let Ok(count @ 1..) = terminal.read(&mut piece) {
        said += &String::from_utf8_lossy(&piece[..count]);
    }
    let lines: Vec<&str> = said.split_whitespace().collect();
    t.must("config.process.console-size", said.starts_with("33 77"), &said);
    t.must(
        "config.process.terminal",
        lines.contains(&"streams") && said.contains("/dev/"),
        &said,
    );
    t.must("linux.default-devices.console", lines.contains(&"console"), &said);
    t.must("linux.default-devices.ptmx", lines.contains(&"ptmx"), &said);
    Ok(())
}

/// The one descriptor that comes by the next connection.
fn receive(listener: &UnixListener) -> Result<OwnedFd, Stop> {
    let (stream, _) = listener.accept()?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 4096];
    recvmsg(
        &stream,
        &mut [IoSliceMut::new(&mut name)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )
    .map_err(std::io::Error::from)?;
    let message = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    message.ok_or_else(|| "no descriptor by the console socket".to_owned().into())
}

/// A size without a terminal.
pub fn size_without_terminal(t: &mut Trial) -> Done {
    let mut bundle = t.bundle();
    bundle.set("/process/consoleSize", json!({"height": 33, "width": 77}));
    t.same(
        "config.process.console-size-ignored",
        bundle.tell("echo here")?.trim(),
        "here",
    );
    bundle.set("/process/terminal", json!(false));
    t.same(
        "config.process.console-size-ignored",
        bundle.tell("echo here")?.trim(),
        "here",
    );
    Ok(())
}

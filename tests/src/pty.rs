//! A terminal of a test's own, with a program in it.

#![allow(clippy::expect_used)] // a harness fails by panicking

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A program whose standard streams are a terminal that the test holds the other end of.
#[derive(Debug)]
pub struct Pty {
    child: Child,
    master: File,
    pieces: Receiver<Vec<u8>>,
    seen: String,
}

impl Pty {
    /// Starts the program in a terminal of this many rows and columns.
    ///
    /// # Panics
    /// When there is no terminal to be had, or no such program.
    pub fn spawn(mut command: Command, rows: u16, columns: u16) -> Self {
        let size = nix::pty::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = nix::pty::openpty(&size, None).expect("a terminal");
        for attach in [Command::stdin, Command::stdout, Command::stderr] {
            attach(&mut command, Stdio::from(pty.slave.try_clone().expect("its end")));
        }
        let child = command.spawn().expect("the program starts");
        // Both hold the slave: without them the program's end is the terminal's.
        drop(command);
        drop(pty.slave);
        let master = File::from(pty.master);
        let mut output = master.try_clone().expect("our end");
        let (sender, pieces) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The end of a terminal is an error.
            while let Ok(count) = output.read(&mut buffer) {
                if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            master,
            pieces,
            seen: String::new(),
        }
    }

    /// Waits until the terminal has shown this text.
    ///
    /// # Panics
    /// When it does not within a minute; says what it showed.
    pub fn expect(&mut self, text: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.seen.contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(bytes) = self.pieces.recv_timeout(left) else {
                panic!("{text:?} is not in {:?}", self.seen);
            };
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    /// Types this.
    ///
    /// # Panics
    /// When the terminal takes no more.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("the terminal takes it");
    }

    /// Waits for the program's end; gives its exit code (-1 for a signal) and all that the terminal showed.
    ///
    /// # Panics
    /// When it does not end within a minute.
    pub fn wait(&mut self) -> (i32, String) {
        let end = Instant::now() + Duration::from_secs(60);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the program") {
                break status;
            }
            assert!(Instant::now() < end, "the program does not end after {:?}", self.seen);
            std::thread::sleep(Duration::from_millis(10));
        };
        while let Ok(bytes) = self.pieces.recv() {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        (status.code().unwrap_or(-1), std::mem::take(&mut self.seen))
    }
}

impl Drop for Pty {
    /// After a panic nobody waits for the program.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A daemon that is measured: started with its log in a file, waited for, ended when dropped.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::command::output;

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running daemon.
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Starts `command`, whose output goes to `log`, and waits until `question` succeeds.
    ///
    /// # Errors
    /// With the log, when it does not start or does not answer.
    pub(crate) fn start(mut command: Command, log: &Path, question: impl Fn() -> Command) -> Result<Self> {
        let file = File::create(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn();
        let own = Self(child.map_err(|e| format!("{}: {e}", command.get_program().display()))?);
        let end = Instant::now() + PATIENCE;
        while let Err(error) = output(&mut question()) {
            if Instant::now() > end {
                return Err(format!("{error}\n{}", fs::read_to_string(log)?).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(own)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

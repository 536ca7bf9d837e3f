//! Usage, as structured as containerd's `io.containerd.cgroups.v1.Metrics` and `v2.Metrics` want it.

use serde::{Deserialize, Serialize};

use crate::cgroup::{Cgroup, UNIFIED};
use crate::dir::Dir;
use crate::error::Result;
use crate::host::Mode;

pub mod parse;
mod processors;
pub mod v1;
pub mod v2;

pub use processors::{CpuSet, PerCpu};

/// The usage of a cgroup, in the terms of its layout. Hybrid hosts have v1's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Stats {
    /// From v1 controllers.
    V1(Box<v1::Stats>),
    /// From cgroup2.
    V2(Box<v2::Stats>),
}

/// Usage and limit of the pids controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    /// Tasks now.
    pub current: u64,
    /// The most tasks allowed; 0 for no limit, as containerd has it.
    pub limit: u64,
}

/// One device's line of `rdma.current` or `rdma.max`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rdma {
    /// Name of the device.
    pub device: String,
    /// Handles (`u32::MAX` for no limit).
    pub hca_handles: u32,
    /// Objects (`u32::MAX` for no limit).
    pub hca_objects: u32,
}

impl Cgroup {
    /// Reads the usage. Controllers that the host lacks are left empty.
    ///
    /// # Errors
    /// A directory that is gone, a control file that cannot be read or understood.
    pub fn stats(&self) -> Result<Stats> {
        if self.mode() == Mode::V2 {
            let dir = self.path(UNIFIED).map(Dir::open).transpose()?;
            return Ok(Stats::V2(Box::new(
                dir.map(|d| v2::read(&d)).transpose()?.unwrap_or_default(),
            )));
        }
        v1::read(self).map(|stats| Stats::V1(Box::new(stats)))
    }
}

fn pids(dir: &Dir) -> Result<Option<Pids>> {
    let Some(current) = dir.read_u64("pids.current")? else {
        return Ok(None);
    };
    let limit = dir.read_u64("pids.max")?.filter(|l| *l != u64::MAX).unwrap_or(0);
    Ok(Some(Pids { current, limit }))
}

fn rdma(dir: &Dir, file: &str) -> Result<Vec<Rdma>> {
    let text = dir.read_optional(file)?.unwrap_or_default();
    Ok(text.lines().filter_map(parse::rdma_line).collect())
}

//! Control groups for containers: v1, v2 and hybrid hosts behind one interface.
//!
//! A container's resources are a piece of its config (`linux.resources`); what the host offers is read once from
//! `/proc/self/mountinfo` and `/proc/self/cgroup` into a [`Host`]. From the two this crate makes a [`Cgroup`]: the set of
//! directories, one per controller on v1 and one in all on v2, that belong to one container.
//!
//! The decision that shapes the crate: what is to be written is computed first, as a list of [`plan::Write`]s in plain data, by
//! functions that know the two versions' file names and conversions and touch nothing. A small executor then writes them, through a
//! descriptor of the cgroup directory whose filesystem was checked, so that a path in a config can never lead a write astray. The
//! plans are tested as data on any machine; the doing is tested on the real kernel of whichever layout the machine has.
//!
//! Where a hybrid host has a controller on either side, it is used where it is; the unified directory is made too, because it
//! is what `clone3(CLONE_INTO_CGROUP)`, `cgroup.kill` and cgroup namespaces want.
//!
//! ```no_run
//! use runc_rs_cgroups::{Cgroup, Host, host::container_path};
//! # fn main() -> runc_rs_cgroups::Result<()> {
//! let host = Host::detect()?;
//! let cgroup = Cgroup::new(&host, &container_path(None, "c1"))?;
//! cgroup.create()?;
//! # let resources = Default::default();
//! cgroup.set(&resources)?; // limits first,
//! cgroup.add(4242)?;       // then the process
//! cgroup.kill(9)?;
//! cgroup.delete()?;
//! # Ok(())
//! # }
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`host`] | what is mounted where, and where this process stands in it |
//! | [`cgroup`] | the handle: create, add, set, freeze, kill, delete |
//! | [`plan`] | `linux.resources` -> file writes, for each version |
//! | [`devices`] | device rules -> v1 lists, v2 eBPF program |
//! | [`stats`] | what containerd's v1 and v2 `Metrics` ask for |
//! | [`oom`] | out-of-memory notification as a descriptor to poll |
//! | [`systemd`] | the same by way of systemd: transient scopes over D-Bus |
//! | [`mounts`] | what a container sees at `/sys/fs/cgroup`, as data |

pub mod cgroup;
pub mod devices;
mod dir;
pub mod error;
pub mod host;
pub mod mounts;
pub mod oom;
pub mod plan;
pub mod stats;
mod sys;
pub mod systemd;

pub use cgroup::{Cgroup, FreezerState};
pub use dir::is_cgroup;
pub use error::{Error, Result};
pub use host::{Host, Mode};
pub use oom::OomNotifier;
pub use stats::Stats;

//! Labels of SELinux on what the runtime makes for a container.

use std::os::fd::OwnedFd;

use rustix::fs::{self, Mode, OFlags, XattrFlags};

use super::fail::{Fail, Step};
use super::mount;
use super::procfs::Procfs;
use crate::plan::mounts::MountPlan;

/// A new filesystem instance with the mount's label. Older kernels take none for mqueue: there it is put on the root afterwards, as in
/// runc.
pub(super) fn new_instance(
    fstype: &str,
    source: &str,
    mut data: Vec<String>,
    plan: &MountPlan,
) -> Result<OwnedFd, Fail> {
    let Some(label) = &plan.label else {
        return mount::new_instance(fstype, source, &data, plan);
    };
    data.push(format!("context={label}"));
    match mount::new_instance(fstype, source, &data, plan) {
        Err(_) if fstype == "mqueue" => {}
        result => return result,
    }
    data.pop();
    let tree = mount::new_instance(fstype, source, &data, plan)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = fs::openat(&tree, c".", flags, Mode::empty()).step(|| "open the new mount")?;
    fs::fsetxattr(&root, c"security.selinux", label.as_bytes(), XattrFlags::empty())
        .step(|| format!("label {fstype}"))?;
    Ok(tree)
}

/// Has keyrings that this process makes labelled like the container's process, until it is dropped by [`KeyLabel::clear`].
pub(super) struct KeyLabel(Option<Procfs>);

impl KeyLabel {
    pub(super) fn set(label: Option<&str>) -> Result<Self, Fail> {
        let Some(label) = label else { return Ok(Self(None)) };
        let procfs = Procfs::new()?;
        procfs.write("self/attr/keycreate", label.as_bytes())?;
        Ok(Self(Some(procfs)))
    }

    /// Back to the rules of the policy.
    pub(super) fn clear(self) -> Result<(), Fail> {
        match self.0 {
            Some(procfs) => procfs.write("self/attr/keycreate", b"\n"),
            None => Ok(()),
        }
    }
}

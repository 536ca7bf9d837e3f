//! What a process of `exec` takes from its container where it says nothing itself, as in runc.

use serde::{Deserialize, Serialize};

use crate::plan::process::ProcessPlan;
use crate::plan::scheduling::{Affinity, MemoryPolicy};
use crate::sys::scheduling::SchedAttr;

/// Settings of the container's own process, kept with its record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Inherited {
    umask: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rlimits: Vec<(u32, u64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_score_adj: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduler: Option<SchedAttr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    io_priority: Option<(u32, u32)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    personality: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_policy: Option<MemoryPolicy>,
    #[serde(skip_serializing_if = "Affinity::is_empty")]
    cpu_affinity: Affinity,
    #[serde(skip_serializing_if = "Option::is_none")]
    apparmor_profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    selinux_label: Option<String>,
}

impl Inherited {
    /// What `plan`, the container's own process, leaves to later ones.
    pub(crate) fn of(plan: &ProcessPlan) -> Self {
        Self {
            umask: Some(plan.umask),
            rlimits: plan.rlimits.clone(),
            oom_score_adj: plan.oom_score_adj,
            scheduler: plan.scheduler,
            io_priority: plan.io_priority,
            personality: plan.personality,
            memory_policy: plan.memory_policy.clone(),
            cpu_affinity: plan.cpu_affinity.clone(),
            apparmor_profile: plan.apparmor_profile.clone(),
            selinux_label: plan.selinux_label.clone(),
        }
    }

    /// Fills in what `plan` does not say. `has_umask`: its process names one.
    pub(crate) fn complete(&self, plan: &mut ProcessPlan, has_umask: bool) {
        if let (Some(umask), false) = (self.umask, has_umask) {
            plan.umask = umask;
        }
        if plan.rlimits.is_empty() {
            plan.rlimits.clone_from(&self.rlimits);
        }
        if plan.cpu_affinity.is_empty() {
            plan.cpu_affinity.clone_from(&self.cpu_affinity);
        }
        plan.oom_score_adj = plan.oom_score_adj.or(self.oom_score_adj);
        plan.scheduler = plan.scheduler.or(self.scheduler);
        plan.io_priority = plan.io_priority.or(self.io_priority);
        plan.personality = plan.personality.or(self.personality);
        plan.memory_policy = plan.memory_policy.take().or_else(|| self.memory_policy.clone());
        plan.apparmor_profile = plan.apparmor_profile.take().or_else(|| self.apparmor_profile.clone());
        plan.selinux_label = plan.selinux_label.take().or_else(|| self.selinux_label.clone());
    }
}

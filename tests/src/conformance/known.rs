//! Where runtimes differ from the specification, and why. A difference that is no more fails the run as one that is new does.

use super::subject::{Place, Subject};

/// Where a difference is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// Wherever the check can be made.
    Everywhere,
    /// With cgroup v1.
    V1,
    /// With cgroup v2, by whatever driver.
    V2,
    /// As an ordinary user.
    Rootless,
    /// Not as an ordinary user.
    Root,
}

impl Where {
    fn holds(self, place: Place) -> bool {
        match self {
            Self::Everywhere => true,
            Self::V1 => !place.v2 && !place.rootless,
            Self::V2 => place.v2 && !place.rootless,
            Self::Rootless => place.rootless,
            Self::Root => !place.rootless,
        }
    }
}

/// A MUST that a runtime does not do.
#[derive(Debug)]
pub struct Difference {
    /// The runtime, as its `--version` begins.
    pub runtime: &'static str,
    /// Where.
    pub place: Where,
    /// The MUST.
    pub id: &'static str,
    /// Seen in some runs and not in others: a race of the runtime's.
    pub sometimes: bool,
    /// Why that is so, or what it does instead.
    pub reason: &'static str,
}

/// The difference that is known of a runtime in a place, if any.
pub fn of(subject: &Subject, id: &str) -> Option<&'static Difference> {
    DIFFERENCES
        .iter()
        .find(|known| known.id == id && known.runtime == subject.name && known.place.holds(subject.place))
}

/// All that are known.
pub const DIFFERENCES: &[Difference] = &[];

//! What a MUST is, and what was found of it.

use super::trial::{Done, Trial};

/// One thing that the specification demands.
#[derive(Clone, Copy)]
pub struct Must {
    /// Our name of it: the document and section, then the thing, with dots.
    pub id: &'static str,
    /// Where it stands: `document#section`, as the specification's own headings are linked.
    pub section: &'static str,
    /// What is demanded, in our words.
    pub says: &'static str,
    /// How it is looked at.
    pub by: Proof,
}

/// How a MUST is looked at.
#[derive(Clone, Copy)]
pub enum Proof {
    /// By a function, which says what it found of this MUST and perhaps of others.
    Check(Check),
    /// Not at all: the reason.
    Not(&'static str),
}

/// A function that looks at a runtime.
#[derive(Clone, Copy)]
pub struct Check {
    /// `module::function`.
    pub name: &'static str,
    /// The function.
    pub run: fn(&mut Trial) -> Done,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The runtime does it.
    Holds,
    /// It does not: what was seen.
    Fails(String),
    /// It can be looked at, but not in this place: the reason.
    Elsewhere(String),
}

/// One row of the table: id, section, words, and a checking function or `not "reason"`.
#[macro_export]
macro_rules! must {
    ($id:expr, $section:expr, $says:expr, not $reason:expr) => {
        $crate::conformance::must::Must {
            id: $id,
            section: $section,
            says: $says,
            by: $crate::conformance::must::Proof::Not($reason),
        }
    };
    ($id:expr, $section:expr, $says:expr, $module:ident :: $function:ident) => {
        $crate::conformance::must::Must {
            id: $id,
            section: $section,
            says: $says,
            by: $crate::conformance::must::Proof::Check($crate::conformance::must::Check {
                name: concat!(stringify!($module), "::", stringify!($function)),
                run: $crate::conformance::checks::$module::$function,
            }),
        }
    };
}

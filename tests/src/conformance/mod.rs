//! Does a runtime do what runtime-spec 1.3 says it MUST? One suite for every OCI runtime with runc's command line.
//!
//! The suite is a table first: [`inventory`] names each MUST of the specification in words of our own, with the section it stands in, and beside it
//! the function that looks, or the reason why no program can look. A MUST is therefore never just forgotten: what the table does not have is not
//! demanded, and what it has is answered in each run by exactly one line.
//!
//! It is a library and a small program (`src/bin/conformance.rs`) instead of test functions, because the same table is run in places where no test
//! harness is: in a machine with cgroup v2 (one boot, one call), under systemd, as an ordinary user, and for runtimes that are not ours. Debian's runc
//! and crun are run too: a line that they fail is either our mistake or a difference that [`known`] says out loud, and that list is checked both ways.
//!
//! | module | what |
//! |---|---|
//! | [`must`] | what a MUST is, and what was found of it |
//! | [`inventory`] | all of them, by document and section |
//! | [`checks`] | the functions that look: containers are made, and asked |
//! | [`subject`] | the runtime under test, and the place where it is tested |
//! | [`bundle`] | a bundle with its container, gone when dropped |
//! | [`trial`] | what a checking function says its findings to |
//! | [`known`] | where runtimes differ from the specification, and why |
//! | [`report`] | runs the table, and the lines of the answer |

pub mod bundle;
pub mod checks;
pub mod inventory;
pub mod known;
pub mod must;
pub mod report;
pub mod subject;
pub mod trial;

//! For programs that make containers: builders and handles over the operations of [`Runtime`](crate::Runtime).

mod builder;
mod child;
mod container;
mod exec;
mod parts;
mod stdio;
mod terminal;
mod watch;

pub use builder::ContainerBuilder;
pub use child::Child;
pub use container::Container;
pub use exec::ExecBuilder;
pub use stdio::Stdio;
pub use terminal::Terminal;
pub use watch::{Event, Events};

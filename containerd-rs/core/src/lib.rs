//! The seams of the lifecycle manager: domain types and the traits that its parts meet at.

//! The harness of the cross-layer tests, and the tests.

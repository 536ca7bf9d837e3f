//! An OCI runtime: a library to embed, and a drop-in for runc.

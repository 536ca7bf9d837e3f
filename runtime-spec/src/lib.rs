//! OCI runtime types: validation, defaults, seccomp profile, features, digests, image references.

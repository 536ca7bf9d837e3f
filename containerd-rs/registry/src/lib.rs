//! A client of OCI and Docker registries: resolve, fetch, push.

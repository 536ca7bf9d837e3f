//! A content-addressed blob store in a directory, with resumable and verified ingest.

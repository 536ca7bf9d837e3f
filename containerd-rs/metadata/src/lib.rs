//! One transactional store for images, containers, leases, namespaces, labels and snapshots, with garbage collection.

//! Docker's REST API over containerd's gRPC services.

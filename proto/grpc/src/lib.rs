//! gRPC clients and servers of containerd's services, on tonic.

//! The ttrpc protocol (client and server) and the shim's services over it.

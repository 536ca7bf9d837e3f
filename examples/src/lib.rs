//! Runnable programs: one for each way of using a layer on its own.

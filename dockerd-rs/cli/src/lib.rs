//! A small client of Docker's REST API.

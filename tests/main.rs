//! The integration tests: one binary, one module an area.

// Every store against the battery of its contract; files in bad states; kill -9.
mod store;

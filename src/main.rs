//! The tinyns program.

fn main() {}

//! The regraft command.
fn main() {}

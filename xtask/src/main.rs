//! Checks, assets, goldens and benchmarks of the workspace.
fn main() {}

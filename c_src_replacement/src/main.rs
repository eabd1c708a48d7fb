//! The port program.
fn main() {}

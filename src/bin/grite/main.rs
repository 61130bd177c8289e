//! grite.
fn main() {}

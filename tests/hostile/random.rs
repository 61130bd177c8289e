//! Numbers that nobody expects, and the same ones in each run: [`Random`].

/// An xorshift generator.
pub struct Random(u64);

impl Random {
    /// Starts from a seed that is not zero.
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

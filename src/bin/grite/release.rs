//! Which release of this program this is, as one number for the library to compare: [`own`].

/// The release: 1,002,003 for version 1.2.3.
///
/// A test of upgrades can have one program be several: `GRITE_RELEASE` is the number then, for commands
/// and for the daemons that they start. It is in no help text.
pub fn own() -> u32 {
    let pretended = std::env::var("GRITE_RELEASE").ok().and_then(|number| number.parse().ok());
    pretended.unwrap_or_else(|| number(env!("CARGO_PKG_VERSION")))
}

/// The number of a version; 0, which says nothing, for what is none.
fn number(version: &str) -> u32 {
    let plain = version.split(['-', '+']).next().unwrap_or_default();
    let parts: Option<Vec<u32>> = plain.split('.').map(|part| part.parse().ok()).collect();
    match parts.as_deref() {
        Some(&[major @ ..4000, minor @ ..1000, patch @ ..1000]) => major * 1_000_000 + minor * 1000 + patch,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_version_has_a_larger_number() {
        let numbers = ["0.1.0", "0.1.1", "0.2.0", "0.10.0", "1.0.0", "1.2.3", "3999.999.999"].map(number);
        assert!(numbers.is_sorted_by(|earlier, later| earlier < later), "{numbers:?}");
        assert_eq!(number("1.2.3"), 1_002_003);
        assert_eq!(number("1.2.3-rc.1"), 1_002_003);
        for none in ["", "1", "1.2", "1.2.3.4", "1.x.3", "0.1000.0", "4000.0.0"] {
            assert_eq!(number(none), 0, "{none}");
        }
        assert_ne!(number(env!("CARGO_PKG_VERSION")), 0);
    }
}

//! The lock's record: any bytes read as none, or as one that is written and read again as it is.

use crate::lock::record;

/// Reads a record.
pub fn record(input: &[u8]) {
    let Some(daemon) = record::parse(input) else { return };
    assert!(daemon.socket_path().is_absolute());
    assert!(daemon.pid().is_none_or(|pid| pid > 0));
    let bytes = record::to_bytes(&daemon);
    assert_eq!(record::parse(&bytes), Some(daemon));
}

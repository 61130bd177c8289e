//! What stands in the lock file, for people and for finding the socket: lines of `key value`.
//!
//! ```text
//! libgrite-ipc daemon
//! pid 4711
//! version 0.1.0
//! socket /run/user/1000/grite/daemon.sock
//! ```
//!
//! A record that is damaged, foreign or longer than [`MAX_LENGTH`] reads as no record. Nothing in it
//! is ever trusted to say who lives.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::fault;

/// The longest record, in bytes.
const MAX_LENGTH: usize = 8192;

const TITLE: &[u8] = b"libgrite-ipc daemon\n";

/// A live daemon, as far as its record tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    pid: Option<u32>,
    version: Option<String>,
    socket: PathBuf,
}

impl Daemon {
    /// This process, listening at `socket`.
    pub(super) fn this(socket: PathBuf) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Daemon { pid: Some(std::process::id()), version: Some(version), socket }
    }

    /// A daemon that has not said who it is.
    pub(super) fn unknown(socket: PathBuf) -> Self {
        Daemon { pid: None, version: None, socket }
    }

    /// Its process, as it wrote it down. For people: signal nobody on this word alone.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// The version of this library that it was built with.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Where it listens.
    pub fn socket_path(&self) -> &Path {
        &self.socket
    }
}

/// Writes the record over the one before it.
pub(super) fn write(file: &File, daemon: &Daemon) -> io::Result<()> {
    let bytes = to_bytes(daemon);
    file.write_all_at(&bytes, 0)?;
    fault::point("lock.half-written");
    file.set_len(bytes.len() as u64)
}

/// The record in the file, if it is one.
pub(super) fn read(file: &File) -> io::Result<Option<Daemon>> {
    let mut bytes = vec![0; MAX_LENGTH + 1];
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64)? {
            0 => break,
            read => length += read,
        }
    }
    Ok(parse(&bytes[..length]))
}

pub(crate) fn to_bytes(daemon: &Daemon) -> Vec<u8> {
    let mut bytes = TITLE.to_vec();
    if let Some(pid) = daemon.pid {
        bytes.extend_from_slice(format!("pid {pid}\n").as_bytes());
    }
    if let Some(version) = &daemon.version {
        bytes.extend_from_slice(format!("version {version}\n").as_bytes());
    }
    bytes.extend_from_slice(b"socket ");
    bytes.extend_from_slice(daemon.socket.as_os_str().as_bytes());
    bytes.push(b'\n');
    bytes
}

/// The record in `bytes`. Pure, so that any bytes can be tried on it.
pub(crate) fn parse(bytes: &[u8]) -> Option<Daemon> {
    if bytes.len() > MAX_LENGTH {
        return None;
    }
    let lines = bytes.strip_prefix(TITLE)?.strip_suffix(b"\n")?;
    let (mut pid, mut version, mut socket) = (None, None, None);
    for line in lines.split(|&byte| byte == b'\n') {
        let space = line.iter().position(|&byte| byte == b' ')?;
        let (key, value) = (&line[..space], &line[space + 1..]);
        match key {
            b"pid" => pid = Some(std::str::from_utf8(value).ok()?.parse().ok().filter(|&pid: &u32| pid > 0)?),
            b"version" => version = Some(std::str::from_utf8(value).ok()?.to_owned()),
            b"socket" => socket = Some(PathBuf::from(OsStr::from_bytes(value))),
            // A later version may know more about itself.
            _ => {}
        }
    }
    let socket = socket.filter(|socket| socket.is_absolute())?;
    Some(Daemon { pid, version, socket })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon() -> Daemon {
        Daemon { pid: Some(4711), version: Some("1.2.3".to_owned()), socket: "/run/with space/d.sock".into() }
    }

    #[test]
    fn golden_bytes_of_a_record() {
        let golden = b"libgrite-ipc daemon\npid 4711\nversion 1.2.3\nsocket /run/with space/d.sock\n";
        assert_eq!(to_bytes(&daemon()), golden);
        assert_eq!(parse(golden), Some(daemon()));
    }

    #[test]
    fn what_is_no_record_reads_as_none() {
        let title = "libgrite-ipc daemon\n";
        let too_long = format!("{title}socket /{}\n", "x".repeat(MAX_LENGTH));
        for bytes in [
            "".to_owned(),
            "4711".to_owned(),
            title.to_owned(),
            format!("{title}pid 4711\n"),
            format!("{title}pid 0\nsocket /x\n"),
            format!("{title}pid -1\nsocket /x\n"),
            format!("{title}pid 99999999999\nsocket /x\n"),
            format!("{title}socket relative\n"),
            format!("{title}socket /x"),
            too_long,
        ] {
            assert_eq!(parse(bytes.as_bytes()), None, "{bytes:.80}");
        }
        assert_eq!(parse(&[0xff; 100]), None);
    }

    #[test]
    fn a_record_of_the_greatest_length_is_read_and_one_byte_more_is_not() {
        let fixed = "libgrite-ipc daemon\nsocket /\n".len();
        for (length, fits) in [(MAX_LENGTH, true), (MAX_LENGTH + 1, false)] {
            let socket = format!("/{}", "x".repeat(length - fixed));
            let record = format!("libgrite-ipc daemon\nsocket {socket}\n");
            assert_eq!(record.len(), length);
            assert_eq!(parse(record.as_bytes()).is_some(), fits, "{length} bytes");
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(record.as_bytes(), 0).unwrap();
            assert_eq!(read(&file).unwrap(), parse(record.as_bytes()));
        }
    }

    #[test]
    fn what_a_record_does_not_say_is_not_known() {
        let unknown = Daemon::unknown("/x".into());
        let bytes = to_bytes(&unknown);
        assert_eq!(bytes, b"libgrite-ipc daemon\nsocket /x\n");
        let read = parse(&bytes).unwrap();
        assert_eq!((read.pid(), read.version(), read.socket_path()), (None, None, Path::new("/x")));
        let later = parse(b"libgrite-ipc daemon\npid 1\nlater words\nsocket /x\n").unwrap();
        assert_eq!((later.pid(), later.socket_path()), (Some(1), Path::new("/x")));
        let this = Daemon::this("/y".into());
        assert_eq!(this.pid(), Some(std::process::id()));
        assert_eq!((this.version(), this.socket_path()), (Some(env!("CARGO_PKG_VERSION")), Path::new("/y")));
    }

    #[test]
    fn a_shorter_record_replaces_a_longer_one() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[b'x'; 1 << 20], 0).unwrap();
        assert_eq!(read(&file).unwrap(), None);
        write(&file, &daemon()).unwrap();
        assert_eq!(read(&file).unwrap(), Some(daemon()));
    }
}

//! Servers of any protocol, and the bytes that travel to them over a socket: [`Serving`].

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use libgrite_ipc::{Protocol, Server, ServerHandle, Transport};

use crate::client::{PATIENCE, header, honest_hello_of};

/// A server of any protocol on a thread of this process; gone when dropped.
pub struct Serving {
    folder: tempfile::TempDir,
    handle: ServerHandle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Serving {
    pub fn start<P: Protocol>(
        handler: impl Fn(&rkyv::Archived<P::Request>) -> P::Response + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::<P>::bind(folder.path().join("any.sock")).unwrap();
        let handle = server.handle();
        let thread = std::thread::spawn(move || server.serve(move |request, _| handler(request)).unwrap());
        Serving { folder, handle, thread: Some(thread) }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("any.sock")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.handle.stop();
        let served = self.thread.take().unwrap().join();
        assert!(served.is_ok() || std::thread::panicking());
    }
}

/// A whole frame, as it travels over a socket.
pub fn frame(kind: u16, id: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(payload.len() as u32, kind, 0).to_le_bytes().to_vec();
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    bytes
}

/// Shakes hands over the socket; the welcome has been read.
pub fn connect<P: Protocol>(path: PathBuf) -> (UnixStream, [u8; 256]) {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&honest_hello_of::<P>(Transport::Socket)).unwrap();
    let mut welcome = [0; 256];
    stream.read_exact(&mut welcome).unwrap();
    assert_eq!(welcome[10], 1, "welcome");
    (stream, welcome)
}

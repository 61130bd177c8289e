//! What clients say first, for those who are to say it by hand.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use libgrite_ipc::{Client, Protocol, Transport};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::Work;

/// The hello that an honest client of the test protocol sends.
pub fn honest_hello(transport: Transport) -> [u8; 80] {
    honest_hello_of::<Work>(transport)
}

/// The hello that an honest client of the protocol `P` sends.
pub fn honest_hello_of<P: Protocol>(transport: Transport) -> [u8; 80] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("listen.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let client = std::thread::spawn(move || {
        let builder = Client::<P>::builder().transport(transport);
        builder.handshake_timeout(Duration::from_secs(5)).connect(path).map(drop).unwrap_err()
    });
    let (mut stream, _) = listener.accept().unwrap();
    let mut hello = [0; 80];
    stream.read_exact(&mut hello).unwrap();
    drop(stream);
    client.join().unwrap();
    hello
}

/// Sends bytes with descriptors beside them.
pub fn try_send_with(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
}

//! A daemon that is another user's: who is allowed to place a socket where ours belongs is not who may answer.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use libgrite_ipc::{Client, ErrorKind, Transport};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
use rustix::process::{Uid, getuid};

use crate::client::PATIENCE;
use crate::common::not_tested::not_tested;
use crate::common::{Order, Work};

/// Nobody in particular.
const NOBODY: u32 = 65_534;

/// Fault 32, the other way round. A client asks the kernel who listens before it says a word: a daemon of
/// another user is refused and hears nothing. Only root can be another user; others pass this by.
#[test]
fn a_daemon_of_another_user_is_refused_unheard() {
    if !getuid().is_root() {
        return not_tested("a daemon of another user: only root can become one");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("foreign.sock");
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    // The kernel remembers who began to listen. This changes the user of the one thread, which ends with it.
    let listening = std::thread::spawn(move || {
        rustix::thread::set_thread_uid(Uid::from_raw(NOBODY)).unwrap();
        listen(&socket, 8).unwrap();
        socket
    });
    let listener = UnixListener::from(listening.join().unwrap());
    for transport in [Transport::Ring, Transport::Socket, Transport::Auto] {
        let builder =
            Client::<Work>::builder().transport(transport).handshake_timeout(Duration::from_secs(5));
        for error in [
            builder.connect(&path).map(drop).unwrap_err(),
            builder.ask(&path, &Order::Session).map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Refused, "{transport:?}: {error}");
            assert!(error.to_string().contains("belongs to user 65534"), "{error}");
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).unwrap();
            assert_eq!(heard, [0; 0], "it was told nothing");
        }
    }
}

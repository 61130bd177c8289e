//! What a client may send in place of a hello, or behind it on the socket, and what comes of it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use libgrite_ipc::Transport;

use crate::client::*;
use crate::common::{Running, Way};

#[test]
fn what_is_no_hello_is_refused_at_once() {
    let server = Running::start();
    let mut polite = server.client(Way::Socket);
    let honest = honest_hello(Transport::Socket);
    let mut later = honest;
    later[8] = 9;
    later[10] = 9;
    let mut long = honest;
    long[12..14].copy_from_slice(&2000u16.to_le_bytes());
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0xff; 4096], &later, &long] {
        let mut stream = UnixStream::connect(server.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        // A daemon that leaves bytes unread resets the connection behind its answer.
        let _ = stream.read_to_end(&mut answer);
        assert_eq!((&answer[..8], answer[10]), (&b"gritehow"[..], 2), "a refusal");
        assert!(answers(&mut polite));
    }
}

#[test]
fn a_question_that_has_come_in_part_when_the_server_stops_is_turned_away() {
    let server = Running::start();
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&honest_hello(Transport::Socket)).unwrap();
    stream.write_all(&[16, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    let mut welcome = [0; 256];
    stream.read_exact(&mut welcome).unwrap();
    let path = server.socket();
    let stopping = std::thread::spawn(move || drop(server));
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while path.exists() {
        assert!(std::time::Instant::now() < end, "a server that stops is found no more");
        std::thread::sleep(Duration::from_millis(1));
    }
    stream.write_all(&[0; 16]).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer[8..16], 7u64.to_le_bytes(), "a frame for request 7: {answer:?}");
    assert!(String::from_utf8_lossy(&answer).contains("the daemon is stopping"), "{answer:?}");
    stopping.join().unwrap();
}

#[test]
fn a_frame_over_the_socket_that_is_too_long_ends_the_connection_alone() {
    let server = Running::start();
    let mut polite = server.client(Way::Socket);
    for (header, said) in [
        ([0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], "4294967295"),
        ([1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], "16777217"),
        ([0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], ""),
        ([16, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0], ""),
        ([0xff; 16], ""),
    ] {
        let mut stream = UnixStream::connect(server.socket()).unwrap();
        stream.write_all(&honest_hello(Transport::Socket)).unwrap();
        stream.write_all(&header).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the end, not silence");
        assert!(answer.len() < 2048, "the welcome, a failure at most, and the end");
        assert!(String::from_utf8_lossy(&answer).contains(said), "{:?}", String::from_utf8_lossy(&answer));
        assert!(answers(&mut polite));
    }
}

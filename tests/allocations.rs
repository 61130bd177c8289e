//! What a visitor can make the daemon allocate who has not shaken hands: little.
#![cfg(not(loom))]
#![allow(unsafe_code, reason = "an allocator that notes what is asked of it")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::at_end::AtEnd;
use common::{Order, Way, Work, builder_for, pattern, work};
use libgrite_ipc::Server;

thread_local! {
    /// Whether what this thread allocates is noted.
    static IS_NOTED: Cell<bool> = const { Cell::new(false) };
}

/// The largest allocation that was noted, in bytes.
static LARGEST: AtomicUsize = AtomicUsize::new(0);

struct Noting;

fn note(bytes: usize) {
    if IS_NOTED.try_with(Cell::get).unwrap_or(false) {
        LARGEST.fetch_max(bytes, Ordering::Relaxed);
    }
}

// SAFETY: all is left to the system's allocator, whose promises these are.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator needs.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

/// Fault 29. Garbage, a request of another protocol, and a hello of a megabyte: for none of them does the
/// thread that receives visitors allocate more than 64 KiB at once.
#[test]
fn a_visitor_who_does_not_say_hello_makes_the_daemon_allocate_little() {
    const MOST: usize = 64 << 10;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::<Work>::bind(folder.path().join("work.sock")).unwrap();
    let stop = server.handle();
    std::thread::scope(|scope| {
        let stop = AtEnd(|| stop.stop());
        let serving = scope.spawn(|| {
            IS_NOTED.set(true);
            server.serve(work)
        });
        let mut long = [b"gritehey\x01\0\x01\0\xff\xff\x02", &[0; 1][..]].concat();
        long.resize(1 << 20, 0);
        let garbage: &[&[u8]] = &[b"GET / HTTP/1.1\r\n\r\n", &[0xff; 1 << 20], &[0; 1 << 20], &long];
        for bytes in garbage.iter().cycle().take(40) {
            let mut visitor = UnixStream::connect(server.path()).unwrap();
            visitor.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let _ = visitor.write_all(bytes);
            let mut said = Vec::new();
            let _ = visitor.read_to_end(&mut said);
            assert_eq!((&said[..8], said[10]), (&b"gritehow"[..], 2), "a refusal");
        }
        let largest = LARGEST.load(Ordering::Relaxed);
        println!("{largest} bytes at most");
        // A client that has shaken hands may well want more, which shows that it would have been noted.
        let mut client = builder_for(Way::Socket).connect(server.path()).unwrap();
        assert!(client.send(&Order::Echo(pattern(MOST * 2))).unwrap().bytes == pattern(MOST * 2)[..]);
        assert!(LARGEST.load(Ordering::Relaxed) > MOST);
        drop(stop);
        serving.join().unwrap().unwrap();
        assert!(largest <= MOST, "{largest} bytes for a visitor");
    });
}

//! What each layer of a request costs by itself, for those who change one: frame, ring, channel, codec,
//! handshake, and a question of one shot beside a bare socket that does the same.
//!
//! `cargo bench --features inside --bench layers`, with a part of a name to run less. Criterion compares each
//! with the run before. All is on one thread and warm, but for what connects: there the server has its own.

mod samples;

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use libgrite_ipc::grite::ArchivedIpcResponse;
use libgrite_ipc::inside::{Channel, Codec, Ring, header_there_and_back};
use libgrite_ipc::{Client, Grite, IpcClient, IpcCommand, IpcResponse, IpcServer, Transport, Wire};
use rkyv::Archived;

criterion_group!(layers, frame, ring, channel, codec, connecting);
criterion_main!(layers);

const SIZES: [usize; 3] = [64, 4 << 10, 64 << 10];

fn frame(criterion: &mut Criterion) {
    criterion.bench_function("frame/header there and back", |bencher| {
        bencher.iter(|| header_there_and_back(black_box(7), black_box(64)));
    });
}

fn ring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring/push, peek, copy, release");
    let mut ring = Ring::new(128 << 10);
    for size in [64, 4 << 10, ring.longest()] {
        let payload = vec![7; size];
        of_bytes(&mut group, size, |bencher| {
            bencher.iter(|| black_box(ring.pass(black_box(&payload))).len())
        });
    }
}

/// Through rings of the default size: the largest message goes in five fragments.
fn channel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("channel/send, receive");
    for size in SIZES {
        let mut channel = Channel::new(64 << 10);
        let message = vec![7; size];
        of_bytes(&mut group, size, |bencher| {
            bencher.iter(|| black_box(channel.pass(black_box(&message))).len());
        });
    }
}

fn codec(criterion: &mut Criterion) {
    codec_of(criterion, "command", &IpcCommand::IssueShow { id: "bd-0088".to_owned() });
    codec_of(criterion, "issue", &samples::issue(888));
    let list = samples::list(1_000);
    codec_of(criterion, "list of 1,000", &list);
    let mut codec = Codec::default();
    codec.encode(&list);
    criterion.bench_function("codec/list of 1,000/check, read", |bencher| {
        bencher.iter(|| bytes_of_texts(codec.check::<IpcResponse>()));
    });
}

/// How many bytes the texts of a page have, each of which is cut out for that.
fn bytes_of_texts(answer: &Archived<IpcResponse>) -> usize {
    let ArchivedIpcResponse::IssueList(list) = answer else { panic!("it is a page of issues") };
    list.items
        .iter()
        .map(|summary| {
            let summary = summary.expect("the page is whole");
            let fixed = [summary.id, summary.title, summary.created_at, summary.updated_at];
            fixed.into_iter().chain(summary.labels).chain(summary.assignees).map(str::len).sum::<usize>()
        })
        .sum()
}

fn codec_of<T: Wire>(criterion: &mut Criterion, name: &str, value: &T) {
    let mut codec = Codec::default();
    let length = codec.encode(value);
    let mut group = criterion.benchmark_group(format!("codec/{name}"));
    group.throughput(Throughput::Bytes(length as u64));
    group.bench_function("encode", |bencher| bencher.iter(|| codec.encode(black_box(value))));
    group.bench_function("check", |bencher| bencher.iter(|| black_box(codec.check::<T>())));
}

fn connecting(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("layers.sock");
    let server = IpcServer::bind(&path).expect("the server binds");
    let stop = server.handle();
    std::thread::scope(|scope| {
        let served = scope.spawn(|| server.serve(|_command, _cx| IpcResponse::Pong));
        handshake(criterion, &path);
        one_shot(criterion, &path);
        stop.stop();
        served.join().expect("the server's thread").expect("the server serves");
    });
}

fn handshake(criterion: &mut Criterion, path: &Path) {
    let mut group = criterion.benchmark_group("handshake/connect, close");
    for (name, transport) in [("ring", Transport::Ring), ("socket", Transport::Socket)] {
        let builder = Client::<Grite>::builder().transport(transport);
        group.bench_function(name, |bencher| {
            bencher.iter(|| builder.connect(path).expect("the server is there"));
        });
    }
}

fn one_shot(criterion: &mut Criterion, path: &Path) {
    let mut group = criterion.benchmark_group("one-shot/connect, ask, answer, close");
    group.bench_function("ask", |bencher| {
        bencher.iter(|| IpcClient::builder().ask(path, &IpcCommand::Ping).expect("an answer"));
    });
    let bare = path.with_extension("bare");
    let listener = UnixListener::bind(&bare).expect("the socket binds");
    std::thread::scope(|scope| {
        let mirror = scope.spawn(move || mirror(&listener));
        group.bench_function("bare socket", |bencher| {
            bencher.iter(|| {
                let mut bytes = [7; 64];
                let mut stream = UnixStream::connect(&bare).expect("the mirror listens");
                stream.write_all(&bytes).expect("it reads");
                stream.read_exact(&mut bytes).expect("it writes");
                bytes
            });
        });
        drop(UnixStream::connect(&bare).expect("the mirror listens"));
        mirror.join().expect("the mirror's thread");
    });
}

/// Gives each connection its 64 bytes back, until one has none.
fn mirror(listener: &UnixListener) {
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        let mut bytes = [0; 64];
        if stream.read_exact(&mut bytes).is_err() {
            return;
        }
        stream.write_all(&bytes).expect("the client reads");
    }
}

fn of_bytes(
    group: &mut BenchmarkGroup<'_, WallTime>,
    size: usize,
    run: impl FnMut(&mut criterion::Bencher<'_, WallTime>),
) {
    group.throughput(Throughput::Bytes(size as u64));
    let mut run = run;
    group.bench_with_input(BenchmarkId::from_parameter(size), &(), |bencher, ()| run(bencher));
}

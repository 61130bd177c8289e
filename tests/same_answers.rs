//! Whichever way a question goes, and whoever asks, its answer is the same: a thousand questions about a thousand
//! issues and more.
#![cfg(feature = "cli")]

mod ended;
mod home;
mod issues;

use std::fs;
use std::path::PathBuf;

use home::Home;
use libgrite_ipc::grite::{IssueFilter, IssueState};
use libgrite_ipc::{
    Client, ClientBuilder, DaemonLock, ErrorKind, Grite, IpcClient, IpcCommand, IpcResponse, Message,
    Protocol, Transport,
};
use serde_json::Value;

/// A daemon with issues, and what there is to be asked about them.
struct Scene {
    _home: Home,
    socket: PathBuf,
    questions: Vec<IpcCommand>,
}

impl Scene {
    fn new() -> Self {
        let home = Home::new();
        let file = issues::file(&home.path("."));
        let issues = fs::read_to_string(&file).unwrap();
        home.data(&["import", file.to_str().unwrap()]);
        let socket = DaemonLock::socket_path_in(home.runtime()).unwrap();
        let issues: Vec<Value> = issues.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Scene { _home: home, socket, questions: questions(&issues) }
    }
}

/// A thousand questions: most about one issue, by its whole id, a prefix of it, or one that is nobody's; the
/// others about pages of issues.
fn questions(issues: &[Value]) -> Vec<IpcCommand> {
    let text = |issue: &Value, field: &str| issue[field].as_str().unwrap().to_owned();
    let question = |number: usize| {
        let issue = &issues[number * 7919 % issues.len()];
        let id = text(issue, "id");
        let none = IssueFilter::default;
        let list = |filter| IpcCommand::IssueList { filter, limit: 1 + number as u32 % 50, cursor: None };
        match number % 10 {
            0 => IpcCommand::IssueShow { id: id[..id.len() - 1].to_owned() },
            1 => IpcCommand::IssueShow { id: format!("nobody-{number}") },
            2 => list(IssueFilter { state: Some(IssueState::Open), ..none() }),
            3 => list(IssueFilter {
                text: text(issue, "title").split(' ').next().map(str::to_owned),
                ..none()
            }),
            4 => list(IssueFilter { ready: true, assignee: Some(text(issue, "author")), ..none() }),
            5 => IpcCommand::Ping,
            _ => IpcCommand::IssueShow { id },
        }
    };
    (0..1000).map(question).collect()
}

fn value(message: Message<IpcResponse>) -> IpcResponse {
    rkyv::deserialize::<_, rkyv::rancor::Error>(&*message).unwrap()
}

/// The answers to all questions over one connection, of which no two need another: through rings, unless it is to be
/// the socket.
fn over_a_connection(builder: ClientBuilder<Grite>, transport: Transport, scene: &Scene) -> Vec<IpcResponse> {
    let mut client = builder.transport(transport).connect(&scene.socket).unwrap();
    let has_rings = cfg!(all(target_os = "linux", not(grite_portable)));
    assert_eq!(client.uses_ring(), has_rings && transport != Transport::Socket, "{transport:?}");
    scene.questions.iter().map(|question| client.send(question).unwrap().to_value().unwrap()).collect()
}

/// The answers to all questions, each over a connection of its own.
fn one_by_one(builder: &ClientBuilder<Grite>, scene: &Scene) -> Vec<IpcResponse> {
    scene.questions.iter().map(|question| value(builder.ask(&scene.socket, question).unwrap())).collect()
}

/// Fault 60. A command that asks once over the socket and a client over rings ask the same thousand
/// questions, and so do both of an older release of the program: all get the same answers.
#[test]
fn a_thousand_questions_have_the_same_answers_by_every_way_and_for_older_clients() {
    let scene = Scene::new();
    let first = one_by_one(&IpcClient::builder(), &scene);
    let kinds = |is: fn(&IpcResponse) -> bool| first.iter().filter(|answer| is(answer)).count();
    assert!(kinds(|answer| matches!(answer, IpcResponse::IssueShow(_))) >= 400);
    assert!(kinds(|answer| matches!(answer, IpcResponse::IssueList(_))) >= 300);
    assert!(kinds(|answer| matches!(answer, IpcResponse::Refused(_))) >= 100);
    // A release that is older than any, which the daemon serves all the same.
    for release in [0, 1] {
        let builder = IpcClient::builder().release(release);
        for transport in [Transport::Auto, Transport::Socket] {
            let answers = over_a_connection(builder.clone(), transport, &scene);
            assert!(answers == first, "release {release} over {transport:?}");
        }
        assert!(one_by_one(&builder, &scene) == first, "release {release}, one by one");
    }
}

/// The tracker's protocol as it was before.
#[derive(Debug)]
enum Earlier {}

impl Protocol for Earlier {
    type Request = IpcCommand;
    type Response = IpcResponse;
    const NAME: &'static str = Grite::NAME;
    const VERSION: u16 = Grite::VERSION - 1;
}

/// Fault 60. A client of an earlier protocol gets the same answer to each of the thousand questions, too, by
/// either way: that its version is not spoken here, with both versions named, and never a byte that it might
/// misread.
#[test]
fn a_client_of_an_earlier_protocol_is_told_the_same_by_every_way() {
    let scene = Scene::new();
    let builder = Client::<Earlier>::builder();
    let told = builder.connect(&scene.socket).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::VersionMismatch);
    let both = format!("version {}, the client version {}", Grite::VERSION, Earlier::VERSION);
    assert!(told.to_string().contains(&both), "{told}");
    for question in &scene.questions {
        let error = builder.ask(&scene.socket, question).unwrap_err();
        assert_eq!((error.kind(), error.reason()), (told.kind(), told.reason()));
    }
}

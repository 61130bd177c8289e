//! The folder of a daemon and the files in it: whose they must be, what may stand there, where they go.
//!
//! The parts are played by this test program itself, started again with a role.
#![cfg(not(loom))]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use common::daemon::{answered_by, be_the_daemon, end_daemon, visit};
use common::not_tested::not_tested;
use common::process::{Process, role as own_role, role_command};
use common::{Order, Work, pattern, work};
use libgrite_ipc::{Client, DaemonLock, Error, ErrorKind, Server};
use rustix::fs::Mode;
use rustix::process::umask;

/// The parts that this program plays when a test starts it again.
#[test]
fn role() {
    let Some((role, folder)) = own_role() else { return };
    match role.as_str() {
        "daemon" => be_the_daemon(&folder),
        "visitor" => visit(&folder),
        "visitor under umask 0" => visit_under(Mode::empty(), &folder),
        "visitor under umask 777" => visit_under(Mode::RWXU | Mode::RWXG | Mode::RWXO, &folder),
        "daemon of a long path" => serve_in_a_long_path(&folder),
        other => panic!("no such role: {other}"),
    }
}

/// What a process makes under this umask, and the daemon that it starts.
fn visit_under(mask: Mode, folder: &Path) {
    umask(mask);
    visit(folder);
}

/// Tries the folder as a daemon and as one who starts a daemon; both must fail in the same way.
fn refused(folder: &Path) -> Error {
    let daemon = DaemonLock::acquire(folder).unwrap_err();
    let command = {
        let folder = folder.to_owned();
        move || role_command("daemon", &folder)
    };
    let starter = Client::<Work>::builder().connect_or_spawn(folder, command).unwrap_err();
    assert_eq!((daemon.kind(), daemon.reason()), (starter.kind(), starter.reason()));
    let asking = DaemonLock::read(folder).unwrap_err();
    assert_eq!((daemon.kind(), daemon.reason()), (asking.kind(), asking.reason()));
    assert_eq!(daemon.path(), Some(folder));
    daemon
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Fault 51. A socket's file that a dead daemon left is replaced. A link that leads nowhere, a folder and a
/// file are not: who would listen there is told so, nothing is made where the link leads, and all stay as
/// they were. A visitor is told by the daemon that it starts.
#[test]
fn a_socket_file_that_a_dead_daemon_left_is_replaced_and_others_are_not() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    let socket = DaemonLock::acquire(&folder).unwrap().socket_path().to_owned();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    drop(Server::<Work>::bind(&socket).unwrap());
    assert!(!socket.exists(), "a server takes its own socket's file away");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    answered_by(&folder);
    end_daemon(&folder);
    fs::remove_file(&socket).unwrap();

    let told = || {
        let error = Server::<Work>::bind(&socket).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("something else than a socket"), "{error}");
        assert_eq!(error.path(), Some(&*socket));
        let failed = Process::start("visitor", &folder).line("failed as NotRunning: ");
        assert!(failed.unwrap().contains("something else than a socket"));
    };
    let aim = home.path().join("aim");
    symlink(&aim, &socket).unwrap();
    told();
    assert_eq!(fs::read_link(&socket).unwrap(), aim);
    assert!(!aim.exists(), "nothing is made where the link leads");
    fs::remove_file(&socket).unwrap();

    fs::create_dir(&socket).unwrap();
    told();
    fs::remove_dir(&socket).unwrap();

    fs::write(&socket, "a file").unwrap();
    told();
    assert_eq!(fs::read_to_string(&socket).unwrap(), "a file");
    fs::remove_file(&socket).unwrap();

    let live = Server::<Work>::bind(&socket).unwrap();
    let error = Server::<Work>::bind(&socket).unwrap_err();
    assert!(error.to_string().contains("a live daemon"), "{error}");
    drop(live);
}

/// Fault 52. The folder is a link, or open to others, or another user's, or no folder: it is refused by all
/// who would use it, and nothing is made in it or where the link leads. One that is missing is made, closed
/// to others.
#[test]
fn a_folder_that_is_not_private_is_refused_and_nothing_is_made_in_it() {
    let home = tempfile::tempdir().unwrap();
    let (real, link) = (home.path().join("real"), home.path().join("link"));
    fs::create_dir(&real).unwrap();
    fs::set_permissions(&real, Permissions::from_mode(0o700)).unwrap();
    symlink(&real, &link).unwrap();
    // With a slash behind it, the kernel would follow it.
    for link in [link.join(""), link] {
        assert!(refused(&link).reason().unwrap().contains("symbolic link"), "{}", link.display());
        assert_eq!(entries(&real), Vec::<PathBuf>::new());
    }

    for mode in [0o777, 0o701, 0o750] {
        fs::set_permissions(&real, Permissions::from_mode(mode)).unwrap();
        assert!(refused(&real).reason().unwrap().contains("0700"));
        assert_eq!(entries(&real), Vec::<PathBuf>::new());
    }

    // Only a superuser can give a folder away.
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(&real, Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&real, Some(65534), None).unwrap();
        assert!(refused(&real).reason().unwrap().contains("another user"));
        assert_eq!(entries(&real), Vec::<PathBuf>::new());
    } else {
        not_tested("a folder of another user: only root can give one away");
    }

    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(refused(&file).reason().unwrap().contains("no directory"));

    let missing = home.path().join("missing");
    answered_by(&missing);
    assert_eq!(mode(&missing), 0o700);
    end_daemon(&missing);
}

/// A link in place of the lock's file is not followed, and what cannot be looked at is not taken for missing.
#[test]
fn a_link_in_place_of_the_locks_file_leads_nowhere() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    drop(DaemonLock::acquire(&folder).unwrap());
    let (lock, other) = (folder.join("daemon.lock"), home.path().join("other"));
    fs::write(&other, "as it was").unwrap();
    fs::set_permissions(&other, Permissions::from_mode(0o640)).unwrap();
    fs::remove_file(&lock).unwrap();
    symlink(&other, &lock).unwrap();
    for error in [DaemonLock::acquire(&folder).unwrap_err(), DaemonLock::read(&folder).unwrap_err()] {
        assert_eq!((error.kind(), error.path()), (ErrorKind::Io, Some(&*lock)), "{error}");
    }
    assert_eq!((fs::read_to_string(&other).unwrap().as_str(), mode(&other)), ("as it was", 0o640));

    let below_a_file = DaemonLock::read(other.join("run")).unwrap_err();
    assert_eq!(below_a_file.kind(), ErrorKind::Io, "{below_a_file}");
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// Fault 57. Whatever the umask takes away or leaves, the folder is for its user alone, and so are the socket
/// and the lock files, and the daemon answers.
#[test]
fn under_any_umask_the_files_are_for_their_user_alone() {
    for role in ["visitor under umask 0", "visitor under umask 777"] {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("run");
        Process::start(role, &folder).line("answered by ").expect("the visitor is answered");
        assert_eq!(mode(&folder), 0o700, "{role}");
        for file in ["daemon.sock", "daemon.lock", "spawn.lock"] {
            assert_eq!(mode(&folder.join(file)), 0o600, "{role}: {file}");
        }
        assert_eq!(entries(&folder).len(), 3, "{role}: {:?}", entries(&folder));
        answered_by(&folder);
        end_daemon(&folder);
    }
}

/// A folder whose path has so many bytes, in `home`.
fn long_path(home: &Path, length: usize) -> PathBuf {
    let above = home.as_os_str().len();
    let path = home.join("x".repeat(length - above - 1));
    assert_eq!(path.as_os_str().len(), length);
    path
}

/// Is a daemon of a folder whose socket cannot be in it, and its client. Said from a process of its own,
/// since the socket goes to the folder for temporary files.
fn serve_in_a_long_path(home: &Path) {
    let folder = long_path(home, 150);
    let lock = DaemonLock::acquire(&folder).unwrap();
    let socket = lock.socket_path();
    assert!(socket.starts_with(std::env::temp_dir()), "{}", socket.display());
    let found = DaemonLock::read(&folder).unwrap().unwrap();
    assert_eq!(found.socket_path(), socket);
    for folder in [folder.join(""), folder.clone()] {
        assert_eq!(DaemonLock::socket_path_in(&folder).unwrap(), socket);
    }
    let server = Server::<Work>::bind(socket).unwrap();
    assert_eq!((mode(socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    let handle = server.handle();
    std::thread::scope(|scope| {
        scope.spawn(|| server.serve(work).unwrap());
        let mut client =
            Client::<Work>::builder().connect_or_spawn(&folder, || unreachable!("a daemon lives")).unwrap();
        assert!(client.send(&Order::Make(10)).unwrap().bytes == pattern(10)[..]);
        handle.stop();
    });
    println!("served at {}", socket.display());
}

/// Fault 56. The path of the folder has 150 bytes, more than a socket's address holds. The daemon listens
/// elsewhere, under a name that follows from the folder, and is found there. Where there is no such place,
/// and where a server or a client is given a path that is too long, each says so and names the path as it was
/// given: none is ever cut short.
#[test]
fn a_path_that_is_too_long_for_a_socket_works_or_is_named_in_an_error() {
    let home = tempfile::tempdir().unwrap();
    let start = |temporary: &Path| {
        let mut command = role_command("daemon of a long path", home.path());
        command.env("TMPDIR", temporary).output().unwrap()
    };
    let temporary = home.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let output = start(&temporary);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&format!("served at {}", temporary.display())), "{said}");

    let too_long = long_path(home.path(), 120);
    fs::create_dir(&too_long).unwrap();
    let said = start(&too_long);
    assert!(!said.status.success());
    let said = String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
    assert!(said.contains("at most 103 bytes") && said.contains(too_long.to_str().unwrap()), "{said}");
    assert_eq!(entries(&too_long), Vec::<PathBuf>::new());

    let path = long_path(home.path(), 150);
    let server = Server::<Work>::bind(path.join("work.sock")).unwrap_err();
    let client = Client::<Work>::connect(path.join("work.sock")).unwrap_err();
    for error in [server, client] {
        assert_eq!((error.kind(), error.path()), (ErrorKind::Io, Some(&*path.join("work.sock"))));
    }
    let mut left = entries(home.path());
    left.sort();
    assert_eq!(left, {
        let mut all = vec![temporary, too_long, path];
        all.sort();
        all
    });
}

/// Fault 56. The folder for temporary files of the one who asks is another one than the daemon's, or is not there: the
/// daemon's record says where it listens.
#[test]
fn a_daemon_of_a_long_path_is_found_whatever_folder_for_temporary_files_the_one_who_asks_has() {
    let home = tempfile::tempdir().unwrap();
    let folder = long_path(home.path(), 150);
    let temporary = ["one", "other", "missing"].map(|name| home.path().join(name));
    temporary[..2].iter().for_each(|temporary| fs::create_dir(temporary).unwrap());
    let start = |role: &str, temporary: &Path| {
        let mut command = role_command(role, &folder);
        command.env("TMPDIR", temporary);
        Process::run(command)
    };
    let mut daemon = start("daemon", &temporary[0]);
    daemon.line("the daemon").expect("it is the daemon");
    for temporary in &temporary {
        let answered = start("visitor", temporary).line("answered by ");
        assert_eq!(answered, Some(daemon.id().to_string()), "{}", temporary.display());
    }
}

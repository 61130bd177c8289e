//! What a daemon makes of a hello. Pure: bytes and limits in, a grant or a refusal out.
//!
//! Of two releases of one program, the newer one's daemon serves both, if they understand each other. A
//! newer client has an older daemon end; an older client has nobody end, so versions never take turns.

use super::answer::{Refuse, RefuseCode};
use super::hello::{
    Caller, FIXED, Hello, LENGTH, MIN_MAX_MESSAGE, Mode, PRELUDE, Prelude, Sizes, Stance, WIRE,
};
use crate::identity::{Identity, Party};
use crate::shm::{MAX_CAPACITY, MIN_CAPACITY};

/// What a daemon grants at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The largest sizes, in bytes.
    pub(crate) sizes: Sizes,
    /// Whether this daemon has rings at all; a client that wants one gets the socket otherwise.
    pub(crate) rings: bool,
}

/// What a connection gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) mode: Mode,
    pub(crate) sizes: Sizes,
    /// How many of the bytes were the hello; what follows is frames.
    pub(crate) length: usize,
}

/// What the bytes so far amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// No whole hello yet.
    Part,
    /// A hello that is granted.
    Granted(Grant),
    /// A hello that is refused, or no hello.
    Refused(Refuse),
    /// A newer release asks the daemon to end, and it does.
    Retired,
}

/// Judges the bytes that a client has sent so far.
pub(crate) fn judge(bytes: &[u8], ours: Party, limits: Limits) -> Heard {
    try_judge(bytes, ours, limits).unwrap_or_else(Heard::Refused)
}

fn try_judge(bytes: &[u8], ours: Party, limits: Limits) -> Result<Heard, Refuse> {
    let refuse = |code, text: String| Err(Refuse { code, text });
    let Some(prelude) = bytes.first_chunk::<PRELUDE>() else { return Ok(Heard::Part) };
    let prelude = match Prelude::parse(prelude) {
        Ok(prelude) => prelude,
        Err(bad) => return refuse(RefuseCode::Malformed, bad.to_string()),
    };
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Ok(Heard::Part) };
    let caller = match Caller::parse(fixed) {
        Ok(caller) => caller,
        Err(bad) => return refuse(RefuseCode::Malformed, bad.to_string()),
    };
    // Before anything else, since releases that do not understand each other succeed each other, too.
    let (own, other) = (ours.release, caller.release);
    match (caller.stance, ours.is_older_than(&caller.name, caller.release)) {
        (Stance::Take, _) | (Stance::Decline, false) => {}
        (Stance::Decline, true) => {
            let text = format!("the daemon's release {own} is older than the client's {other}");
            return refuse(RefuseCode::Older, text);
        }
        (Stance::Retire, true) => return Ok(Heard::Retired),
        (Stance::Retire, false) => {
            let text = format!("the daemon's release {own} makes no way for the client's {other}");
            return refuse(RefuseCode::Current, text);
        }
    }
    if !(prelude.lowest_wire..=prelude.highest_wire).contains(&WIRE) {
        let (low, high) = (prelude.lowest_wire, prelude.highest_wire);
        return refuse(
            RefuseCode::Version,
            format!("the daemon speaks wire version {WIRE}, the client {low} to {high}"),
        );
    }
    let Some(whole) = bytes.first_chunk::<LENGTH>() else { return Ok(Heard::Part) };
    if bytes.len() < prelude.length {
        return Ok(Heard::Part);
    }
    let hello = match Hello::parse(whole) {
        Ok(hello) => hello,
        Err(bad) => return refuse(RefuseCode::Malformed, bad.to_string()),
    };
    if let Some(difference) = differ(hello.client.identity, ours.identity) {
        return refuse(RefuseCode::Version, difference);
    }
    Ok(Heard::Granted(Grant {
        mode: if limits.rings { hello.mode } else { Mode::Socket },
        sizes: grant_sizes(hello.sizes, limits.sizes),
        length: prelude.length,
    }))
}

/// How two sides differ, if they do, in words for people.
pub(crate) fn differ(client: Identity, daemon: Identity) -> Option<String> {
    if client.name != daemon.name {
        let (client, daemon) = (client.name_text(), daemon.name_text());
        Some(format!("the daemon speaks {daemon:?}, the client {client:?}"))
    } else if client.version != daemon.version {
        Some(format!(
            "the daemon speaks {} version {}, the client version {}",
            daemon.name_text(),
            daemon.version,
            client.version
        ))
    } else if client.fingerprint != daemon.fingerprint {
        Some(format!(
            "both speak {} version {}, but with other type layouts: daemon {:016x}, client {:016x}",
            daemon.name_text(),
            daemon.version,
            daemon.fingerprint,
            client.fingerprint
        ))
    } else {
        None
    }
}

/// What to do about two sides that do not understand each other, where one is known to be the older.
pub(crate) fn whom_to_upgrade(client: Party, daemon: Party) -> Option<String> {
    let (ours, theirs) = (client.release, daemon.release);
    if client.is_older_than(&daemon.identity.name, theirs) {
        Some(format!("upgrade the client, whose release {ours} is older than the daemon's {theirs}"))
    } else if daemon.is_older_than(&client.identity.name, ours) {
        Some(format!("restart the daemon, whose release {theirs} is older than the client's {ours}"))
    } else {
        None
    }
}

/// The wished sizes, as rings can have them and the limits allow them.
pub(crate) fn grant_sizes(wished: Sizes, limits: Sizes) -> Sizes {
    let capacity = |wished: u32, limit: u32| {
        let wished = wished.clamp(MIN_CAPACITY, MAX_CAPACITY).next_power_of_two();
        wished.min(limit)
    };
    Sizes {
        request: capacity(wished.request, limits.request),
        reply: capacity(wished.reply, limits.reply),
        max_message: wished.max_message.min(limits.max_message).max(MIN_MAX_MESSAGE),
    }
}

#[cfg(test)]
mod tests {
    use super::super::hello::tests::{IDENTITY, PARTY, hello};
    use super::*;

    const LIMITS: Limits =
        Limits { sizes: Sizes { request: 1 << 17, reply: 1 << 17, max_message: 1 << 20 }, rings: true };

    fn refusal(bytes: &[u8], ours: Party) -> Refuse {
        match judge(bytes, ours, LIMITS) {
            Heard::Refused(refuse) => refuse,
            heard => panic!("{heard:?}"),
        }
    }

    #[test]
    fn a_hello_is_granted_within_the_limits() {
        let bytes = hello().to_bytes();
        let sizes = Sizes { request: 1 << 16, reply: 1 << 17, max_message: 1 << 20 };
        let granted = Heard::Granted(Grant { mode: Mode::Ring, sizes, length: LENGTH });
        assert_eq!(judge(&bytes, PARTY, LIMITS), granted);
        assert_eq!(judge(&[&bytes[..], b"frames"].concat(), PARTY, LIMITS), granted);
    }

    #[test]
    fn a_daemon_without_rings_grants_the_socket() {
        let limits = Limits { rings: false, ..LIMITS };
        let Heard::Granted(grant) = judge(&hello().to_bytes(), PARTY, limits) else { panic!() };
        assert_eq!(grant.mode, Mode::Socket);
    }

    #[test]
    fn every_part_of_a_hello_is_a_part() {
        let bytes = hello().to_bytes();
        for length in 0..LENGTH {
            assert_eq!(judge(&bytes[..length], PARTY, LIMITS), Heard::Part, "{length} bytes");
        }
    }

    #[test]
    fn a_longer_hello_of_a_later_version_is_granted_once_it_is_whole() {
        let mut bytes = hello().to_bytes().to_vec();
        bytes[10] = 2;
        bytes[12] = LENGTH as u8 + 8;
        assert_eq!(judge(&bytes, PARTY, LIMITS), Heard::Part);
        bytes.extend_from_slice(&[7; 8]);
        let Heard::Granted(grant) = judge(&bytes, PARTY, LIMITS) else { panic!() };
        assert_eq!(grant.length, LENGTH + 8);
    }

    #[test]
    fn garbage_is_refused_as_soon_as_a_prelude_has_come() {
        assert_eq!(refusal(b"GET / HTTP/1.1\r\n\r\n", PARTY).code, RefuseCode::Malformed);
        assert_eq!(refusal(&[0xff; 16], PARTY).code, RefuseCode::Malformed);
    }

    #[test]
    fn another_version_is_refused_in_words() {
        let bytes = hello().to_bytes();
        let text = |identity| {
            let refuse = refusal(&bytes, Party { identity, ..PARTY });
            assert_eq!(refuse.code, RefuseCode::Version);
            refuse.text
        };
        assert!(text(Identity { version: 5, ..IDENTITY }).contains("the daemon speaks search version 5"));
        assert!(text(Identity { fingerprint: 5, ..IDENTITY }).contains("daemon 0000000000000005"));
        let mut name = IDENTITY.name;
        name[0] = b'S';
        assert!(text(Identity { name, ..IDENTITY }).contains("\"Search\""));
        let mut later = bytes;
        later[8] = 2;
        later[10] = 3;
        assert!(refusal(&later[..FIXED], PARTY).text.contains("the client 2 to 3"));
    }

    #[test]
    fn a_newer_client_has_an_older_daemon_of_its_program_end_and_nobody_else_does() {
        let heard = |stance, client: u32, daemon: u32| {
            let hello = Hello { stance, client: Party { release: client, ..PARTY }, ..hello() };
            match judge(&hello.to_bytes(), Party { release: daemon, ..PARTY }, LIMITS) {
                Heard::Granted(_) => "granted".to_owned(),
                Heard::Retired => "retired".to_owned(),
                Heard::Refused(refuse) => format!("{:?}", refuse.code),
                Heard::Part => panic!(),
            }
        };
        for (client, daemon, declined, retired) in [
            (2, 1, "Older", "retired"),
            (u32::MAX, u32::MAX - 1, "Older", "retired"),
            (1, 1, "granted", "Current"),
            (1, 2, "granted", "Current"),
            (0, 1, "granted", "Current"),
            (1, 0, "granted", "Current"),
            (0, 0, "granted", "Current"),
        ] {
            assert_eq!(heard(Stance::Take, client, daemon), "granted", "{client}, {daemon}");
            assert_eq!(heard(Stance::Decline, client, daemon), declined, "{client}, {daemon}");
            assert_eq!(heard(Stance::Retire, client, daemon), retired, "{client}, {daemon}");
        }
    }

    #[test]
    fn a_newer_release_is_heard_whatever_it_speaks_but_not_another_program() {
        let ours = Party { release: 1, ..PARTY };
        let mut bytes = Hello { stance: Stance::Retire, ..hello() }.to_bytes();
        bytes[56] ^= 1;
        bytes[76] ^= 1;
        assert_eq!(judge(&bytes, ours, LIMITS), Heard::Retired, "another layout and version");
        bytes[8] = 2;
        bytes[10] = 3;
        bytes[14] = 99;
        assert_eq!(judge(&bytes, ours, LIMITS), Heard::Retired, "another wire version");
        assert_eq!(judge(&bytes[..FIXED], ours, LIMITS), Heard::Retired);
        assert_eq!(judge(&bytes[..FIXED - 1], ours, LIMITS), Heard::Part);
        bytes[24] = b'S';
        assert_eq!(refusal(&bytes, ours).code, RefuseCode::Current);
    }

    #[test]
    fn the_older_side_is_the_one_to_be_upgraded() {
        let with = |release| Party { release, ..PARTY };
        let text = |client, daemon| whom_to_upgrade(with(client), with(daemon));
        assert!(text(1, 2).unwrap().starts_with("upgrade the client, whose release 1"));
        assert!(text(2, 1).unwrap().starts_with("restart the daemon, whose release 1"));
        assert_eq!([text(1, 1), text(0, 1), text(1, 0)], [None, None, None]);
    }

    #[test]
    fn wished_capacities_become_powers_of_two_within_bounds() {
        for (wished, granted) in [(0, 4096), (4096, 4096), (4097, 8192), (u32::MAX, 1 << 17)] {
            let wished = Sizes { request: wished, reply: wished, max_message: 9 };
            let sizes = grant_sizes(wished, LIMITS.sizes);
            assert_eq!((sizes.request, sizes.reply, sizes.max_message), (granted, granted, MIN_MAX_MESSAGE));
        }
    }
}

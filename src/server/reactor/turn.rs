//! One turn of a client over the socket: what it has asked, a batch at most.

use std::sync::Arc;

use super::super::connection::{Connection, Turn};
use super::{AnswerRequest, BATCH};
use crate::frame::{FailureCode, Kind};
use crate::transport::{BadFrame, Broken, Inbox};

/// How often it is read from one connection for a message before the next has its turn: for more bytes than a socket
/// mostly holds, since what a client has asked before its end is read at once.
const READS: u32 = 8;

/// How a turn has ended.
pub(super) enum Turned {
    /// With the connection.
    Gone,
    Over {
        /// There may be more to answer: the batch was, or the server stops.
        more: bool,
        /// No request is read before others are answered, or answers have gone.
        held_up: bool,
        /// One lies there that is not read for that.
        held_back: bool,
    },
}

/// Does what a client wants done, until nothing is left, its turn is over, or the server `stops`.
pub(super) fn take_turn(
    connection: &Arc<Connection>,
    inbox: &mut Inbox,
    answer: &AnswerRequest<'_>,
    stops: impl Fn() -> bool,
) -> Turned {
    let mut answered = 0;
    loop {
        if connection.is_closed() {
            return Turned::Gone;
        }
        let is_full = connection.is_backlogged() && !connection.flush();
        let has_notices = !is_full && connection.has_notices();
        let held_up = is_full || !connection.has_room();
        if held_up && !has_notices {
            // Who gives up is heard most of all then.
            match inbox.next_kind() {
                Ok(Some(Kind::Cancel | Kind::Unsubscribe)) => {}
                Ok(next) => return Turned::Over { more: false, held_up, held_back: next.is_some() },
                Err(_) => return Turned::Gone,
            }
        }
        if answered == BATCH || stops() {
            return Turned::Over { more: true, held_up, held_back: false };
        }
        answered += 1;
        if has_notices {
            connection.notify();
            continue;
        }
        match inbox.poll_within(READS) {
            Ok(Some((Kind::Request, id))) => {
                connection.begin(Turn::Over);
                answer(connection, id, inbox.message());
            }
            Ok(None) => return Turned::Over { more: false, held_up, held_back: false },
            Err(Broken::Stream(BadFrame::TooLong { id, length, limit })) => {
                let text = format!("the request: {length} bytes where {limit} are allowed");
                connection.fail(id, FailureCode::TooLarge, &text);
                return Turned::Gone;
            }
            Ok(Some((kind, id))) if connection.heed(kind, id) => {}
            Ok(Some(_)) | Err(_) => return Turned::Gone,
        }
    }
}

//! This library: rings that wait in three ways, and the socket.
//!
//! Typed and validated on both sides. A show and a list are served from an archive that was made before, as
//! `grite` does it; an echo is archived anew each time, straight from the question. For large messages the
//! rings have 2 MiB, and the default 64 KiB are measured beside them.

use libgrite_ipc::grite::IssueState;
use libgrite_ipc::{Client, Encoded, Protocol, Server, Transport, WaitStrategy};

use crate::peer::{self, About, Failure, Peer, Reads, Seat, Side};
use crate::touch::{Sum, sum_of_issue};
use crate::work::{Answer, ArchivedAnswer, ArchivedAsk, Ask, Work};

pub const ALL: [Grite; 5] = [
    Grite { transport: Transport::Ring, wait: WaitStrategy::Adaptive, rings: Rings::Wide },
    Grite { transport: Transport::Ring, wait: WaitStrategy::Adaptive, rings: Rings::Default },
    Grite { transport: Transport::Ring, wait: WaitStrategy::Spin, rings: Rings::Wide },
    Grite { transport: Transport::Ring, wait: WaitStrategy::Park, rings: Rings::Wide },
    Grite { transport: Transport::Socket, wait: WaitStrategy::Adaptive, rings: Rings::Default },
];

pub struct Grite {
    transport: Transport,
    wait: WaitStrategy,
    rings: Rings,
}

/// How large the rings are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rings {
    /// As nobody has asked for more: 64 KiB.
    Default,
    /// As one asks for who sends large messages: [`WIDE`].
    Wide,
}

/// Wide rings, in bytes.
const WIDE: u32 = 2 << 20;

/// The longest message for which wide rings would be a waste, in bytes.
const SMALL: usize = 16 << 10;

impl Rings {
    fn bytes(self, seat: &Seat) -> u32 {
        if self == Rings::Wide && is_large(seat) { WIDE } else { 64 << 10 }
    }
}

fn is_large(seat: &Seat) -> bool {
    seat.request_len().max(seat.reply_len()) > SMALL
}

enum Bench {}

impl Protocol for Bench {
    type Request = Ask;
    type Response = Answer<'static>;
    const NAME: &'static str = "peers";
    const VERSION: u16 = 1;
}

impl Peer for Grite {
    fn about(&self) -> About {
        let (name, title) = match (self.transport, self.wait, self.rings) {
            (Transport::Socket, ..) => ("grite-socket", "libgrite-ipc, socket"),
            (_, WaitStrategy::Spin, _) => ("grite-ring-spin", "libgrite-ipc, ring, spinning"),
            (_, WaitStrategy::Park, _) => ("grite-ring-park", "libgrite-ipc, ring, parked at once"),
            (_, _, Rings::Wide) => ("grite-ring", "libgrite-ipc, ring, adaptive"),
            (_, _, Rings::Default) => ("grite-ring-64k", "libgrite-ipc, ring of 64 KiB, adaptive"),
        };
        About { name, title, reads: Reads::Fields, side: Side::Ours }
    }

    /// Small messages have the default rings anyway.
    fn carries(&self, work: Work) -> bool {
        let large = matches!(work, Work::List) || matches!(work, Work::Echo(size) if size > SMALL);
        large || self.transport == Transport::Socket || self.rings == Rings::Wide
    }

    fn server(&self, seat: &Seat, ready: &mut dyn FnMut()) -> Result<(), Failure> {
        let server = Server::<Bench>::builder()
            .wait(self.wait)
            .max_ring(self.rings.bytes(seat))
            .bind(seat.socket())?;
        let warm = |work| seat.stock.answer(work).map(|answer| Encoded::new(&answer)).transpose();
        let (show, list) = (warm(Work::Show)?, warm(Work::List)?);
        ready();
        server.serve_with(|ask, responder| {
            // Whoever gave up is not told.
            let _ = match ask {
                ArchivedAsk::Echo(bytes) => responder.reply_lent(&Answer::Echo(bytes.as_slice().into())),
                ArchivedAsk::Show => show.as_ref().map_or(Ok(()), |answer| responder.reply_encoded(answer)),
                ArchivedAsk::List => list.as_ref().map_or(Ok(()), |answer| responder.reply_encoded(answer)),
            };
        })?;
        Ok(())
    }

    fn client(&self, seat: &Seat) -> Result<Box<dyn peer::Client>, Failure> {
        let client = Client::<Bench>::builder()
            .transport(self.transport)
            .wait(self.wait)
            .request_ring(self.rings.bytes(seat))
            .reply_ring(self.rings.bytes(seat))
            .connect(seat.socket())?;
        Ok(Box::new(Asking(client)))
    }
}

struct Asking(Client<Bench>);

impl peer::Client for Asking {
    fn ask(&mut self, ask: &Ask) -> Result<u64, Failure> {
        Ok(touch(&*self.0.send(ask)?))
    }
}

/// Reads every field of an archived answer.
pub fn touch(answer: &ArchivedAnswer<'_>) -> u64 {
    let mut sum = Sum::default();
    match answer {
        ArchivedAnswer::Echo(bytes) => sum.bytes(bytes),
        ArchivedAnswer::Show(issue) => sum_of_issue!(sum, **issue),
        // A page that cannot be read has another sum than the one that was asked for.
        ArchivedAnswer::List(list) => list.items.iter().map_while(Result::ok).for_each(|summary| {
            for text in [summary.id, summary.title, summary.created_at, summary.updated_at] {
                sum.text(text);
            }
            sum.number(summary.state == IssueState::Open);
            sum.number(summary.comment_count);
            summary.labels.chain(summary.assignees).for_each(|text| sum.text(text));
        }),
    }
    sum.total()
}

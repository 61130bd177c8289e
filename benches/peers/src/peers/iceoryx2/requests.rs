//! iceoryx2 by its own pattern for questions and answers. It carries bytes, untyped; both ends look all the
//! time, and what comes is read where it lies.

use iceoryx2::port::client::Client as Port;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::request_response::PortFactory;

use super::{node, remove_segments};
use crate::peer::{About, Client, Failure, Peer, Reads, Seat, Side, request_bytes};
use crate::touch::Sum;
use crate::work::{Ask, Work};

pub struct Requests;

impl Peer for Requests {
    fn about(&self) -> About {
        About {
            name: "iceoryx2-requests",
            title: "iceoryx2 0.10, request-response, busy polling",
            reads: Reads::Bytes,
            side: Side::Peer,
        }
    }

    fn server(&self, seat: &Seat, ready: &mut dyn FnMut()) -> Result<(), Failure> {
        let exchange = Exchange::open(seat)?;
        let server = exchange.service.server_builder().initial_max_slice_len(seat.reply_len()).create()?;
        let warm = seat.stock.bytes(seat.work);
        ready();
        loop {
            let Some(request) = server.receive()? else {
                std::hint::spin_loop();
                continue;
            };
            let reply = if matches!(seat.work, Work::Echo(_)) { request.payload() } else { &warm };
            request.loan_slice_uninit(reply.len())?.write_from_slice(reply).send()?;
        }
    }

    fn client(&self, seat: &Seat) -> Result<Box<dyn Client>, Failure> {
        let exchange = Exchange::open(seat)?;
        let port = exchange.service.client_builder().initial_max_slice_len(seat.request_len()).create()?;
        Ok(Box::new(Asker { port, _exchange: exchange }))
    }

    fn remove_leftovers(&self, seat: &Seat) -> Result<(), Failure> {
        remove_segments(seat)
    }
}

/// One process's hold on the service.
struct Exchange {
    service: PortFactory<ipc::Service, [u8], (), [u8], ()>,
    _node: Node<ipc::Service>,
}

impl Exchange {
    fn open(seat: &Seat) -> Result<Self, Failure> {
        let node = node(seat)?;
        let builder = node.service_builder(&"exchange".try_into()?).request_response::<[u8], [u8]>();
        // One client, one server, one question under way.
        let builder = builder.max_clients(1).max_servers(1).max_active_requests_per_client(1);
        let builder = builder.max_response_buffer_size(1).max_borrowed_responses_per_pending_response(1);
        let builder =
            builder.enable_safe_overflow_for_requests(false).enable_safe_overflow_for_responses(false);
        Ok(Exchange { service: builder.open_or_create()?, _node: node })
    }
}

/// The end that asks.
struct Asker {
    port: Port<ipc::Service, [u8], (), [u8], ()>,
    _exchange: Exchange,
}

impl Client for Asker {
    fn ask(&mut self, ask: &Ask) -> Result<u64, Failure> {
        let request = request_bytes(ask);
        let pending = self.port.loan_slice_uninit(request.len())?.write_from_slice(request).send()?;
        loop {
            if let Some(reply) = pending.receive()? {
                return Ok(Sum::of(reply.payload()));
            }
            std::hint::spin_loop();
        }
    }
}

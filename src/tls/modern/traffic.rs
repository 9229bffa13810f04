//! A session that is up and needs rustls no more: records are opened and sealed in the buffers that
//! they come in.

use std::collections::VecDeque;

use rustls::HandshakeKind;
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;

use super::carry::Carry;
use crate::buf::{Buf, BufClass, Pool, enqueue};
use crate::tls::alert;
use crate::tls::error::TlsError;
use crate::tls::record::{Exhausted, Opened, RecordError, Records, Short};
use crate::tls::resumption::Attempt;
use crate::tls::tls_conn::Output;

/// See the module.
pub(super) struct Traffic {
    records: Records,
    /// As the client, until it rests: servers send tickets soon, or not at all.
    tickets: Option<Box<Tickets>>,
}

/// What makes a session that can be resumed out of a server's ticket.
pub(super) struct Tickets {
    kernel: KernelConnection<ClientConnectionData>,
    attempt: Attempt,
    kind: Option<HandshakeKind>,
}

impl Tickets {
    /// `kind` is that of the handshake, after which rustls gave `kernel` away.
    pub(super) fn new(
        kernel: KernelConnection<ClientConnectionData>,
        attempt: Attempt,
        kind: Option<HandshakeKind>,
    ) -> Self {
        Self { kernel, attempt, kind }
    }

    fn take(&mut self, ticket: &[u8]) -> Result<(), RecordError> {
        let Self { kernel, attempt, kind } = self;
        let taken = attempt.run(*kind, || kernel.handle_new_session_ticket(ticket));
        taken.map_err(|_unreadable| RecordError::Malformed("session ticket"))
    }
}

impl Traffic {
    /// Goes on where the handshake has ended. Records have at most `max_content` bytes.
    pub(super) fn new(mut records: Records, tickets: Option<Tickets>, max_content: usize) -> Self {
        records.limit_content(max_content);
        Self { records, tickets: tickets.map(Box::new) }
    }

    /// Takes bytes from the peer: true once close_notify was among them. `carry` is what waits for
    /// its rest. After our own close_notify (`closed`), nothing is said.
    pub(super) fn receive(
        &mut self,
        mut input: Buf,
        carry: &mut Carry,
        output: &mut Output<'_>,
        closed: bool,
    ) -> Result<bool, TlsError> {
        let received = match self.complete(&mut input, carry, output) {
            Ok(false) if !input.is_empty() => self.open_in_place(input, carry, output),
            received => received,
        };
        match received {
            Ok(peer_closed) => {
                // A peer that reads nothing is owed one answer, not one for each question: it waits for the
                // next data. That renegotiation is declined does not, as there may be none.
                if !closed && (output.records.is_empty() || self.records.declines()) {
                    self.answer(output).map_err(TlsError::local)?;
                }
                Ok(peer_closed)
            }
            Err(error) => Err(self.give_up(error, output, closed)),
        }
    }

    /// Seals `plaintext` where it lies, if there is room for what is added. When the keys are used
    /// up, what the peer has is not all: it is told by a fatal alert.
    pub(super) fn seal(
        &mut self,
        plaintext: Buf,
        pool: &Pool,
        queue: &mut VecDeque<Buf>,
    ) -> Result<(), TlsError> {
        self.seal_all(plaintext, pool, queue).map_err(|used_up| {
            let record = self.records.fatal(alert::INTERNAL_ERROR).ok();
            record.iter().for_each(|record| push_short(record, pool, queue));
            let alert_sent = record.map(|_| alert::INTERNAL_ERROR);
            TlsError { alert_sent, ..TlsError::local(used_up) }
        })
    }

    fn seal_all(
        &mut self,
        mut plaintext: Buf,
        pool: &Pool,
        queue: &mut VecDeque<Buf>,
    ) -> Result<(), Exhausted> {
        if plaintext.is_empty() {
            return Ok(());
        }
        if !self.fits(&plaintext) {
            // Parts that have no room between them may have some when they are one.
            plaintext.contiguous();
        }
        let most = self.records.max_content();
        let in_place = self.fits(&plaintext);
        let count = if in_place { plaintext.count() } else { plaintext.len().div_ceil(most) };
        while let Some(record) = self.records.before(count as u64)? {
            push_short(&record, pool, queue);
        }
        if !in_place {
            return self.seal_copies(&plaintext, pool, queue);
        }
        let (head, tail) = (self.records.cipher().head(), self.records.cipher().tail());
        for index in 0..count {
            let range = plaintext.range(index);
            let range = range.start - head..range.end + tail;
            self.records.seal(&mut plaintext.memory_mut()[range.clone()])?;
            plaintext.replace_range(index, range);
        }
        enqueue(queue, plaintext);
        Ok(())
    }

    pub(super) fn close_notify(
        &mut self,
        pool: &Pool,
        queue: &mut VecDeque<Buf>,
    ) -> Result<(), Exhausted> {
        while let Some(record) = self.records.owed()? {
            push_short(&record, pool, queue);
        }
        push_short(&self.records.close_notify()?, pool, queue);
        Ok(())
    }

    /// The record with a fatal alert; `None` when there is no sequence number for it.
    pub(super) fn last_alert(mut self, description: u8) -> Option<Vec<u8>> {
        self.records.fatal(description).ok().map(|record| record.to_vec())
    }

    /// Gives back what is quickly made again, and what is not needed any more.
    pub(super) fn rest(&mut self) {
        self.records.rest();
        self.tickets = None;
    }

    /// Completes the record that waits for its rest, and opens it where it was put together.
    fn complete(
        &mut self,
        input: &mut Buf,
        carry: &mut Carry,
        output: &mut Output<'_>,
    ) -> Result<bool, RecordError> {
        if carry.is_empty() {
            return Ok(false);
        }
        let whole = carry.fill(input);
        self.records.length(&carry.bytes)?;
        if !whole {
            return Ok(false);
        }
        let opened = self.open(&mut carry.bytes)?;
        if let Opened::Data(range) = &opened {
            append(&carry.bytes[range.clone()], output.pool, output.plaintext);
        }
        carry.clear();
        Ok(opened == Opened::Closed)
    }

    /// Opens all whole records of `input`, whose data go on in it, with gaps between them.
    fn open_in_place(
        &mut self,
        mut input: Buf,
        carry: &mut Carry,
        output: &mut Output<'_>,
    ) -> Result<bool, RecordError> {
        input.contiguous();
        let mut rest = input.range(0);
        input.clear();
        let mut received = Ok(false);
        while matches!(received, Ok(false)) && !rest.is_empty() {
            let length = match self.records.length(&input.memory_mut()[rest.clone()]) {
                Ok(Some(length)) if length <= rest.len() => length,
                Ok(_) => {
                    carry.bytes.extend_from_slice(&input.memory_mut()[rest]);
                    break;
                }
                Err(error) => {
                    received = Err(error);
                    break;
                }
            };
            let record = rest.start..rest.start + length;
            rest.start = record.end;
            received = self.open(&mut input.memory_mut()[record.clone()]).map(|opened| {
                if let Opened::Data(data) = &opened {
                    input.push_range(record.start + data.start..record.start + data.end);
                }
                opened == Opened::Closed
            });
        }
        if !input.is_empty() {
            // What came before something bad is good.
            enqueue(output.plaintext, input);
        }
        received
    }

    fn open(&mut self, record: &mut [u8]) -> Result<Opened, RecordError> {
        let tickets = &mut self.tickets;
        self.records.open(record, &mut |ticket| {
            tickets.as_mut().map_or(Ok(()), |tickets| tickets.take(ticket))
        })
    }

    fn answer(&mut self, output: &mut Output<'_>) -> Result<(), Exhausted> {
        while let Some(record) = self.records.owed()? {
            push_short(&record, output.pool, output.records);
        }
        Ok(())
    }

    fn give_up(&mut self, error: RecordError, output: &mut Output<'_>, closed: bool) -> TlsError {
        let alert = error.alert().filter(|_| !closed);
        let record = alert.and_then(|alert| self.records.fatal(alert).ok());
        if let Some(record) = &record {
            push_short(record, output.pool, output.records);
        }
        TlsError { alert_sent: alert.filter(|_| record.is_some()), ..TlsError::of_record(error) }
    }

    /// Whether each part of `plaintext` can become a record where it lies.
    fn fits(&self, plaintext: &Buf) -> bool {
        let (head, tail) = (self.records.cipher().head(), self.records.cipher().tail());
        let last = plaintext.count().wrapping_sub(1);
        (0..plaintext.count()).all(|index| {
            let (before, after) = plaintext.room(index);
            let taken = if index == 0 { 0 } else { tail };
            plaintext.range(index).len() <= self.records.max_content()
                && before >= taken + head
                && (index != last || after >= tail)
        })
    }

    /// In as large records as may be, behind what waits or in buffers of their own.
    fn seal_copies(
        &mut self,
        plaintext: &Buf,
        pool: &Pool,
        queue: &mut VecDeque<Buf>,
    ) -> Result<(), Exhausted> {
        let (head, tail) = (self.records.cipher().head(), self.records.cipher().tail());
        for part in plaintext.first().chunks(self.records.max_content()) {
            let length = head + part.len() + tail;
            let record = with_room(length, pool, queue);
            record.tail_mut()[head..head + part.len()].copy_from_slice(part);
            self.records.seal(&mut record.tail_mut()[..length])?;
            record.extend(length);
        }
        Ok(())
    }
}

/// The last buffer of `queue`, or a new one behind it, with room for `length` bytes: no more than
/// the longest record.
fn with_room<'a>(length: usize, pool: &Pool, queue: &'a mut VecDeque<Buf>) -> &'a mut Buf {
    if queue.back_mut().is_none_or(|last| last.tail_mut().len() < length) {
        queue.push_back(pool.take(BufClass::holding(length).unwrap_or(BufClass::Bulk)));
    }
    queue.back_mut().expect("pushed above")
}

/// Appends a copy of `bytes`: the content of a record.
pub(super) fn append(bytes: &[u8], pool: &Pool, queue: &mut VecDeque<Buf>) {
    if !bytes.is_empty() {
        with_room(bytes.len(), pool, queue).append(bytes);
    }
}

fn push_short(record: &Short, pool: &Pool, queue: &mut VecDeque<Buf>) {
    append(record, pool, queue);
}

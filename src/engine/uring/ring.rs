//! The ring itself: set-up, submission, reaping.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use io_uring::register::Restriction;
use io_uring::{Builder, IoUring, opcode, squeue, types};

use super::bufring::BufRing;
use super::polling::{Polling, Submitter};

/// An io_uring and how many submissions it has not yet completed.
pub(super) struct Ring {
    ring: IoUring,
    /// A thread of the kernel submits.
    has_submitter: bool,
    /// Submissions whose last completion is still to come.
    outstanding: u64,
    enters: u64,
    overflows: u64,
    /// Why it takes other operations than ours, too.
    unrestricted: Option<io::Error>,
}

/// What a submission was for, and for whom, in its user data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Wake,
    Accept,
    CancelAccept,
    Connect,
    Receive,
    Send,
    Cancel,
    Close,
}

/// One completion, copied out so that handling it may submit more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) token: Token,
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Token {
    pub(super) fn new(work: Work, index: usize) -> Self {
        Self((work as u64) << 56 | index as u64)
    }

    pub(super) fn work(self) -> Work {
        const WORK: [Work; 8] = [
            Work::Wake,
            Work::Accept,
            Work::CancelAccept,
            Work::Connect,
            Work::Receive,
            Work::Send,
            Work::Cancel,
            Work::Close,
        ];
        WORK[usize::from(self.0.to_be_bytes()[0])]
    }

    pub(super) fn index(self) -> usize {
        usize::try_from(self.0 & ((1 << 56) - 1)).expect("64-bit Linux only")
    }
}

impl Ring {
    /// One that takes nothing yet: see [`enable`](Self::enable).
    pub(super) fn new(polling: Polling) -> io::Result<Self> {
        let (ring, unrestricted) = build(polling.submitter)?;
        if let Ok(micros @ 1..) = u32::try_from(polling.busy.as_micros()) {
            let mut napi = types::Napi::new().set_busy_poll_timeout(micros);
            // Before 6.9 the kernel cannot; then cards have their interrupts as ever.
            let _waits = ring.submitter().register_napi(&mut napi);
        }
        let has_submitter = polling.submitter.is_some();
        Ok(Self { ring, has_submitter, outstanding: 0, enters: 0, overflows: 0, unrestricted })
    }

    /// Restricts it to our operations, and takes them from now on. Nothing can be registered any more.
    pub(super) fn enable(&mut self) -> io::Result<()> {
        if self.unrestricted.is_some() {
            return Ok(());
        }
        let mut allowed: Vec<_> = OPERATIONS.into_iter().map(Restriction::sqe_op).collect();
        allowed.push(Restriction::sqe_flags_allowed(squeue::Flags::BUFFER_SELECT.bits()));
        // For kernels to which restrictions apply before the ring is enabled.
        allowed.push(Restriction::register_op(ENABLE_RINGS));
        let submitter = self.ring.submitter();
        self.unrestricted = submitter.register_restrictions(&mut allowed).err();
        submitter.register_enable_rings()
    }

    /// Why it is not restricted.
    pub(super) fn unrestricted(&self) -> Option<&io::Error> {
        self.unrestricted.as_ref()
    }

    pub(super) fn register(&self, buffers: &BufRing) -> io::Result<()> {
        // SAFETY: the engine drops its ring, quiesced, before the buffer rings.
        unsafe {
            self.ring.submitter().register_buf_ring_with_flags(
                buffers.address(),
                buffers.len(),
                buffers.group(),
                0,
            )
        }
    }

    /// Queues a submission; submits the queue when it is full.
    pub(super) fn push(&mut self, entry: squeue::Entry, token: Token) {
        let entry = entry.user_data(token.0);
        self.outstanding += 1;
        loop {
            // SAFETY: what the entry points to lives in the engine's tables until the completion.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // Full: hand the queue to the kernel without waiting. EBUSY (completion queue under
            // pressure) passes once completions are reaped, which the kernel does by itself here
            // because overflowing completions are kept (IORING_FEAT_NODROP, 5.5).
            if self.submit().is_err() || self.has_submitter {
                std::thread::yield_now();
            }
        }
    }

    /// Cancels the operation that was pushed with a token: by descriptor, the kernel would walk all
    /// requests of the ring, a seventh of a shard's time in a storm over 4,000 connections.
    pub(super) fn cancel(&mut self, operation: Token, token: Token) {
        let operation = types::CancelBuilder::user_data(operation.0);
        self.push(opcode::AsyncCancel2::new(operation).build(), token);
    }

    /// Submits everything and, when `wait`, waits for a completion or for `timeout`.
    pub(super) fn submit_and_wait(
        &mut self,
        wait: bool,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        // A wait for no time at all would still give the CPU away.
        let wait = wait && timeout.is_none_or(|timeout| !timeout.is_zero());
        if !wait || !self.ring.completion().is_empty() {
            return self.hand_over();
        }
        self.enters += 1;
        passing(match timeout {
            Some(timeout) => {
                let timespec = types::Timespec::from(timeout);
                let args = types::SubmitArgs::new().timespec(&timespec);
                self.ring.submitter().submit_with_args(1, &args)
            }
            None => self.ring.submitter().submit_and_wait(1),
        })
    }

    /// Submits everything, and does not wait.
    pub(super) fn hand_over(&mut self) -> io::Result<()> {
        passing(self.submit())
    }

    /// Makes no system call where there is nothing to submit, or where the kernel's thread is awake and
    /// looks.
    fn submit(&mut self) -> io::Result<usize> {
        let submissions = self.ring.submission();
        let has_more = submissions.taskrun() || submissions.cq_overflow();
        // The tail was written when the last submission was pushed. `need_wakeup` has the barrier between
        // that and its look at the flag; the thread has another one between setting the flag and its last
        // look at the tail. So one of the two sees what the other has written.
        let must_enter = has_more
            || !submissions.is_empty() && (!self.has_submitter || submissions.need_wakeup());
        drop(submissions);
        if !must_enter {
            return Ok(0);
        }
        self.enters += 1;
        self.ring.submit()
    }

    /// Looks for completions, or work that brings some, as long as `goes_on`. Makes no system call, and
    /// writes nothing that the kernel's thread reads.
    pub(super) fn look(&mut self, mut goes_on: impl FnMut() -> bool) {
        // SAFETY: it is used up before the ring is gone.
        let completions = unsafe { self.ring.completion().status() };
        while completions.is_empty() && !self.has_task_work() && goes_on() {
            std::hint::spin_loop();
        }
    }

    /// Work that the shard's thread has to do in the kernel. A submitting thread does it by itself.
    fn has_task_work(&mut self) -> bool {
        !self.has_submitter && self.ring.submission().taskrun()
    }

    /// Waits until a submitting thread has taken all that was pushed.
    pub(super) fn let_catch_up(&mut self) -> io::Result<()> {
        while self.has_submitter && !self.has_submitted_all() {
            self.hand_over()?;
            std::thread::yield_now();
        }
        Ok(())
    }

    /// True when the kernel has been given all that was pushed.
    pub(super) fn has_submitted_all(&mut self) -> bool {
        self.ring.submission().is_empty()
    }

    /// Moves completions into `into`, as many as it has room for; the rest waits in the ring.
    pub(super) fn reap(&mut self, into: &mut VecDeque<Completion>) {
        let completions = self.ring.completion();
        self.overflows = u64::from(completions.overflow());
        let room = into.capacity() - into.len();
        for entry in completions.take(room) {
            if !io_uring::cqueue::more(entry.flags()) {
                self.outstanding -= 1;
            }
            into.push_back(Completion {
                token: Token(entry.user_data()),
                result: entry.result(),
                flags: entry.flags(),
            });
        }
    }

    /// Cancels everything and waits until the kernel has let go of all memory. `each` is told of
    /// every completion.
    pub(super) fn quiesce(&mut self, mut each: impl FnMut(Completion)) {
        let cancel = types::CancelBuilder::any();
        self.push(opcode::AsyncCancel2::new(cancel).build(), Token::new(Work::CancelAccept, 0));
        let mut completions = VecDeque::with_capacity(64);
        while self.outstanding > 0 {
            if self.submit_and_wait(true, Some(Duration::from_millis(100))).is_err() {
                // Returning would free memory that the kernel may still write to.
                std::process::abort();
            }
            self.reap(&mut completions);
            completions.drain(..).for_each(&mut each);
        }
    }

    pub(super) fn enters(&self) -> u64 {
        self.enters
    }

    pub(super) fn overflows(&self) -> u64 {
        self.overflows
    }
}

/// Without errors that are none: the deadline, a signal, pressure that reaping relieves.
fn passing(submitted: io::Result<usize>) -> io::Result<()> {
    const PASSING: [i32; 4] = [libc::ETIME, libc::EINTR, libc::EBUSY, libc::EAGAIN];
    match submitted {
        Err(error) if !error.raw_os_error().is_some_and(|errno| PASSING.contains(&errno)) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// What the engine does by submissions: with what is open already, and nothing that has a name but
/// sockets' addresses.
const OPERATIONS: [u8; 9] = [
    opcode::Accept::CODE,
    opcode::AsyncCancel2::CODE,
    opcode::Close::CODE,
    opcode::Connect::CODE,
    opcode::Read::CODE,
    opcode::Recv::CODE,
    opcode::RecvMsg::CODE,
    opcode::Send::CODE,
    opcode::SendMsg::CODE,
];

/// IORING_REGISTER_ENABLE_RINGS (linux/io_uring.h), which does nothing to a ring that is enabled.
const ENABLE_RINGS: u8 = 12;

/// The best ring this kernel offers, and why it cannot be restricted. One that can is disabled at
/// first (Linux 5.10), which only something that imitates a kernel does not know.
fn build(submitter: Option<Submitter>) -> io::Result<(IoUring, Option<io::Error>)> {
    match build_with(submitter, true) {
        Ok(ring) => Ok((ring, None)),
        Err(why) => Ok((build_with(submitter, false)?, Some(why))),
    }
}

/// Every set of flags but the last needs a newer kernel.
fn build_with(submitter: Option<Submitter>, disabled: bool) -> io::Result<IoUring> {
    let common = |builder: &mut Builder| {
        builder.setup_cqsize(COMPLETIONS).setup_clamp().setup_submit_all();
        if disabled {
            builder.setup_r_disabled();
        }
    };
    if let Some(submitter) = submitter {
        return build_submitted(submitter, common);
    }
    let mut newest = IoUring::builder();
    common(&mut newest);
    newest.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_no_sqarray();
    let mut deferred = IoUring::builder(); // 6.1
    common(&mut deferred);
    deferred.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    let mut plain = IoUring::builder(); // 5.19
    common(&mut plain);
    plain.setup_coop_taskrun().setup_taskrun_flag();

    newest
        .build(SUBMISSIONS)
        .or_else(|_| deferred.build(SUBMISSIONS))
        .or_else(|_| plain.build(SUBMISSIONS))
}

/// The same with a thread that submits. It does all task work, so the kernel takes no flag that says
/// when the shard's thread does (DEFER_TASKRUN and the like).
fn build_submitted(submitter: Submitter, common: impl Fn(&mut Builder)) -> io::Result<IoUring> {
    let common = |builder: &mut Builder| {
        common(builder);
        builder.setup_sqpoll(u32::try_from(submitter.idle.as_millis()).unwrap_or(u32::MAX));
        submitter.cpu.map(|cpu| builder.setup_sqpoll_cpu(cpu));
    };
    let mut newest = IoUring::builder(); // 6.6
    common(&mut newest);
    newest.setup_single_issuer().setup_no_sqarray();
    let mut plain = IoUring::builder();
    common(&mut plain);

    let built = newest.build(SUBMISSIONS).or_else(|_| plain.build(SUBMISSIONS));
    built.map_err(|error| match submitter.cpu {
        Some(cpu) => io::Error::new(error.kind(), format!("sqpoll on CPU {cpu}: {error}")),
        None => error,
    })
}

const SUBMISSIONS: u32 = 1024;
/// Room for a burst of accepts on top of every submission, so that nothing overflows: before
/// 6.8 an overflowing multishot accept returned wrong descriptors (axboe/liburing#1062).
const COMPLETIONS: u32 = 16 * SUBMISSIONS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_takes_our_operations_and_no_other() {
        // Where there are no rings at all, there is nothing to be restricted.
        let Ok(mut ring) = Ring::new(Polling::default()) else { return };
        ring.enable().expect("it was made so");
        assert!(ring.unrestricted().is_none(), "{:?}", ring.unrestricted());
        let path = c"/etc/passwd".as_ptr();
        let file = types::Fd(libc::AT_FDCWD);
        let socket = opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).build();
        let receive = opcode::Recv::new(types::Fd(-1), std::ptr::null_mut(), 0).build();
        let refused = [
            opcode::OpenAt::new(file, path).build(),
            opcode::UnlinkAt::new(file, path).build(),
            opcode::Nop::new().build(),
            socket,
            receive.clone().flags(squeue::Flags::ASYNC),
        ];
        let count = refused.len();
        for entry in refused {
            ring.push(entry, Token::new(Work::Send, 0));
        }
        ring.push(receive, Token::new(Work::Receive, 0));
        let mut completions = VecDeque::with_capacity(count + 1);
        while ring.outstanding > 0 {
            ring.submit_and_wait(true, None).expect("a ring that works");
            ring.reap(&mut completions);
        }
        for Completion { token, result, .. } in completions {
            let expected = match token.work() {
                Work::Receive => libc::EBADF,
                _ => libc::EACCES,
            };
            assert_eq!(-result, expected, "{:?}", token.work());
        }
        let again = ring.ring.submitter().register_restrictions(&mut []);
        assert!(again.is_err(), "what is registered stays");
    }
}

//! Netlink sockets as resources, and the request that runs on them.
//!
//! A request is `netlink_request` with the ticket 0, which takes the turn if it is free and
//! otherwise answers `:busy`; then `netlink_enter` queues, and `netlink_request` with its ticket
//! runs and leaves. A socket takes one request at a time (the kernel refuses a second dump), and
//! the turn is waited for in the caller's mailbox, not on one of the few dirty threads. Few
//! requests run on those at the same time, too; further ones, and those that are known to be long,
//! are the pool's (`work::brief`).

mod dump;
mod exchange;
mod gate;
mod terms;

use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linx_sys::netlink::{self, Socket, numbered};
use linx_sys::ns::{self, Kind, Namespace};
use linx_sys::release::{release, release_quick};
use linx_sys::sysctl::Tree;
use linx_sys::watch::{Watch, Watcher};
use linx_sys::work::Room;
use linx_sys::{Fault, Stage};
use rustler::thread::is_scheduler_thread;
use rustler::{
    Binary, Encoder, Env, Error, LocalPid, Monitor, NifResult, OwnedEnv, Reference, Resource,
    ResourceArc, Term,
};

use crate::list::List;
use crate::reply::{Bytes, Reply, Value};
use crate::target::{self, Target};
use crate::work::{apart, brief, lane, work};
use dump::DumpResource;
use exchange::{Answer, Exchange, Request};
use gate::{Gate, PASSING};

/// Owns the descriptor. It is closed once, when the last request that uses it has ended.
struct SocketResource {
    socket: Mutex<Option<Arc<Socket>>>,
    exchange: Exchange,
    gate: Mutex<Gate>,
    watch: Mutex<Option<Watch>>,
}

/// The sockets that somebody listens to.
static WATCHER: Watcher = Watcher::new();

mod atoms {
    rustler::atoms! { linx_netlink_readable }
}

#[rustler::resource_impl]
impl Resource for SocketResource {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, env: Env<'a>, _pid: LocalPid, monitor: Monitor) {
        lock(&self.gate).down(env, &monitor);
    }
}

impl Drop for SocketResource {
    /// Runs on the thread that gives up the last reference, which may be a scheduler's.
    fn drop(&mut self) {
        if let Some(socket) = lock(&self.socket).take() {
            give_up(socket);
        }
    }
}

/// Gives up a reference to the socket. The last close(2) may take long, so it is not made here.
fn give_up(socket: Arc<Socket>) {
    if let Some(socket) = Arc::into_inner(socket) {
        release(socket);
    }
}

impl SocketResource {
    fn new(socket: Socket) -> Self {
        Self {
            socket: Mutex::new(Some(Arc::new(socket))),
            exchange: Exchange::default(),
            gate: Mutex::default(),
            watch: Mutex::default(),
        }
    }

    /// Makes a call on the socket; EBADF once it is closed.
    fn with<T>(
        &self,
        stage: Stage,
        call: impl FnOnce(&Socket) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let socket = lock(&self.socket).clone();
        let socket = socket.ok_or(stage.fault(netlink::EBADF))?;
        let answer = call(&socket);
        give_up(socket);
        answer
    }

    /// The place in the pool of what may wait for a lock of the socket's namespace.
    fn place(&self) -> u64 {
        let socket = lock(&self.socket);
        socket.as_ref().map_or(0, |socket| socket.namespace())
    }

    fn exchange(&self, request: &Request) -> Result<Answer, Fault> {
        let open = || lock(&self.socket).is_some();
        self.with(Stage::Send, |socket| {
            self.exchange.run(socket, request, &open)
        })
    }
}

// State behind a poisoned lock is whole: every change under these locks is one assignment or one
// queue operation.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[rustler::nif(schedule = "DirtyIo")]
fn netlink_open<'a>(env: Env<'a>, agent: Binary, protocol: u32, target: Target) -> Term<'a> {
    let agent = target::path(&agent);
    let (place, is_path) = (target.place(), matches!(target, Target::Path(_)));
    let open = move || {
        let socket = Socket::open(protocol, target.as_ns().as_ref(), &agent)?;
        Ok(Value(ResourceArc::new(SocketResource::new(socket))))
    };
    match is_path {
        // It may be on a file system that does not answer.
        true => work(env, place, open),
        false => brief(env, place, open),
    }
}

#[rustler::nif(schedule = "DirtyIo")]
fn netlink_close<'a>(env: Env<'a>, resource: ResourceArc<SocketResource>) -> Term<'a> {
    let place = resource.place();
    brief(env, place, move || {
        let watch = lock(&resource.watch).take();
        drop(watch);
        let socket = lock(&resource.socket).take();
        // A request that still uses it closes it at its end.
        drop(socket.and_then(Arc::into_inner));
        Ok(())
    })
}

/// `{:ok, ticket}`, or `{:wait, ticket}`: then the turn comes as `{:linx_netlink_turn, ticket}`.
#[rustler::nif]
fn netlink_enter<'a>(env: Env<'a>, resource: ResourceArc<SocketResource>) -> Term<'a> {
    gate::enter(env, &resource, &resource.gate).encode(env)
}

/// Sends `bytes`, framed messages with sequence numbers `first` to `last`, and collects the answers
/// until that of `last`.
#[rustler::nif(schedule = "DirtyIo")]
fn netlink_request<'a>(
    env: Env<'a>,
    resource: ResourceArc<SocketResource>,
    ticket: u64,
    bytes: Binary<'a>,
    seqs: (u32, u32),
) -> NifResult<Term<'a>> {
    in_turn(env, resource, ticket, || {
        let bytes = bytes.as_slice().to_vec();
        Ok(Request::new(bytes, seqs, terms::Form::Raw, true))
    })
}

/// Sends the messages in `parts` as requests with these sequence numbers, and collects what has
/// been answered then.
#[rustler::nif(schedule = "DirtyIo")]
fn netlink_transact<'a>(
    env: Env<'a>,
    resource: ResourceArc<SocketResource>,
    ticket: u64,
    parts: List<Binary<'a>>,
    seqs: (u32, u32),
) -> NifResult<Term<'a>> {
    in_turn(env, resource, ticket, || {
        let bytes = terms::numbered(&parts, seqs)?;
        Ok(Request::new(bytes, seqs, terms::Form::Raw, false))
    })
}

/// The same as `netlink_request` for `[{type, flags, payload}]`, which are framed here and numbered
/// from `first`.
#[rustler::nif(schedule = "DirtyIo")]
fn netlink_call<'a>(
    env: Env<'a>,
    resource: ResourceArc<SocketResource>,
    ticket: u64,
    requests: List<(u16, u16, Binary<'a>)>,
    first: u32,
    form: terms::Form,
) -> NifResult<Term<'a>> {
    in_turn(env, resource, ticket, || {
        let (bytes, last) = terms::frames(&requests, first)?;
        Ok(Request::new(bytes, (first, last), form, true))
    })
}

/// Carries a request out with the turn that `ticket` stands for; `:busy` if that was to take a free
/// one and there is none. `request` builds the request once the turn is taken, so that it is built
/// once.
fn in_turn<'a>(
    env: Env<'a>,
    resource: ResourceArc<SocketResource>,
    ticket: u64,
    request: impl FnOnce() -> NifResult<Request>,
) -> NifResult<Term<'a>> {
    if ticket == PASSING && !lock(&resource.gate).pass() {
        return Ok(terms::busy(env));
    }
    let turn = Turn(Some((resource, ticket)));
    let request = match request() {
        Ok(request) => request,
        Err(error) => {
            turn.leave(env);
            return Err(error);
        }
    };
    if request.is_long() {
        let room = Room::single(turn.place());
        return Ok(apart(env, room, move || turn.exchange(&request)));
    }
    if let Some(_place) = lane() {
        let answer = turn.exchange(&request);
        turn.leave(env);
        return Ok(Reply(answer).encode(env));
    }
    let room = Room::shared(turn.place());
    Ok(apart(env, room, move || turn.exchange(&request)))
}

/// A turn at a socket. It is given back when this is dropped, also by a panic: nobody else would
/// ever have one.
struct Turn(Option<(ResourceArc<SocketResource>, u64)>);

impl Turn {
    fn exchange(&self, request: &Request) -> Result<Answer, Fault> {
        let Some((resource, _)) = &self.0 else {
            return Err(Stage::Send.fault(netlink::EBADF));
        };
        resource.exchange(request)
    }

    fn place(&self) -> u64 {
        self.0.as_ref().map_or(0, |(resource, _)| resource.place())
    }

    /// Gives the turn back, in a NIF.
    fn leave(mut self, env: Env<'_>) {
        if let Some((resource, ticket)) = self.0.take() {
            lock(&resource.gate).leave(env, true, &resource, ticket);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some((resource, ticket)) = self.0.take() else {
            return;
        };
        if is_scheduler_thread() {
            // The VM's own threads may send to a process only for another. Processes wait for the
            // turn, so it does not stand behind sockets that are slow to close.
            release_quick(Turn(Some((resource, ticket))));
        } else {
            OwnedEnv::new().run(|env| lock(&resource.gate).leave(env, false, &resource, ticket));
        }
    }
}

/// The next messages of a long answer; none at the end.
#[rustler::nif]
fn netlink_take<'a>(env: Env<'a>, dump: ResourceArc<DumpResource>) -> Vec<Term<'a>> {
    // A portion takes about a tenth of the time that a process has before others are due.
    rustler::schedule::consume_timeslice(env, 10);
    dump.take(env)
}

/// Receives what is there, at most `most` datagrams.
#[rustler::nif]
fn netlink_drain<'a>(
    env: Env<'a>,
    resource: ResourceArc<SocketResource>,
    form: terms::Form,
    most: u32,
) -> NifResult<Term<'a>> {
    let events = resource.with(Stage::Recv, |socket| {
        resource.exchange.drain(env, socket, form, most.min(64))
    });
    // As `netlink_take` counts a portion, and one part more for the calls.
    let parts = events
        .as_ref()
        .map_or(0, |events| events.bytes / dump::PORTION);
    rustler::schedule::consume_timeslice(env, (10 * (1 + parts)).min(100) as i32);
    Ok(terms::events(env, events))
}

/// Our address on the bus, which the kernel puts into its answers.
#[rustler::nif]
fn netlink_port(resource: ResourceArc<SocketResource>) -> NifResult<Reply<Value<u32>>> {
    Ok(Reply(
        resource.with(Stage::Open, |socket| Ok(Value(socket.port()))),
    ))
}

/// Sends the caller `{:linx_netlink_readable, reference}` once, when there is something to receive
/// or an error to report.
#[rustler::nif]
fn netlink_watch<'a>(
    env: Env<'a>,
    resource: ResourceArc<SocketResource>,
    reference: Reference<'a>,
) -> NifResult<Reply<()>> {
    let caller = env.pid();
    let mut letter = OwnedEnv::new();
    let reference = letter.save(reference);
    let sink = move || {
        // A listener that has ended needs no message.
        let _sent = letter.send_and_clear(&caller, |env| {
            (atoms::linx_netlink_readable(), reference.load(env))
        });
    };
    Ok(Reply(resource.with(Stage::Recv, |socket| {
        let mut watch = lock(&resource.watch);
        if watch.is_none() {
            *watch = Some(WATCHER.watch(socket.fd())?);
        }
        match &*watch {
            Some(watch) => watch.arm(socket.fd(), sink),
            None => Ok(()),
        }
    })))
}

#[rustler::nif(schedule = "DirtyIo")]
fn netlink_membership<'a>(
    env: Env<'a>,
    resource: ResourceArc<SocketResource>,
    group: u32,
    join: bool,
) -> Term<'a> {
    let place = resource.place();
    // The kernel may load a module for the group.
    brief(env, place, move || {
        resource.with(Stage::Sockopt, |socket| match join {
            true => socket.join(group),
            false => socket.leave(group),
        })
    })
}

#[rustler::nif]
fn netlink_set_rcvbuf(resource: ResourceArc<SocketResource>, bytes: u32) -> NifResult<Reply<()>> {
    Ok(Reply(resource.with(Stage::Sockopt, |socket| {
        socket.set_receive_buffer(bytes as usize)
    })))
}

/// The receive buffer in the kernel's own count.
#[rustler::nif]
fn netlink_rcvbuf(resource: ResourceArc<SocketResource>) -> NifResult<Reply<Value<u64>>> {
    Ok(Reply(resource.with(Stage::Sockopt, |socket| {
        socket.receive_buffer().map(|size| Value(size as u64))
    })))
}

/// A value below `/proc/sys` as the socket's network namespace has it.
#[rustler::nif(schedule = "DirtyIo")]
fn netlink_sysctl<'a>(
    env: Env<'a>,
    resource: ResourceArc<SocketResource>,
    path: Binary,
) -> NifResult<Term<'a>> {
    let path = CString::new(path.as_slice()).map_err(|_| Error::BadArg)?;
    Ok(work(env, resource.place(), move || {
        let namespace = resource.with(Stage::OpenNs, Socket::network)?;
        let tree = Tree::open()?;
        ns::run_in(&[namespace], move || tree.read(&[path])).map(|bytes| Value(Bytes(bytes)))
    }))
}

/// How much of a datagram is taken before it counts as truncated.
#[rustler::nif]
fn netlink_set_buffer(resource: ResourceArc<SocketResource>, bytes: u32) -> rustler::Atom {
    resource.exchange.set_buffer(bytes as usize);
    rustler::types::atom::ok()
}

/// Decodes messages that came from elsewhere: captures, and the tests' mutations of them.
#[rustler::nif(schedule = "DirtyCpu")]
fn netlink_decode<'a>(env: Env<'a>, bytes: Binary<'a>, form: terms::Form) -> NifResult<Term<'a>> {
    Ok(terms::decode(env, &bytes, form))
}

#[rustler::nif(schedule = "DirtyIo")]
fn netlink_open_fd<'a>(env: Env<'a>, path: Target, protocol: u32) -> Term<'a> {
    let place = path.place();
    work(env, place, move || {
        numbered::open(protocol, path.as_ns().as_ref()).map(Value)
    })
}

/// A number is no descriptor here but a key: it names a socket of `netlink_open_fd`, or nothing.
#[rustler::nif(schedule = "DirtyIo")]
fn netlink_bind_fd<'a>(env: Env<'a>, number: i32, groups: u32) -> Term<'a> {
    brief(env, 0, move || numbered::bind(number, groups))
}

#[rustler::nif(schedule = "DirtyIo")]
fn netlink_close_fd<'a>(env: Env<'a>, number: i32) -> Term<'a> {
    brief(env, 0, move || {
        drop(numbered::take(number));
        Ok(())
    })
}

/// A namespace file held open, for a request that names its descriptor.
struct NamespaceResource(Mutex<Option<Namespace>>);

#[rustler::resource_impl]
impl Resource for NamespaceResource {}

impl Drop for NamespaceResource {
    /// The caller was killed: this may run on a scheduler's thread.
    fn drop(&mut self) {
        if let Some(namespace) = lock(&self.0).take() {
            release(namespace);
        }
    }
}

/// `{:ok, {namespace, fd}}`: the number is good until the namespace is released or collected.
#[rustler::nif(schedule = "DirtyIo")]
fn netns_open<'a>(env: Env<'a>, target: Target) -> Term<'a> {
    work(env, target.place(), move || {
        let namespace = match target.as_ns() {
            Some(target) => target.open(Kind::Net, Stage::Open),
            None => Namespace::own(Kind::Net, Stage::Open),
        }?;
        let number = namespace.file().as_raw_fd();
        let resource = ResourceArc::new(NamespaceResource(Mutex::new(Some(namespace))));
        Ok(Value((resource, number)))
    })
}

#[rustler::nif(schedule = "DirtyIo")]
fn netns_release(namespace: ResourceArc<NamespaceResource>) -> rustler::Atom {
    drop(lock(&namespace.0).take());
    rustler::types::atom::ok()
}

//! Netlink sockets as resources, and the request that runs on them.
//!
//! A request is `netlink_request` with the ticket 0, which takes the turn if it is free and otherwise answers `:busy`;
//! then `netlink_enter` queues, and `netlink_request` with its ticket runs and leaves. A socket takes one request at a
//! time (the kernel refuses a second dump), and the turn is waited for in the caller's mailbox, not on one of the few
//! dirty threads.

mod dump;
mod exchange;
mod gate;
mod terms;

use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linx_sys::netlink::{self, Socket};
use linx_sys::ns::{Kind, Namespace};
use linx_sys::{Fault, Stage};
use rustler::{Binary, Encoder, Env, LocalPid, Monitor, NifResult, Resource, ResourceArc, Term};

use crate::list::List;
use crate::reply::{Reply, Value};
use crate::target::{self, Target};
use dump::DumpResource;
use exchange::Exchange;
use gate::{Gate, PASSING};

/// Owns the descriptor. It is closed once, when the last request that uses it has ended.
struct SocketResource {
    socket: Mutex<Option<Arc<Socket>>>,
    exchange: Exchange,
    gate: Mutex<Gate>,
}

#[rustler::resource_impl]
impl Resource for SocketResource {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, env: Env<'a>, _pid: LocalPid, monitor: Monitor) {
        lock(&self.gate).down(env, &monitor);
    }
}

impl SocketResource {
    fn new(socket: Socket) -> Self {
        Self {
            socket: Mutex::new(Some(Arc::new(socket))),
            exchange: Exchange::default(),
            gate: Mutex::default(),
        }
    }

    /// The socket for one call; EBADF once it is closed.
    fn get(&self, stage: Stage) -> Result<Arc<Socket>, Fault> {
        lock(&self.socket)
            .clone()
            .ok_or(stage.fault(netlink::EBADF))
    }
}

// What a panic left behind is whole: every change under these locks is one assignment or one queue operation.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[rustler::nif(schedule = "DirtyIo")]
fn netlink_open(
    program: Binary,
    protocol: u32,
    target: Target,
) -> NifResult<Reply<Value<ResourceArc<SocketResource>>>> {
    let program = target::path(&program);
    let socket = Socket::open(protocol, target.as_ns().as_ref(), &program);
    Ok(Reply(socket.map(|socket| {
        Value(ResourceArc::new(SocketResource::new(socket)))
    })))
}

#[rustler::nif(schedule = "DirtyIo")]
fn netlink_close(resource: ResourceArc<SocketResource>) -> rustler::Atom {
    let socket = lock(&resource.socket).take();
    drop(socket);
    rustler::types::atom::ok()
}

/// `{:ok, ticket}`, or `{:wait, ticket}`: then the turn comes as `{:linx_netlink_turn, ticket}`.
#[rustler::nif]
fn netlink_enter<'a>(env: Env<'a>, resource: ResourceArc<SocketResource>) -> Term<'a> {
    gate::enter(env, &resource, &resource.gate).encode(env)
}

/// Sends `bytes`, framed messages with sequence numbers `first` to `last`, and collects the answers until that of `last`.
#[rustler::nif(schedule = "DirtyIo")]
fn netlink_request<'a>(
    env: Env<'a>,
    resource: ResourceArc<SocketResource>,
    ticket: u64,
    bytes: Binary<'a>,
    seqs: (u32, u32),
) -> NifResult<Term<'a>> {
    Turn::taken(env, &resource, ticket, |turn| {
        Ok(turn.exchange(&bytes, seqs, terms::Form::Raw, true))
    })
}

/// Sends the messages in `parts` as requests with these sequence numbers, and collects what has been answered then.
#[rustler::nif(schedule = "DirtyIo")]
fn netlink_transact<'a>(
    env: Env<'a>,
    resource: ResourceArc<SocketResource>,
    ticket: u64,
    parts: List<Binary<'a>>,
    seqs: (u32, u32),
) -> NifResult<Term<'a>> {
    Turn::taken(env, &resource, ticket, |turn| {
        let bytes = terms::numbered(&parts, seqs)?;
        Ok(turn.exchange(&bytes, seqs, terms::Form::Raw, false))
    })
}

/// The same as `netlink_request` for `[{type, flags, payload}]`, which are framed here and numbered from `first`.
#[rustler::nif(schedule = "DirtyIo")]
fn netlink_call<'a>(
    env: Env<'a>,
    resource: ResourceArc<SocketResource>,
    ticket: u64,
    requests: List<(u16, u16, Binary<'a>)>,
    first: u32,
    form: terms::Form,
) -> NifResult<Term<'a>> {
    Turn::taken(env, &resource, ticket, |turn| {
        let (bytes, last) = terms::frames(&requests, first)?;
        Ok(turn.exchange(&bytes, (first, last), form, true))
    })
}

/// A turn at a socket. It is given back when this is dropped, also by a panic: nobody else would ever have one.
struct Turn<'env, 'a>(Env<'env>, &'a ResourceArc<SocketResource>, u64);

impl<'env, 'a> Turn<'env, 'a> {
    /// Runs `work` with the turn that `ticket` stands for; `:busy` if that was to take a free one and there is none. What
    /// has to be made of a request is made within, so that it is not made twice.
    fn taken(
        env: Env<'env>,
        resource: &'a ResourceArc<SocketResource>,
        ticket: u64,
        work: impl FnOnce(&Self) -> NifResult<Term<'env>>,
    ) -> NifResult<Term<'env>> {
        if ticket == PASSING && !lock(&resource.gate).pass() {
            return Ok(terms::busy(env));
        }
        work(&Self(env, resource, ticket))
    }

    fn exchange(
        &self,
        bytes: &[u8],
        seqs: (u32, u32),
        form: terms::Form,
        wait: bool,
    ) -> Term<'env> {
        let Self(env, resource, _ticket) = *self;
        let answer = resource.get(Stage::Send).and_then(|socket| {
            let open = || lock(&resource.socket).is_some();
            resource
                .exchange
                .run(env, &socket, bytes, seqs, form, wait.then_some(&open))
        });
        terms::answer(env, answer)
    }
}

impl Drop for Turn<'_, '_> {
    fn drop(&mut self) {
        lock(&self.1.gate).leave(self.0, self.1, self.2);
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
    let events = resource
        .get(Stage::Recv)
        .and_then(|socket| resource.exchange.drain(env, &socket, form, most.min(64)));
    Ok(terms::events(env, events))
}

/// Our address on the bus, which the kernel puts into its answers.
#[rustler::nif]
fn netlink_port(resource: ResourceArc<SocketResource>) -> NifResult<Reply<Value<u32>>> {
    let socket = resource.get(Stage::Open);
    Ok(Reply(socket.map(|socket| Value(socket.port()))))
}

/// The descriptor's number, for one who duplicates it at once.
#[rustler::nif]
fn netlink_fd(resource: ResourceArc<SocketResource>) -> NifResult<Reply<Value<i32>>> {
    let socket = resource.get(Stage::Open);
    Ok(Reply(socket.map(|socket| Value(socket.fd().as_raw_fd()))))
}

#[rustler::nif(schedule = "DirtyIo")]
fn netlink_membership(
    resource: ResourceArc<SocketResource>,
    group: u32,
    join: bool,
) -> NifResult<Reply<()>> {
    let socket = resource.get(Stage::Sockopt);
    Ok(Reply(socket.and_then(|socket| {
        if join {
            socket.join(group)
        } else {
            socket.leave(group)
        }
    })))
}

#[rustler::nif]
fn netlink_set_rcvbuf(resource: ResourceArc<SocketResource>, bytes: u32) -> NifResult<Reply<()>> {
    let socket = resource.get(Stage::Sockopt);
    Ok(Reply(socket.and_then(|socket| {
        socket.set_receive_buffer(bytes as usize)
    })))
}

/// The receive buffer in the kernel's own count.
#[rustler::nif]
fn netlink_rcvbuf(resource: ResourceArc<SocketResource>) -> NifResult<Reply<Value<u64>>> {
    let socket = resource.get(Stage::Sockopt);
    Ok(Reply(socket.and_then(|socket| {
        socket.receive_buffer().map(|size| Value(size as u64))
    })))
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
fn netlink_open_fd(path: Target, protocol: u32) -> NifResult<Reply<Value<i32>>> {
    let fd = netlink::open(protocol, path.as_ns().as_ref());
    Ok(Reply(fd.map(|fd| Value(fd.into_raw_fd()))))
}

#[rustler::nif(schedule = "DirtyIo")]
fn netlink_bind_fd(fd: i32, groups: u32) -> NifResult<Reply<()>> {
    Ok(Reply(netlink::bind_number(fd, groups)))
}

#[rustler::nif(schedule = "DirtyIo")]
fn netlink_close_fd(fd: i32) -> rustler::Atom {
    netlink::close_number(fd);
    rustler::types::atom::ok()
}

/// A namespace file held open, for a request that names its descriptor.
struct NamespaceResource(Mutex<Option<Namespace>>);

#[rustler::resource_impl]
impl Resource for NamespaceResource {}

/// `{:ok, namespace, fd}`: the number is good until the namespace is released or collected.
#[rustler::nif(schedule = "DirtyIo")]
fn netns_open<'a>(env: Env<'a>, target: Target) -> NifResult<Term<'a>> {
    let opened = match target.as_ns() {
        Some(target) => target.open(Kind::Net, Stage::Open),
        None => Namespace::own(Kind::Net, Stage::Open),
    };
    Ok(match opened {
        Ok(namespace) => {
            let number = namespace.file().as_raw_fd();
            let resource = ResourceArc::new(NamespaceResource(Mutex::new(Some(namespace))));
            (rustler::types::atom::ok(), resource, number).encode(env)
        }
        Err(fault) => Reply::<()>(Err(fault)).encode(env),
    })
}

#[rustler::nif]
fn netns_release(namespace: ResourceArc<NamespaceResource>) -> rustler::Atom {
    drop(lock(&namespace.0).take());
    rustler::types::atom::ok()
}

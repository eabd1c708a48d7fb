//! The NIFs of `Linx.Tty`: descriptor numbers for the plain calls, a resource for a terminal that
//! is taken over.

use linx_sys::tty::{self, Disposition, Input, Saved, Terminal, WindowSize};
use rustler::types::atom;
use rustler::{
    Binary, Encoder, Env, Error, LocalPid, NewBinary, NifResult, OwnedEnv, Resource, ResourceArc,
    Term,
};

use crate::reply::{Reply, Value};

mod atoms {
    rustler::atoms! { linx_tty, data, eof, default, ignore, handle, sigwinch, sigcont }
}

/// `{rows, cols, xpixel, ypixel}`
type Size = (u16, u16, u16, u16);

/// rustler's decoder of u16 truncates a larger number; this one refuses it.
fn size_of((rows, cols, xpixel, ypixel): (u32, u32, u32, u32)) -> NifResult<WindowSize> {
    let field = |n: u32| u16::try_from(n).map_err(|_| Error::BadArg);
    Ok(WindowSize {
        rows: field(rows)?,
        cols: field(cols)?,
        xpixel: field(xpixel)?,
        ypixel: field(ypixel)?,
    })
}

fn size_term(size: WindowSize) -> Value<Size> {
    Value((size.rows, size.cols, size.xpixel, size.ypixel))
}

struct Bytes(Vec<u8>);

impl Encoder for Bytes {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        binary(env, &self.0)
    }
}

fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(bytes);
    binary.into()
}

#[rustler::nif]
fn tty_version(env: Env<'_>) -> Term<'_> {
    binary(env, b"linx_tty")
}

#[rustler::nif(schedule = "DirtyIo")]
fn tty_open_raw() -> Reply<Value<(i32, Bytes)>> {
    Reply(tty::open_raw().map(|(fd, saved)| Value((fd, Bytes(saved.to_bytes())))))
}

#[rustler::nif(schedule = "DirtyIo")]
fn tty_restore(fd: i32, saved: Binary) -> NifResult<Reply<()>> {
    match Saved::from_bytes(saved.as_slice()) {
        Some(saved) => Ok(Reply(tty::restore(fd, &saved))),
        // The terminal is closed already, so there is nothing to restore.
        None if !tty::is_open(fd) => Ok(Reply(Ok(()))),
        None => Err(Error::BadArg),
    }
}

#[rustler::nif(schedule = "DirtyIo")]
fn tty_window_size(fd: i32) -> Reply<Value<Size>> {
    Reply(tty::window_size(fd).map(size_term))
}

#[rustler::nif(schedule = "DirtyIo")]
fn tty_set_window_size(fd: i32, size: (u32, u32, u32, u32)) -> NifResult<Reply<()>> {
    let size = size_of(size)?;
    Ok(Reply(tty::set_window_size(fd, size)))
}

/// `:default | :ignore | :handle`: the argument of `os:set_signal/2` with the same effect.
#[rustler::nif]
fn tty_signal_disposition(signal: rustler::Atom) -> NifResult<rustler::Atom> {
    let signals = [
        (atoms::sigwinch(), tty::SIGWINCH),
        (atoms::sigcont(), tty::SIGCONT),
    ];
    let known = signals.iter().find(|(name, _)| *name == signal);
    match known.and_then(|(_, number)| tty::disposition(*number)) {
        Some(Disposition::Default) => Ok(atoms::default()),
        Some(Disposition::Ignore) => Ok(atoms::ignore()),
        Some(Disposition::Handle) => Ok(atoms::handle()),
        None => Err(Error::BadArg),
    }
}

pub struct TerminalResource(Terminal);

#[rustler::resource_impl]
impl Resource for TerminalResource {}

/// `standard`: only if the VM's standard input and output are this terminal.
#[rustler::nif(schedule = "DirtyIo")]
fn terminal_open(standard: bool) -> Reply<Value<ResourceArc<TerminalResource>>> {
    Reply(
        Terminal::open(standard)
            .map(|terminal| Value(ResourceArc::new(TerminalResource(terminal)))),
    )
}

/// Sends input to `pid` as `{:linx_tty, id, {:data, bytes}}`, one message for each `terminal_want`,
/// and at the end `{:linx_tty, id, :eof}`.
#[rustler::nif(schedule = "DirtyIo")]
fn terminal_start(terminal: ResourceArc<TerminalResource>, pid: LocalPid, id: u64) -> Reply<()> {
    Reply(terminal.0.start(move |input| {
        OwnedEnv::new()
            .send_and_clear(&pid, |env| match input {
                Input::Bytes(bytes) => {
                    let data = (atoms::data(), binary(env, bytes));
                    (atoms::linx_tty(), id, data).encode(env)
                }
                Input::End => (atoms::linx_tty(), id, atoms::eof()).encode(env),
            })
            .is_ok()
    }))
}

#[rustler::nif]
fn terminal_want(terminal: ResourceArc<TerminalResource>) -> rustler::Atom {
    terminal.0.want();
    atom::ok()
}

#[rustler::nif(schedule = "DirtyIo")]
fn terminal_write(terminal: ResourceArc<TerminalResource>, bytes: Binary) -> Reply<()> {
    Reply(terminal.0.write(bytes.as_slice()))
}

#[rustler::nif(schedule = "DirtyIo")]
fn terminal_window_size(terminal: ResourceArc<TerminalResource>) -> Reply<Value<Size>> {
    Reply(terminal.0.window_size().map(size_term))
}

#[rustler::nif(schedule = "DirtyIo")]
fn terminal_reapply(terminal: ResourceArc<TerminalResource>) -> Reply<()> {
    Reply(terminal.0.reapply())
}

#[rustler::nif(schedule = "DirtyIo")]
fn terminal_close(terminal: ResourceArc<TerminalResource>) -> Reply<()> {
    Reply(terminal.0.close())
}

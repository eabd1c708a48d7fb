//! mount(2), umount2(2), pivot_root(2), here or elsewhere.

use std::ffi::CString;

use linx_sys::job::{Job, Outcome};
use linx_sys::mount::{Lookup, Mount, PivotRoot, Umount};
use linx_sys::{Fault, mount, ns};
use rustler::{Binary, Error, NifResult};

use crate::reply::Reply;
use crate::target::Places;

/// `{root, no_symlinks}`
type LookupTerm<'a> = (Binary<'a>, bool);

#[rustler::nif]
fn nif_version() -> &'static str {
    "linx_nif"
}

#[rustler::nif(schedule = "DirtyIo")]
fn mount_mount(
    program: Binary,
    places: Places,
    what: (Binary, Binary, Binary, u32, Binary),
    create: bool,
    lookup: LookupTerm,
) -> NifResult<Reply<()>> {
    let (source, target, fstype, flags, data) = what;
    let request = Mount {
        source: text(&source)?,
        target: text(&target)?,
        fstype: text(&fstype)?,
        flags,
        data: text(&data)?,
        create,
        lookup: decode_lookup(&places, lookup)?,
    };
    if request.lookup.is_plain() {
        return Ok(Reply(mount::mount_plainly(&request)));
    }
    Ok(done(places.run(&program, &Job::Mount(request))))
}

#[rustler::nif(schedule = "DirtyIo")]
fn mount_umount(
    program: Binary,
    places: Places,
    target: Binary,
    flags: u32,
    lookup: LookupTerm,
) -> NifResult<Reply<()>> {
    let request = Umount {
        target: text(&target)?,
        flags,
        lookup: decode_lookup(&places, lookup)?,
    };
    if request.lookup.is_plain() {
        return Ok(Reply(mount::umount_plainly(&request)));
    }
    Ok(done(places.run(&program, &Job::Umount(request))))
}

#[rustler::nif(schedule = "DirtyIo")]
fn mount_pivot_root(
    program: Binary,
    places: Places,
    new_root: Binary,
    put_old: Binary,
) -> NifResult<Reply<()>> {
    let request = PivotRoot {
        new_root: text(&new_root)?,
        put_old: text(&put_old)?,
    };
    if places.are_ours() {
        return Ok(Reply(ns::run_in(&[], || {
            mount::pivot_root_plainly(&request)
        })));
    }
    Ok(done(places.run(&program, &Job::PivotRoot(request))))
}

fn done(outcome: Result<Outcome, Fault>) -> Reply<()> {
    Reply(outcome.map(|_| ()))
}

fn decode_lookup(places: &Places, (root, no_symlinks): LookupTerm) -> NifResult<Lookup> {
    Ok(Lookup {
        root: text(&root)?,
        no_symlinks,
        foreign: !places.are_ours(),
    })
}

/// No path holds a NUL; the Elixir side has said so already.
fn text(bytes: &Binary) -> NifResult<CString> {
    CString::new(bytes.as_slice()).map_err(|_| Error::BadArg)
}

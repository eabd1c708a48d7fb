//! The NIFs of `Linx.Mount`: mount(2), umount2(2), pivot_root(2) and mount_setattr(2), in the VM's
//! namespaces or in others.

use std::ffi::CString;

use linx_sys::job::{Job, Outcome};
use linx_sys::mount::{Attributes, Bind, Lookup, Mount, PivotRoot, Setattr, Umount};
use linx_sys::{Fault, mount, ns};
use rustler::{Binary, Env, Error, NifResult, Term};

use crate::target::{Places, Target};
use crate::work::work;

/// The pool's place of jobs in the VM's own namespaces.
const HERE: u64 = 0;

/// `{root, no_symlinks}`
type LookupTerm<'a> = (Binary<'a>, bool);

#[rustler::nif]
fn nif_version() -> &'static str {
    "linx_nif"
}

#[rustler::nif(schedule = "DirtyIo")]
fn mount_mount<'a>(
    env: Env<'a>,
    agent: Binary,
    places: Places,
    what: (Binary, Binary, Binary, u32, Binary),
    create: bool,
    lookup: LookupTerm,
) -> NifResult<Term<'a>> {
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
        return Ok(work(env, HERE, move || mount::mount_plainly(&request)));
    }
    Ok(places.work(env, &agent, Job::Mount(request), done))
}

#[rustler::nif(schedule = "DirtyIo")]
fn mount_umount<'a>(
    env: Env<'a>,
    agent: Binary,
    places: Places,
    target: Binary,
    flags: u32,
    lookup: LookupTerm,
) -> NifResult<Term<'a>> {
    let request = Umount {
        target: text(&target)?,
        flags,
        lookup: decode_lookup(&places, lookup)?,
    };
    if request.lookup.is_plain() {
        return Ok(work(env, HERE, move || mount::umount_plainly(&request)));
    }
    Ok(places.work(env, &agent, Job::Umount(request), done))
}

#[rustler::nif(schedule = "DirtyIo")]
fn mount_pivot_root<'a>(
    env: Env<'a>,
    agent: Binary,
    places: Places,
    new_root: Binary,
    put_old: Binary,
) -> NifResult<Term<'a>> {
    let request = PivotRoot {
        new_root: text(&new_root)?,
        put_old: text(&put_old)?,
    };
    if places.are_ours() {
        return Ok(work(env, HERE, move || {
            ns::run_in(&[], || mount::pivot_root_plainly(&request))
        }));
    }
    Ok(places.work(env, &agent, Job::PivotRoot(request), done))
}

type AttributesTerm = (u64, u64, u64, bool);

/// A bind mount with its attributes from the start. `idmap` names the user namespace of its
/// mapping, `""` for none.
#[rustler::nif(schedule = "DirtyIo")]
fn mount_bind<'a>(
    env: Env<'a>,
    agent: Binary,
    places: Places,
    (source, target, create): (Binary, Binary, bool),
    attributes: AttributesTerm,
    idmap: Target,
    lookup: LookupTerm,
) -> NifResult<Term<'a>> {
    let request = Bind {
        source: text(&source)?,
        target: text(&target)?,
        attributes: decode_attributes(attributes),
        create,
        lookup: decode_lookup(&places, lookup)?,
    };
    if request.lookup.is_plain() {
        return Ok(work(env, HERE, move || {
            mount::bind_plainly(&request, idmap.user_namespace()?.as_ref())
        }));
    }
    let places = places.with_idmap(idmap);
    Ok(places.work(env, &agent, Job::Bind(request), done))
}

#[rustler::nif(schedule = "DirtyIo")]
fn mount_setattr<'a>(
    env: Env<'a>,
    agent: Binary,
    places: Places,
    target: Binary,
    attributes: AttributesTerm,
    idmap: Target,
    lookup: LookupTerm,
) -> NifResult<Term<'a>> {
    let request = Setattr {
        target: text(&target)?,
        attributes: decode_attributes(attributes),
        lookup: decode_lookup(&places, lookup)?,
    };
    if request.lookup.is_plain() {
        return Ok(work(env, HERE, move || {
            mount::setattr_plainly(&request, idmap.user_namespace()?.as_ref())
        }));
    }
    let places = places.with_idmap(idmap);
    Ok(places.work(env, &agent, Job::Setattr(request), done))
}

fn decode_attributes((set, clear, propagation, recursive): AttributesTerm) -> Attributes {
    Attributes {
        set,
        clear,
        propagation,
        recursive,
    }
}

fn done(outcome: Result<Outcome, Fault>) -> Result<(), Fault> {
    outcome.map(|_| ())
}

fn decode_lookup(places: &Places, (root, no_symlinks): LookupTerm) -> NifResult<Lookup> {
    Ok(Lookup {
        root: text(&root)?,
        no_symlinks,
        foreign: !places.are_ours(),
    })
}

/// No path holds a NUL: the Elixir side has checked that.
fn text(bytes: &Binary) -> NifResult<CString> {
    CString::new(bytes.as_slice()).map_err(|_| Error::BadArg)
}

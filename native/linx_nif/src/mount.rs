//! mount(2), umount2(2), pivot_root(2), here or elsewhere.

use std::ffi::CString;
use std::time::Duration;

use linx_sys::job::Job;
use linx_sys::mount::{Lookup, Mount, PivotRoot, Umount};
use linx_sys::work::Work;
use linx_sys::{Fault, mount, ns};
use rustler::env::OwnedEnv;
use rustler::{Binary, Encoder, Env, Error, NifResult, Term, atoms};

use crate::reply::Reply;
use crate::target::{self, Places};

atoms! { pending }

/// How long a dirty scheduler waits. There are few of them and all file operations of the VM need them.
const PATIENCE: Duration = Duration::from_millis(250);

/// `{root, no_symlinks}`
type LookupTerm<'a> = (Binary<'a>, bool);

#[rustler::nif]
fn nif_version() -> &'static str {
    "linx_nif"
}

#[rustler::nif(schedule = "DirtyIo")]
fn mount_mount<'a>(
    env: Env<'a>,
    program: Binary,
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
        return Ok(work(env, move || mount::mount_plainly(&request)));
    }
    Ok(work_there(env, &program, places, Job::Mount(request)))
}

#[rustler::nif(schedule = "DirtyIo")]
fn mount_umount<'a>(
    env: Env<'a>,
    program: Binary,
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
        return Ok(work(env, move || mount::umount_plainly(&request)));
    }
    Ok(work_there(env, &program, places, Job::Umount(request)))
}

#[rustler::nif(schedule = "DirtyIo")]
fn mount_pivot_root<'a>(
    env: Env<'a>,
    program: Binary,
    places: Places,
    new_root: Binary,
    put_old: Binary,
) -> NifResult<Term<'a>> {
    let request = PivotRoot {
        new_root: text(&new_root)?,
        put_old: text(&put_old)?,
    };
    if places.are_ours() {
        return Ok(work(env, move || {
            ns::run_in(&[], || mount::pivot_root_plainly(&request))
        }));
    }
    Ok(work_there(env, &program, places, Job::PivotRoot(request)))
}

fn work_there<'a>(env: Env<'a>, program: &Binary, places: Places, job: Job) -> Term<'a> {
    let program = target::path(program);
    work(env, move || {
        places.run_on_this_thread(&program, &job).map(|_| ())
    })
}

/// What comes of `job`; or, where that takes long, `{:pending, reference}`, and `{reference, answer}` is sent to the
/// caller when it is known.
fn work<'a>(env: Env<'a>, job: impl FnOnce() -> Result<(), Fault> + Send + 'static) -> Term<'a> {
    let running = match Work::start(job) {
        Ok(running) => running,
        Err(fault) => return Reply::<()>(Err(fault)).encode(env),
    };
    let caller = env.pid();
    let reference = env.make_ref();
    let answer = running.wait(PATIENCE, || {
        let mut letter = OwnedEnv::new();
        let reference = letter.save(reference);
        move |answer| {
            // A caller that has ended needs no answer.
            let _sent = letter.send_and_clear(&caller, |env| (reference.load(env), Reply(answer)));
        }
    });
    match answer {
        Some(answer) => Reply(answer).encode(env),
        None => (pending(), reference).encode(env),
    }
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

//! A program in memory that nobody can write to.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create};

use crate::fault::{Fault, Stage};

/// Copies the file at `path` to a `memfd_create(2)` that can be executed by its owner and changed by nobody, root
/// included: whoever runs it may be in a container whose root would overwrite a plain file (CVE-2019-5736).
pub fn sealed_copy(path: &Path) -> Result<OwnedFd, Fault> {
    let mut source = File::open(path).map_err(Stage::Open.errno())?;
    let image = memfd_create(
        c"linx_process",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::EXEC,
    )
    .map_err(Stage::Create.errno())?;
    let mut target = File::from(image);
    io::copy(&mut source, &mut target).map_err(Stage::Write.errno())?;
    let image = OwnedFd::from(target);
    fchmod(&image, Mode::RUSR | Mode::XUSR).map_err(Stage::Create.errno())?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&image, seals).map_err(Stage::Create.errno())?;
    Ok(image)
}

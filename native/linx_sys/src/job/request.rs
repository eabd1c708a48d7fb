//! Jobs and outcomes, and their encoding between the VM and the agent.

use std::ffi::CString;

use crate::fault::{Fault, Stage};
use crate::job_message::{Reader, Writer};
use crate::mount::{Bind, Mount, PivotRoot, Setattr, Umount};
use crate::sysctl;

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    Mount(Mount),
    Umount(Umount),
    PivotRoot(PivotRoot),
    SysctlRead(Vec<CString>),
    SysctlWrite(Vec<CString>, Vec<u8>),
    SysctlList(Vec<CString>),
    /// A netlink socket of this protocol, returned as a descriptor.
    NetlinkSocket(u32),
    Bind(Bind),
    Setattr(Setattr),
}

/// The outcome of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Bytes(Vec<u8>),
    Entries(Vec<sysctl::Entry>),
}

pub fn encode_job(job: &Job) -> Vec<u8> {
    let mut w = Writer::default();
    match job {
        Job::Mount(request) => {
            w.number(0);
            w.text(&request.source);
            w.text(&request.target);
            w.text(&request.fstype);
            w.number(request.flags);
            w.text(&request.data);
            w.number(u32::from(request.create));
            w.lookup(&request.lookup);
        }
        Job::Umount(request) => {
            w.number(1);
            w.text(&request.target);
            w.number(request.flags);
            w.lookup(&request.lookup);
        }
        Job::PivotRoot(request) => {
            w.number(2);
            w.text(&request.new_root);
            w.text(&request.put_old);
        }
        Job::SysctlRead(paths) => {
            w.number(3);
            w.texts(paths);
        }
        Job::SysctlWrite(paths, data) => {
            w.number(4);
            w.texts(paths);
            w.bytes(data);
        }
        Job::SysctlList(paths) => {
            w.number(5);
            w.texts(paths);
        }
        Job::NetlinkSocket(protocol) => {
            w.number(6);
            w.number(*protocol);
        }
        Job::Bind(request) => {
            w.number(7);
            w.text(&request.source);
            w.text(&request.target);
            w.attributes(&request.attributes);
            w.number(u32::from(request.create));
            w.lookup(&request.lookup);
        }
        Job::Setattr(request) => {
            w.number(8);
            w.text(&request.target);
            w.attributes(&request.attributes);
            w.lookup(&request.lookup);
        }
    }
    w.into_bytes()
}

/// Decodes a job; None for bytes that [`encode_job`] does not write.
pub fn decode_job(bytes: &[u8]) -> Option<Job> {
    let mut r = Reader::new(bytes);
    let job = match r.number()? {
        0 => Job::Mount(Mount {
            source: r.text()?,
            target: r.text()?,
            fstype: r.text()?,
            flags: r.number()?,
            data: r.text()?,
            create: r.number()? != 0,
            lookup: r.lookup()?,
        }),
        1 => Job::Umount(Umount {
            target: r.text()?,
            flags: r.number()?,
            lookup: r.lookup()?,
        }),
        2 => Job::PivotRoot(PivotRoot {
            new_root: r.text()?,
            put_old: r.text()?,
        }),
        3 => Job::SysctlRead(r.texts()?),
        4 => Job::SysctlWrite(r.texts()?, r.bytes()?.to_vec()),
        5 => Job::SysctlList(r.texts()?),
        6 => Job::NetlinkSocket(r.number()?),
        7 => Job::Bind(Bind {
            source: r.text()?,
            target: r.text()?,
            attributes: r.attributes()?,
            create: r.number()? != 0,
            lookup: r.lookup()?,
        }),
        8 => Job::Setattr(Setattr {
            target: r.text()?,
            attributes: r.attributes()?,
            lookup: r.lookup()?,
        }),
        _ => return None,
    };
    r.end().then_some(job)
}

pub fn encode_answer(answer: &Result<Outcome, Fault>) -> Vec<u8> {
    let mut w = Writer::default();
    match answer {
        Err(fault) => {
            let stage = Stage::ALL.iter().position(|stage| *stage == fault.stage);
            w.number(0);
            w.number(
                stage
                    .and_then(|at| u32::try_from(at).ok())
                    .unwrap_or(u32::MAX),
            );
            w.number(fault.errno.unsigned_abs());
        }
        Ok(Outcome::Done) => w.number(1),
        Ok(Outcome::Bytes(bytes)) => {
            w.number(2);
            w.bytes(bytes);
        }
        Ok(Outcome::Entries(entries)) => {
            w.number(3);
            w.number(u32::try_from(entries.len()).unwrap_or(0));
            for (path, value) in entries {
                w.bytes(path);
                w.bytes(value);
            }
        }
    }
    w.into_bytes()
}

/// Decodes an answer, which comes from other namespaces; None for bytes that [`encode_answer`] does
/// not write.
pub fn decode_answer(bytes: &[u8]) -> Option<Result<Outcome, Fault>> {
    let mut r = Reader::new(bytes);
    let answer = match r.number()? {
        0 => {
            let stage = *Stage::ALL.get(r.number()? as usize)?;
            Err(stage.fault(i32::try_from(r.number()?).ok()?))
        }
        1 => Ok(Outcome::Done),
        2 => Ok(Outcome::Bytes(r.bytes()?.to_vec())),
        3 => {
            let count = r.number()?;
            let mut entries = Vec::new();
            for _ in 0..count {
                entries.push((r.bytes()?.to_vec(), r.bytes()?.to_vec()));
            }
            Ok(Outcome::Entries(entries))
        }
        _ => return None,
    };
    r.end().then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::{Attributes, Lookup};

    fn jobs() -> Vec<Job> {
        let lookup = Lookup {
            root: c"/srv/root".into(),
            no_symlinks: true,
            foreign: true,
        };
        let attributes = Attributes {
            set: 0x20_0001,
            clear: 1 << 40,
            propagation: 1 << 18,
            recursive: true,
        };
        vec![
            Job::Bind(Bind {
                source: c"/a".into(),
                target: c"/b".into(),
                attributes,
                create: true,
                lookup: lookup.clone(),
            }),
            Job::Setattr(Setattr {
                target: c"/b".into(),
                attributes,
                lookup: lookup.clone(),
            }),
            Job::Mount(Mount {
                source: c"tmpfs".into(),
                target: c"/mnt".into(),
                fstype: c"tmpfs".into(),
                flags: 7,
                data: c"size=1M".into(),
                create: true,
                lookup: lookup.clone(),
            }),
            Job::Umount(Umount {
                target: c"/mnt".into(),
                flags: 2,
                lookup,
            }),
            Job::PivotRoot(PivotRoot {
                new_root: c"/a".into(),
                put_old: c"/a/b".into(),
            }),
            Job::SysctlRead(vec![c"kernel/ostype".into()]),
            Job::SysctlWrite(vec![c"a/b".into(), c"a.b".into()], b"1".to_vec()),
            Job::SysctlList(vec![c"".into()]),
            Job::NetlinkSocket(16),
        ]
    }

    #[test]
    fn a_job_survives_the_way_and_none_that_is_cut_does() {
        for job in jobs() {
            let bytes = encode_job(&job);
            assert_eq!(decode_job(&bytes), Some(job));
            for length in 0..bytes.len() {
                assert_eq!(decode_job(&bytes[..length]), None);
            }
        }
    }

    #[test]
    fn an_answer_survives_the_way_and_none_that_is_cut_does() {
        let answers = [
            Ok(Outcome::Done),
            Ok(Outcome::Bytes(b"Linux\n".to_vec())),
            Ok(Outcome::Entries(vec![(b"a/b".to_vec(), b"1".to_vec())])),
            Err(Stage::Mount.fault(libc::EBUSY)),
        ];
        for answer in answers {
            let bytes = encode_answer(&answer);
            assert_eq!(decode_answer(&bytes), Some(answer));
            for length in 0..bytes.len() {
                assert_eq!(decode_answer(&bytes[..length]), None);
            }
        }
    }
}

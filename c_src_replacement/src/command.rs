//! The commands of the VM after the request.

use crate::etf::{Malformed, Reader, Result};
use crate::request::four;

#[derive(Debug)]
pub enum Command<'a> {
    Proceed,
    Abort,
    /// Kill all processes of the session, then report.
    Kill,
    Signal {
        /// The number of the command, repeated in the reply.
        id: u64,
        signal: i32,
        to: Recipient,
    },
    /// The milliseconds that the workload's descendants have to end by themselves.
    Grace(u64),
    /// Bytes for the terminal or the standard input.
    Write(&'a [u8]),
    CloseStdin,
    Winsize([u16; 4]),
    /// The number of further bytes of output that the agent may send.
    Credit(u64),
    DropBounding(u64),
    SetThreadSets([u64; 3]),
    SetAmbient(u64),
    Seccomp(&'a [u8]),
}

/// The recipient of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    Workload,
    /// The process group that the workload leads.
    Group,
    /// The workload and its descendants.
    Tree,
}

impl Recipient {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        match reader.atom()? {
            b"workload" => Ok(Self::Workload),
            b"group" => Ok(Self::Group),
            b"tree" => Ok(Self::Tree),
            _ => Err(Malformed),
        }
    }
}

impl<'a> Command<'a> {
    pub fn decode(frame: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(frame)?;
        let command = if reader.at_tuple() {
            let arity = reader.tuple()?;
            Self::decode_tuple(arity, &mut reader)?
        } else {
            match reader.atom()? {
                b"proceed" => Command::Proceed,
                b"abort" => Command::Abort,
                b"kill" => Command::Kill,
                b"close_stdin" => Command::CloseStdin,
                _ => return Err(Malformed),
            }
        };
        reader.end()?;
        Ok(command)
    }

    fn decode_tuple(arity: usize, reader: &mut Reader<'a>) -> Result<Self> {
        Ok(match (arity, reader.atom()?) {
            (4, b"signal") => Command::Signal {
                id: reader.int()?,
                signal: reader.int()?,
                to: Recipient::decode(reader)?,
            },
            (2, b"grace") => Command::Grace(reader.int()?),
            (2, b"write") => Command::Write(reader.binary()?),
            (5, b"winsize") => Command::Winsize(four(4, reader)?),
            (2, b"credit") => Command::Credit(reader.int()?),
            (2, b"drop_bounding") => Command::DropBounding(reader.int()?),
            (4, b"set_thread_sets") => {
                Command::SetThreadSets([reader.int()?, reader.int()?, reader.int()?])
            }
            (2, b"set_ambient") => Command::SetAmbient(reader.int()?),
            (2, b"seccomp") => Command::Seccomp(reader.binary()?),
            _ => return Err(Malformed),
        })
    }
}

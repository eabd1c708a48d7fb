//! What the VM may say once the session is on its way.

use crate::etf::{Malformed, Reader, Result};
use crate::request::four;

#[derive(Debug)]
pub enum Command<'a> {
    Proceed,
    Abort,
    /// End everything, then report.
    Kill,
    Signal(i32),
    /// Bytes for the pty or the standard input.
    Write(&'a [u8]),
    CloseStdin,
    Winsize([u16; 4]),
    /// So many more bytes of output may be sent.
    Credit(u64),
    DropBounding(u64),
    SetThreadSets([u64; 3]),
    SetAmbient(u64),
    Seccomp(&'a [u8]),
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
            (2, b"signal") => Command::Signal(reader.int()?),
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

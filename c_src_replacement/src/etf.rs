//! The part of the external term format that the control channel uses.
//!
//! The reader walks a frame with a cursor and borrows from it. It accepts any input: every length
//! is compared with the remaining bytes before use, there is no recursion, and no received number
//! sizes an allocation.
//!
//! Source: the "External Term Format" chapter of ERTS.

/// The error of a frame that the control channel does not define.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

pub type Result<T> = std::result::Result<T, Malformed>;

const VERSION: u8 = 131;
const SMALL_INTEGER: u8 = 97;
const INTEGER: u8 = 98;
const ATOM: u8 = 100;
const SMALL_TUPLE: u8 = 104;
const LARGE_TUPLE: u8 = 105;
const NIL: u8 = 106;
const STRING: u8 = 107;
const LIST: u8 = 108;
const BINARY: u8 = 109;
const SMALL_BIG: u8 = 110;
const SMALL_ATOM: u8 = 115;
const MAP: u8 = 116;
const ATOM_UTF8: u8 = 118;
const SMALL_ATOM_UTF8: u8 = 119;

/// A cursor over one frame.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Takes a whole frame, version byte included.
    pub fn new(frame: &'a [u8]) -> Result<Self> {
        match frame.split_first() {
            Some((&VERSION, rest)) => Ok(Self { rest }),
            _ => Err(Malformed),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn short(&mut self) -> Result<usize> {
        self.array().map(|bytes| u16::from_be_bytes(bytes).into())
    }

    fn long(&mut self) -> Result<usize> {
        self.array().map(|bytes| u32::from_be_bytes(bytes) as usize)
    }

    fn peek(&self) -> Result<u8> {
        self.rest.first().copied().ok_or(Malformed)
    }

    /// The number of elements that follow.
    pub fn tuple(&mut self) -> Result<usize> {
        match self.byte()? {
            SMALL_TUPLE => self.byte().map(usize::from),
            LARGE_TUPLE => self.long(),
            _ => Err(Malformed),
        }
    }

    /// Whether a tuple is next.
    pub fn at_tuple(&self) -> bool {
        matches!(self.peek(), Ok(SMALL_TUPLE | LARGE_TUPLE))
    }

    /// The number of pairs that follow.
    pub fn map(&mut self) -> Result<usize> {
        match self.byte()? {
            MAP => self.long(),
            _ => Err(Malformed),
        }
    }

    /// An atom's text.
    pub fn atom(&mut self) -> Result<&'a [u8]> {
        let length = match self.byte()? {
            SMALL_ATOM_UTF8 | SMALL_ATOM => self.byte()?.into(),
            ATOM_UTF8 | ATOM => self.short()?,
            _ => return Err(Malformed),
        };
        self.take(length)
    }

    pub fn boolean(&mut self) -> Result<bool> {
        match self.atom()? {
            b"true" => Ok(true),
            b"false" => Ok(false),
            _ => Err(Malformed),
        }
    }

    /// An integer of at most 64 bits and a sign.
    pub fn integer(&mut self) -> Result<i128> {
        match self.byte()? {
            SMALL_INTEGER => self.byte().map(i128::from),
            INTEGER => self.array().map(|bytes| i32::from_be_bytes(bytes).into()),
            SMALL_BIG => {
                let length = self.byte()?;
                let sign = self.byte()?;
                if length > 8 || sign > 1 {
                    return Err(Malformed);
                }
                let magnitude = self
                    .take(length.into())?
                    .iter()
                    .rev()
                    .fold(0i128, |sum, &byte| (sum << 8) | i128::from(byte));
                Ok(if sign == 1 { -magnitude } else { magnitude })
            }
            _ => Err(Malformed),
        }
    }

    /// An integer that fits in `T`.
    pub fn int<T: TryFrom<i128>>(&mut self) -> Result<T> {
        self.integer()?.try_into().map_err(|_| Malformed)
    }

    pub fn binary(&mut self) -> Result<&'a [u8]> {
        match self.byte()? {
            BINARY => {
                let length = self.long()?;
                self.take(length)
            }
            _ => Err(Malformed),
        }
    }

    /// Calls `element` for each element of a proper list. Erlang encodes a list of small integers
    /// as a string; [`Reader::integers`] reads both forms.
    pub fn list(&mut self, mut element: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        match self.byte()? {
            NIL => Ok(()),
            LIST => {
                for _ in 0..self.long()? {
                    element(self)?;
                }
                if self.byte()? == NIL {
                    Ok(())
                } else {
                    Err(Malformed)
                }
            }
            _ => Err(Malformed),
        }
    }

    /// A list of integers in either of its two forms.
    pub fn integers<T: TryFrom<i128>>(&mut self) -> Result<Vec<T>> {
        let mut integers = Vec::new();
        if self.peek()? == STRING {
            self.byte()?;
            let length = self.short()?;
            for &byte in self.take(length)? {
                integers.push(i128::from(byte).try_into().map_err(|_| Malformed)?);
            }
        } else {
            self.list(|reader| {
                integers.push(reader.int()?);
                Ok(())
            })?;
        }
        Ok(integers)
    }

    /// Checks that the frame ends here.
    pub fn end(&self) -> Result<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// Appends a term to a buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Starts a term: writes the version byte.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(VERSION);
        Self { out }
    }

    pub fn tuple(&mut self, arity: u8) -> &mut Self {
        self.out.extend([SMALL_TUPLE, arity]);
        self
    }

    /// Appends an atom whose name is shorter than 256 bytes.
    pub fn atom(&mut self, name: &str) -> &mut Self {
        self.out.extend([SMALL_ATOM_UTF8, name.len() as u8]);
        self.out.extend(name.as_bytes());
        self
    }

    pub fn int(&mut self, value: i64) -> &mut Self {
        match i32::try_from(value) {
            Ok(value) => {
                self.out.push(INTEGER);
                self.out.extend(value.to_be_bytes());
            }
            Err(_) => {
                self.out.extend([SMALL_BIG, 8, u8::from(value < 0)]);
                self.out.extend(value.unsigned_abs().to_le_bytes());
            }
        }
        self
    }

    /// The head of a binary whose bytes the caller appends.
    pub fn binary_head(&mut self, length: u32) -> &mut Self {
        self.out.push(BINARY);
        self.out.extend(length.to_be_bytes());
        self
    }
}

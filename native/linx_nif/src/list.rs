//! Decoding of lists.

use rustler::{Decoder, NifResult, Term};

/// A proper list of `T`; rustler's own `Vec` panics at the tail of an improper list.
#[derive(Debug)]
pub struct List<T>(pub Vec<T>);

impl<'a, T: Decoder<'a>> Decoder<'a> for List<T> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        term.list_length()?;
        term.decode().map(List)
    }
}

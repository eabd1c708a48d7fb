//! The encoding of a job and its answer between the VM and the agent: little-endian 32-bit numbers,
//! and bytes with their length before them.

use std::ffi::CString;

use crate::mount::{Attributes, Lookup};

#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub fn number(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// The inputs (paths, a page of data, a tree of sysctl keys) are far below the 4 GiB that a
    /// length can say.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(bytes);
    }

    pub fn text(&mut self, text: &CString) {
        self.bytes(text.as_bytes());
    }

    pub fn texts(&mut self, texts: &[CString]) {
        self.number(u32::try_from(texts.len()).unwrap_or(u32::MAX));
        for text in texts {
            self.text(text);
        }
    }

    pub fn lookup(&mut self, lookup: &Lookup) {
        self.text(&lookup.root);
        self.number(u32::from(lookup.no_symlinks));
        self.number(u32::from(lookup.foreign));
    }

    pub fn long(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub fn attributes(&mut self, attributes: &Attributes) {
        self.long(attributes.set);
        self.long(attributes.clear);
        self.long(attributes.propagation);
        self.number(u32::from(attributes.recursive));
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Reads what [`Writer`] wrote; None for bytes that are too short or no such value.
#[derive(Debug)]
pub(crate) struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    pub fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*number))
    }

    pub fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = self.number()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub fn text(&mut self) -> Option<CString> {
        CString::new(self.bytes()?).ok()
    }

    pub fn texts(&mut self) -> Option<Vec<CString>> {
        let count = self.number()?;
        let mut texts = Vec::new();
        for _ in 0..count {
            texts.push(self.text()?);
        }
        Some(texts)
    }

    pub fn lookup(&mut self) -> Option<Lookup> {
        Some(Lookup {
            root: self.text()?,
            no_symlinks: self.number()? != 0,
            foreign: self.number()? != 0,
        })
    }

    pub fn long(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    pub fn attributes(&mut self) -> Option<Attributes> {
        Some(Attributes {
            set: self.long()?,
            clear: self.long()?,
            propagation: self.long()?,
            recursive: self.number()? != 0,
        })
    }

    pub fn end(&self) -> bool {
        self.0.is_empty()
    }
}

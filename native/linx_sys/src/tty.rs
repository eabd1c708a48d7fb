//! Terminals: window sizes, saved and restored termios, and the takeover of the controlling
//! terminal.
//!
//! The plain calls work on descriptor numbers ([`open_raw`], [`restore`], [`window_size`]); a table
//! owns the descriptors of [`open_raw`], and the number is its key. [`Terminal`] owns its
//! descriptor, reads on a thread of its own and restores the terminal when it is dropped.

mod controlling;
mod disposition;
mod ioctl;
mod modes;
#[cfg(test)]
mod pair;
mod terminal;
mod window;

pub use disposition::{Disposition, SIGCONT, SIGWINCH, disposition};
pub use modes::{Saved, open_raw, restore};
pub use terminal::{Input, Terminal};
pub use window::{WindowSize, is_open, set_window_size, window_size};

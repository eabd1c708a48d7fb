//! Terminals: window sizes, termios saved and put back, and the controlling terminal taken over for a while.
//!
//! Two faces. The plain calls work on descriptor numbers ([`open_raw`], [`restore`], [`window_size`]); what [`open_raw`]
//! opens belongs to a table, of which the number is a view. [`Terminal`] owns its descriptor, reads on a thread of its own and puts the terminal back when it
//! is dropped.

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

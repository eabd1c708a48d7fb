//! Saved terminal settings, which the caller keeps as a binary.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linx_sys::tty::Saved;

fuzz_target!(|bytes: &[u8]| {
    if let Some(saved) = Saved::from_bytes(bytes) {
        assert_eq!(saved.to_bytes(), bytes);
    }
});

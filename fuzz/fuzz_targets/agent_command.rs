//! The frames after the request: commands.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linx_process::command::Command;

fuzz_target!(|frame: &[u8]| {
    let _ = Command::decode(frame);
});

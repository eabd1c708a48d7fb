//! The two files of /proc that the agent reads about its child, which chooses its own name in one
//! of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linx_process::wait::executed;

fuzz_target!(|bytes: &[u8]| {
    let _ = executed(bytes);
});

//! The first frame of the VM: the request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linx_process::request::Request;

fuzz_target!(|frame: &[u8]| {
    let _ = Request::decode(frame);
});

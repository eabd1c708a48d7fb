//! What the VM and a process in other namespaces say to each other: whatever is read is written back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linx_sys::job::{decode_answer, decode_job, encode_answer, encode_job};

fuzz_target!(|bytes: &[u8]| {
    if let Some(job) = decode_job(bytes) {
        assert_eq!(decode_job(&encode_job(&job)), Some(job));
    }
    if let Some(answer) = decode_answer(bytes) {
        assert_eq!(decode_answer(&encode_answer(&answer)), Some(answer));
    }
});

//! Jobs and answers between the VM and the agent: a decoded value is encoded to the same bytes.
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

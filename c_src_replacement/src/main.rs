//! The entry of the port program, without the standard library's own: that one sets up what a program of a single thread
//! has no use for.
#![no_main]

#[expect(unsafe_code, reason = "the name is the C library's")]
#[unsafe(no_mangle)]
pub extern "C" fn main() -> i32 {
    match linx_agent::run() {
        Ok(()) => 0,
        Err(errno) => errno.raw_os_error(),
    }
}

//! The entry of the port program, without the standard library's own: that one sets up what a program of a single thread
//! has no use for.
#![no_main]

#[expect(unsafe_code, reason = "the name is the C library's")]
#[unsafe(no_mangle)]
pub extern "C" fn main(arguments: i32) -> i32 {
    // The port starts it without an argument; with one it is to do a single job in other namespaces.
    let outcome = match arguments {
        0 | 1 => linx_agent::run(),
        _ => linx_agent::job::run(),
    };
    match outcome {
        Ok(()) => 0,
        Err(errno) => errno.raw_os_error(),
    }
}

//! The disposition of a signal.

/// The terminal signals that a VM handles: SIGWINCH and SIGCONT.
pub const SIGWINCH: i32 = libc::SIGWINCH;
pub const SIGCONT: i32 = libc::SIGCONT;

/// The dispositions of `sigaction(2)` that `os:set_signal/2` can restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    Default,
    Ignore,
    Handle,
}

/// The disposition of `signal`, unchanged; None if there is no such signal.
#[expect(unsafe_code, reason = "sigaction(2) fills a struct by pointer")]
pub fn disposition(signal: i32) -> Option<Disposition> {
    // SAFETY: sigaction is plain data, for which all zeroes is a value.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: the second argument is null, so nothing is changed; the third points to a struct that
    // lives through the call.
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut now) };
    (result == 0).then_some(match now.sa_sigaction {
        libc::SIG_DFL => Disposition::Default,
        libc::SIG_IGN => Disposition::Ignore,
        _ => Disposition::Handle,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_nobody_asked_for_has_the_default_and_no_signal_is_an_error() {
        assert_eq!(disposition(libc::SIGWINCH), Some(Disposition::Default));
        // The Rust runtime ignores SIGPIPE.
        assert_eq!(disposition(libc::SIGPIPE), Some(Disposition::Ignore));
        assert_eq!(disposition(0), None);
    }
}

//! Window sizes.

use std::os::fd::RawFd;

use super::ioctl::ioctl;
use crate::fault::{Fault, Stage};

/// `struct winsize` of `<asm-generic/termios.h>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    pub rows: u16,
    pub cols: u16,
    pub xpixel: u16,
    pub ypixel: u16,
}

/// `TIOCGWINSZ` of `ioctl_tty(2)`, on a number that may be no open descriptor.
pub fn window_size(fd: RawFd) -> Result<WindowSize, Fault> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    ioctl(fd, libc::TIOCGWINSZ, &mut size).map_err(Stage::Ioctl.errno())?;
    Ok(WindowSize {
        rows: size.ws_row,
        cols: size.ws_col,
        xpixel: size.ws_xpixel,
        ypixel: size.ws_ypixel,
    })
}

/// Whether the number is an open descriptor of any file.
pub fn is_open(fd: RawFd) -> bool {
    !matches!(window_size(fd), Err(fault) if fault.errno == libc::EBADF)
}

/// `TIOCSWINSZ` of `ioctl_tty(2)`. A change sends SIGWINCH to the terminal's foreground process
/// group.
pub fn set_window_size(fd: RawFd, size: WindowSize) -> Result<(), Fault> {
    let mut size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.cols,
        ws_xpixel: size.xpixel,
        ws_ypixel: size.ypixel,
    };
    ioctl(fd, libc::TIOCSWINSZ, &mut size).map_err(Stage::Ioctl.errno())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tty::pair::pair;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_number_is_open_or_not() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(is_open(file.as_raw_fd()));
        assert!(!is_open(-1));
        assert!(!is_open(i32::MAX));
    }

    #[test]
    fn a_size_is_read_as_it_was_set() {
        let (master, slave) = pair();
        let size = WindowSize {
            rows: 42,
            cols: 132,
            xpixel: 7,
            ypixel: u16::MAX,
        };
        set_window_size(master.as_raw_fd(), size).unwrap();
        assert_eq!(window_size(slave.as_raw_fd()), Ok(size));
        assert_eq!(window_size(-1), Err(Stage::Ioctl.fault(libc::EBADF)));
    }
}

//! The clocks of the two programs, and the form in which a result is printed for the table.

use std::time::{Duration, Instant};

fn cpu() -> Duration {
    cpu_of(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Prints the CPU time of another process in microseconds for each line of the input.
pub fn clock(pid: libc::pid_t) {
    let mut clock = 0;
    // SAFETY: clock_getcpuclockid writes one number.
    let status = unsafe { libc::clock_getcpuclockid(pid, &mut clock) };
    assert_eq!(status, 0);
    for line in std::io::stdin().lines() {
        line.expect("the input is text");
        println!("{}", cpu_of(clock).as_micros());
    }
}

fn cpu_of(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: clock_gettime fills the struct it is given.
    let status = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(status, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Wall and CPU clock.
pub struct Clock {
    cpu: Duration,
    wall: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self {
            cpu: cpu(),
            wall: Instant::now(),
        }
    }

    /// `case contender cpu_us wall_us count`
    pub fn report(self, case: &str, who: &str, count: usize) {
        let wall = self.wall.elapsed().as_micros();
        let cpu = (cpu() - self.cpu).as_micros();
        println!("{case}\t{who}\t{cpu}\t{wall}\t{count}");
    }
}

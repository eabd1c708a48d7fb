//! What the two programs share: the clocks, and how a result is printed for the table.

use std::time::{Duration, Instant};

fn cpu() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: clock_gettime fills the struct it is given.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
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

//! What the two programs share: the clocks, and how a result is printed for the table.

use std::time::{Duration, Instant};

fn cpu() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage fills the struct it is given.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
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

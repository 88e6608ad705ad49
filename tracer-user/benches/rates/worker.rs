//! The process that is traced: makes calls at a given rate.

use std::{
    io::{self, BufRead, Write},
    thread,
    time::{Duration, Instant},
};

/// Calls between two looks at the clock.
const CALLS: u64 = 64;
/// Pause when all calls that are due have been made.
const PAUSE: Duration = Duration::from_micros(500);

/// Waits for a line, makes `rate` calls a second for so many seconds, and says how many it made.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rate and time are positive, their product is far below 2^52"
)]
pub(crate) fn run(rate: f64, seconds: f64) -> io::Result<()> {
    io::stdin().lock().read_line(&mut String::new())?;
    let begun = Instant::now();
    let mut made = 0;
    loop {
        let elapsed = begun.elapsed().as_secs_f64();
        if elapsed >= seconds {
            break;
        }
        if made >= (elapsed * rate) as u64 {
            thread::sleep(PAUSE);
            continue;
        }
        for _ in 0..CALLS {
            // SAFETY: has no preconditions.
            unsafe { libc::syscall(libc::SYS_getppid) };
        }
        made += CALLS;
    }
    writeln!(io::stdout(), "{made}")
}

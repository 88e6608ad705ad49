//! Whether the threads of a trace run. A thread that panics ends, and all that it should have passed
//! on with it: the others must know, or they wait for it.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
};

/// The health of one thread; shared between it and who watches it.
#[derive(Debug, Default)]
pub struct Health {
    failure: OnceLock<String>,
}

impl Health {
    /// Runs the work of a thread, called `name`. `None` when it has panicked, which is kept and
    /// logged.
    pub(crate) fn guard<T>(&self, name: &str, work: impl FnOnce() -> T) -> Option<T> {
        // What the work has left half done is not used again but by who counts it as lost.
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => Some(result),
            Err(panic) => {
                let failure = format!("{name} has panicked: {}", message(&*panic));
                log::error!("{failure}");
                // The first failure is the one that explains the others.
                self.failure.get_or_init(|| failure);
                None
            }
        }
    }

    /// Why the thread has ended before it should; `None` while all is well.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

/// The text of a panic.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_panic_is_kept_with_its_words() {
        let health = Health::default();
        assert_eq!(health.guard("the thread", || 7), Some(7));
        assert_eq!(health.failure(), None);
        assert_eq!(health.guard("the thread", || panic!("number {}", 1)), None::<()>);
        assert_eq!(health.guard("the thread", || panic!("two")), None::<()>);
        assert_eq!(health.failure(), Some("the thread has panicked: number 1"));
    }
}

//! The exit codes of every Weir binary, and what a panic does to the process.
//!
//! Release builds abort on panic; without the hook installed here such a process would die of a signal, and
//! whoever supervises it would see 134 where the manual says 1.

use std::process::ExitCode;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked to, a signal to stop included.
    Graceful,
    /// Something failed at run time.
    Failure,
    /// The configuration or the command line is wrong; starting again does not help (`EX_USAGE`).
    BadConfiguration,
}

impl Exit {
    /// The number the parent process sees.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Graceful => 0,
            Self::Failure => 1,
            Self::BadConfiguration => 64,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// From here on a panic on any thread is logged and ends the process with [`Exit::Failure`].
///
/// No destructor runs: state that must survive has to be safe against a crash anyway.
pub fn on_panic() {
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let message = info
            .payload()
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| info.payload().downcast_ref::<String>().map(String::as_str))
            .unwrap_or("(no message)");
        let location = info
            .location()
            .map_or_else(|| "unknown place".to_owned(), ToString::to_string);
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            location,
            "panic: {message}; this is a bug, please report it with this line"
        );
        std::process::exit(i32::from(Exit::Failure.code()));
    }));
}

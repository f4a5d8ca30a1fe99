//! Names of Linux signals.

/// `arch/x86/include/uapi/asm/signal.h`, by number; arm64's are the same.
const NAMES: [&str; 32] = [
    "",
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// The name of a signal; empty for none, `SIGRT` for any real-time signal, whose names depend on the C library.
pub(crate) fn name(signal: u32) -> &'static str {
    let named = usize::try_from(signal).ok().and_then(|place| NAMES.get(place));
    named.copied().unwrap_or("SIGRT")
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names_of_well_known_signals_are_theirs() {
        assert_eq!(
            [name(0), name(9), name(11), name(15), name(31)],
            ["", "SIGKILL", "SIGSEGV", "SIGTERM", "SIGSYS"]
        );
        assert_eq!([name(32), name(64)], ["SIGRT", "SIGRT"]);
    }
}

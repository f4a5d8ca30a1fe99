//! The registry of event kinds: each one's name, class, severity and `CloudEvents` type.

/// What an event is about. The order of the variants is that of [`Kind::ALL`] and [`Kind::ordinal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A program was started.
    ProcessExec,
    /// A process ended.
    ProcessExit,
    /// A connect(2) got its result.
    NetConnect,
    /// An open(2) got its result.
    FileOpen,
    /// The node's ledger at a cut.
    AgentLedger,
    /// Sequence numbers that will never arrive.
    AgentLoss,
    /// What a profile does on the node changed.
    AgentProfile,
    /// The agent's own state changed.
    AgentHealth,
}

/// The closed set of areas an event can be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Processes and their lives.
    Process,
    /// Sockets and packets.
    Network,
    /// Files and mounts.
    File,
    /// The kernel itself: modules, programs.
    Kernel,
    /// Memory, devices, containers.
    System,
    /// What the agent says of itself.
    Agent,
}

/// How much attention an event asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Normal life.
    Info,
    /// Worth a look.
    Notice,
    /// Something is lost or wrong.
    Warning,
    /// Act now.
    Critical,
}

/// Everything that is fixed per kind.
struct Facts {
    name: &'static str,
    cloud_event_type: &'static str,
    class: Class,
    severity: Severity,
}

macro_rules! facts {
    ($name:literal, $class:ident, $severity:ident) => {
        Facts {
            name: $name,
            cloud_event_type: concat!("dev.weir.", $name, ".v1"),
            class: Class::$class,
            severity: Severity::$severity,
        }
    };
}

impl Kind {
    /// Every kind, by ordinal.
    pub const ALL: [Self; 8] = [
        Self::ProcessExec,
        Self::ProcessExit,
        Self::NetConnect,
        Self::FileOpen,
        Self::AgentLedger,
        Self::AgentLoss,
        Self::AgentProfile,
        Self::AgentHealth,
    ];

    const fn facts(self) -> Facts {
        match self {
            Self::ProcessExec => facts!("process.exec", Process, Info),
            Self::ProcessExit => facts!("process.exit", Process, Info),
            Self::NetConnect => facts!("net.connect", Network, Info),
            Self::FileOpen => facts!("file.open", File, Info),
            Self::AgentLedger => facts!("agent.ledger", Agent, Info),
            Self::AgentLoss => facts!("agent.loss", Agent, Warning),
            Self::AgentProfile => facts!("agent.profile", Agent, Notice),
            Self::AgentHealth => facts!("agent.health", Agent, Notice),
        }
    }

    /// The name in profiles, subjects and events, such as `process.exec`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The kind of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The area it belongs to.
    #[must_use]
    pub const fn class(self) -> Class {
        self.facts().class
    }

    /// How much attention it asks for.
    #[must_use]
    pub const fn severity(self) -> Severity {
        self.facts().severity
    }

    /// The `CloudEvents` type, `dev.weir.<kind>.v1`.
    #[must_use]
    pub const fn cloud_event_type(self) -> &'static str {
        self.facts().cloud_event_type
    }

    /// Its place in [`Kind::ALL`]: dense, for tables; not stable across releases.
    #[must_use]
    pub const fn ordinal(self) -> usize {
        self as usize
    }
}

impl Class {
    /// Number and name in the schema's `EventClass`.
    pub(crate) const fn wire(self) -> (u32, &'static str) {
        match self {
            Self::Process => (1, "EVENT_CLASS_PROCESS"),
            Self::Network => (2, "EVENT_CLASS_NETWORK"),
            Self::File => (3, "EVENT_CLASS_FILE"),
            Self::Kernel => (4, "EVENT_CLASS_KERNEL"),
            Self::System => (5, "EVENT_CLASS_SYSTEM"),
            Self::Agent => (6, "EVENT_CLASS_AGENT"),
        }
    }
}

impl Severity {
    /// Number and name in the schema's `Severity`.
    pub(crate) const fn wire(self) -> (u32, &'static str) {
        match self {
            Self::Info => (1, "SEVERITY_INFO"),
            Self::Notice => (2, "SEVERITY_NOTICE"),
            Self::Warning => (3, "SEVERITY_WARNING"),
            Self::Critical => (4, "SEVERITY_CRITICAL"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinal_of_every_kind_is_its_place_in_all() {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind.ordinal(), place, "{kind:?}");
        }
    }

    #[test]
    fn name_of_every_kind_leads_back_to_it_and_is_in_its_type() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
            assert_eq!(kind.cloud_event_type(), format!("dev.weir.{}.v1", kind.name()));
        }
        assert_eq!(Kind::from_name("process.exe"), None);
    }
}

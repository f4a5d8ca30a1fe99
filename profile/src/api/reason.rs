//! The closed set of reasons that conditions, problems and node reports give.

closed_enum! {
    /// Why a condition holds or does not. Each value is documented with its remedy.
    pub enum ConditionReason {
        /// The spec is valid and everything it names exists.
        Accepted = "Accepted",
        /// The kernel of every expected node was read back at this generation.
        Live = "Live",
        /// Enough nodes are live by `readyPercent`, though not all.
        EnoughNodesLive = "EnoughNodesLive",
        /// The stream is there as asked for.
        StreamReady = "StreamReady",
        /// The server was reached, and does not let the operator look at a stream that somebody else makes. Allow it, or
        /// see by `Delivering` of the profiles whether events arrive.
        StreamUnverified = "StreamUnverified",
        /// Every batch is acknowledged.
        Acknowledged = "Acknowledged",
        /// Nothing was missed in the last 60 s.
        NothingMissed = "NothingMissed",
        /// Nothing is wrong.
        Healthy = "Healthy",
        /// All has followed the last change.
        UpToDate = "UpToDate",
        /// Nobody has looked at the object yet. Check that the operator runs.
        Pending = "Pending",
        /// The spec changed and not every node has followed yet. Wait.
        NodesPending = "NodesPending",
        /// No agent has reported yet. Wait, or look at the agents' `DaemonSet` and pods.
        AwaitingAgents = "AwaitingAgents",
        /// The node selector matches no node. Change it or label a node.
        NoMatchingNodes = "NoMatchingNodes",
        /// `mode` is Suspended, and every node has confirmed it.
        Suspended = "Suspended",
        /// `expirationTime` has passed, and every node has confirmed it. Edit the spec to start again.
        Expired = "Expired",
        /// `mode` is `DryRun`: events are counted and nothing is emitted.
        DryRun = "DryRun",
        /// The spec breaks a rule that the schema could not check. The message names the field.
        InvalidSpec = "InvalidSpec",
        /// A match can never hold. The message names the field.
        ContradictoryMatch = "ContradictoryMatch",
        /// The spec is larger than 128 KiB. Split the profile.
        SpecTooLarge = "SpecTooLarge",
        /// The sink that `sinkRef` names is not there. Create it or change `sinkRef`.
        SinkNotFound = "SinkNotFound",
        /// The sink is there but not valid. Look at its own conditions.
        SinkInvalid = "SinkInvalid",
        /// No connection to the sink. Check its address, network policies and the server.
        SinkUnreachable = "SinkUnreachable",
        /// The stream is missing. Create it, or set `manage: Ensure`.
        StreamMissing = "StreamMissing",
        /// The stream is there with other settings, and Weir never shrinks or replaces one. Change it or the sink.
        StreamConflict = "StreamConflict",
        /// The server does not make or grow the stream, such as for want of servers, room or `JetStream`. The message has
        /// its words and what to do.
        StreamRefused = "StreamRefused",
        /// The server refuses the subject. Check the stream's subjects and the credentials' permissions.
        SubjectRefused = "SubjectRefused",
        /// The server refuses the credentials. Check the Secret's content.
        AuthenticationFailed = "AuthenticationFailed",
        /// The Secret that the sink names is missing. Create it in the operator's namespace.
        SecretNotFound = "SecretNotFound",
        /// The Secret has no such key. Add the key or change the reference.
        SecretKeyMissing = "SecretKeyMissing",
        /// A key of a Secret that a sink names is above 256 KiB. Put no more there than the sink needs.
        SecretTooLarge = "SecretTooLarge",
        /// The Secret lacks the label `weir.dev/sink-credentials=true`. Add it if the Secret is meant for Weir.
        SecretNotLabelled = "SecretNotLabelled",
        /// The agents' copy of the credentials is not there yet. It arrives within 90 s.
        CredentialsNotMounted = "CredentialsNotMounted",
        /// The stream takes no more, because its own limits or the server's are reached: events wait in memory, and are
        /// shed when that is full, lowest priority first. Raise the limits.
        Shedding = "Shedding",
        /// A ring is full and events are lost, counted. Lower the limits or sample.
        RingFull = "RingFull",
        /// The kernel skipped a program (recursion). The node's ledger says how often.
        EventsMissed = "EventsMissed",
        /// A program failed on some occurrences. The node's ledger says why.
        HookErrors = "HookErrors",
        /// Occurrences could not be tied to a process. The node's ledger says how many.
        Untracked = "Untracked",
        /// Matches could not be evaluated, such as a relative path. The node's ledger says how many.
        Undecided = "Undecided",
        /// More than 64 profiles on a node; those of lowest priority are refused. Merge or narrow profiles.
        TooManyProfiles = "TooManyProfiles",
        /// More than 256 events on a node, or 64 of one kind; those of lowest priority are refused. Merge events.
        TooManySlots = "TooManySlots",
        /// More than 16 per-pod or per-container limits on a node. Use fewer, or `per: Node`.
        TooManyKeyedLimits = "TooManyKeyedLimits",
        /// More than 4096 pods or containers on a node share one bucket of a keyed limit.
        WorkloadOverflow = "WorkloadOverflow",
        /// This kernel has no hook that can see the kind. `weir-agent probe` says why.
        KindUnsupported = "KindUnsupported",
        /// The hook exists but did not attach. The message has the kernel's answer.
        HookFailed = "HookFailed",
        /// The kernel refused a program for want of the capabilities BPF and PERFMON. Give the agent both.
        CapabilityMissing = "CapabilityMissing",
        /// tracefs is not mounted on the node. Mount it at /sys/kernel/tracing.
        TracefsMissing = "TracefsMissing",
        /// The kernel publishes no BTF. In this release no report says so: the agent ends, and its node is `AgentStale`
        /// or awaited. Use a kernel with `CONFIG_DEBUG_INFO_BTF`.
        BtfMissing = "BtfMissing",
        /// The kernel maps could not be written or read back. The message has the kernel's answer.
        ProgrammingFailed = "ProgrammingFailed",
        /// The agent does not know a field of the spec and keeps the generation before. Update the agents.
        AgentTooOld = "AgentTooOld",
        /// The installed CRD and the operator are of different versions. Apply the CRDs and the operator of one
        /// version.
        CrdTooOld = "CrdTooOld",
        /// The node's clock is more than 5 s off. Check its time synchronisation.
        ClockSkew = "ClockSkew",
        /// The agent does not answer. Look at its pod and node.
        AgentStale = "AgentStale",
        /// Some expected nodes failed. `problems` has the reasons.
        NodesFailed = "NodesFailed",
        /// Some expected nodes cannot run it. `problems` has the reasons.
        NodesUnsupported = "NodesUnsupported",
        /// Some expected nodes do a part of it. `problems` has the reasons.
        NodesDegraded = "NodesDegraded",
        /// The agents' pods cannot be scheduled. Look at the `DaemonSet`'s events.
        AgentsUnschedulable = "AgentsUnschedulable",
        /// The agents' image cannot be pulled. Check its name, registry and pull secrets.
        ImagePullFailed = "ImagePullFailed",
        /// The operator may not do what it must. Apply the manifests' RBAC again.
        PermissionDenied = "PermissionDenied",
        /// The API server refuses the agents' objects. Correct the operator's settings, or the policy that the message
        /// names.
        AgentsRejected = "AgentsRejected",
        /// The Secrets that sinks name are too large together, and some sinks' are left out. Name fewer or smaller ones.
        CredentialsTooLarge = "CredentialsTooLarge",
        /// Two operators act on the same objects. Run one, or leave leader election on.
        SecondOperator = "SecondOperator",
    }
}

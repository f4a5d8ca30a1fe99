//! CollectorProfile, CollectorSink and CollectorNode, and the pure plan and place functions.

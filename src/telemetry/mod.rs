//! Metrics and logs: their names in one place. Imports only `domain`.

//! Layered configuration in which every value knows where it came from. Knows files and the environment, no engine.

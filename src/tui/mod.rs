//! The live dashboard: model (state), update (pure), views (one file per panel), feed (polls the ports).

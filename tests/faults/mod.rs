//! What must hold when things go wrong: processes die, several work at once, files are hostile, the clock jumps.

mod full;
mod hostile;
mod kills;
mod many;
mod parser;
mod retention;

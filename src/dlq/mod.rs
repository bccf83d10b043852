//! Dead letters: selecting them, redriving and discarding them, and the ledger of what was decided.

//! What a transactional producer may do next.

/// The state of the producer after its last transaction.
///
/// - `Ready`: the last transaction has ended, and the next may begin. Exits: `CommitUnknown` when a commit is sent;
///   `Broken`; `Fenced`.
/// - `CommitUnknown`: a commit was sent and not confirmed. Exits: `Ready` when it is confirmed or the transaction is
///   aborted; `Broken`; `Fenced`.
/// - `Broken`: this producer is unusable. Exits: `Ready` by a new producer with the same id; `Fenced`.
/// - `Fenced`: a later producer has the same id. Final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProducerState {
    Ready,
    CommitUnknown,
    Broken,
    Fenced,
}

impl ProducerState {
    /// Whether the exits above include this one.
    pub(super) fn may_become(self, next: Self) -> bool {
        match self {
            Self::Ready | Self::CommitUnknown => true,
            Self::Broken => next != Self::CommitUnknown,
            Self::Fenced => next == Self::Fenced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ProducerState::{Broken, CommitUnknown, Fenced, Ready};

    #[test]
    fn a_fenced_producer_stays_fenced_and_a_broken_one_commits_nothing() {
        assert!([Ready, CommitUnknown, Broken].iter().all(|next| !Fenced.may_become(*next)));
        assert!(!Broken.may_become(CommitUnknown) && Broken.may_become(Ready) && Broken.may_become(Fenced));
        assert!([Ready, Broken, Fenced].iter().all(|next| CommitUnknown.may_become(*next)));
    }
}

//! Assigns partitions to members: even shares, with as few moves as possible. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// Each member with the topics it subscribes to.
pub(super) type MemberTopics = BTreeMap<String, BTreeSet<i64>>;

/// A partition to assign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AssignablePartition {
    /// Its row.
    pub(super) part_id: i64,
    /// Its topic's row.
    pub(super) topic_id: i64,
}

/// The partitions of each member while they are assigned.
type Shares<'a> = BTreeMap<&'a str, Vec<AssignablePartition>>;

/// Assigns each partition to a member. A member keeps what it has in `previous` unless that makes the shares uneven.
pub(super) fn assign(
    members: &MemberTopics,
    partitions: &[AssignablePartition],
    previous: &BTreeMap<i64, String>,
) -> BTreeMap<i64, String> {
    let mut shares: Shares<'_> = members.keys().map(|member| (member.as_str(), Vec::new())).collect();
    let mut unassigned = Vec::new();
    for partition in partitions {
        let keeper = previous.get(&partition.part_id).filter(|member| subscribes(members, member, *partition));
        match keeper.and_then(|member| shares.get_mut(member.as_str())) {
            Some(share) => share.push(*partition),
            None => unassigned.push(*partition),
        }
    }
    for partition in unassigned {
        let subscribers = shares.iter_mut().filter(|(member, _)| subscribes(members, member, partition));
        if let Some((_, smallest)) = subscribers.min_by_key(|(_, share)| share.len()) {
            smallest.push(partition);
        }
    }
    while move_one(members, &mut shares) {}
    let assigned = |(member, share): (&str, Vec<AssignablePartition>)| {
        let member = member.to_owned();
        share.into_iter().map(move |partition| (partition.part_id, member.clone())).collect::<Vec<_>>()
    };
    shares.into_iter().flat_map(assigned).collect()
}

fn subscribes(members: &MemberTopics, member: &str, partition: AssignablePartition) -> bool {
    members.get(member).is_some_and(|topics| topics.contains(&partition.topic_id))
}

/// Moves one partition from a member to another that subscribes to it and has at least two fewer. Returns whether one
/// was moved. Each move lowers the sum of the squared share sizes, so that repeating it ends.
fn move_one(members: &MemberTopics, shares: &mut Shares<'_>) -> bool {
    let mut sizes: Vec<(&str, usize)> = shares.iter().map(|(member, share)| (*member, share.len())).collect();
    sizes.sort_by_key(|(_, size)| *size);
    for (from, larger) in sizes.iter().rev() {
        for (to, smaller) in &sizes {
            if smaller + 2 > *larger {
                break;
            }
            let Some(share) = shares.get_mut(from) else { continue };
            let Some(at) = share.iter().rposition(|partition| subscribes(members, to, *partition)) else { continue };
            let partition = share.remove(at);
            if let Some(share) = shares.get_mut(to) {
                share.push(partition);
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(names: &[&str], topics: &[i64]) -> MemberTopics {
        names.iter().map(|name| ((*name).to_owned(), topics.iter().copied().collect())).collect()
    }

    fn partitions(count: i64) -> Vec<AssignablePartition> {
        (0..count).map(|part_id| AssignablePartition { part_id, topic_id: 1 }).collect()
    }

    fn sizes(shares: &BTreeMap<i64, String>) -> Vec<usize> {
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for member in shares.values() {
            *count.entry(member).or_default() += 1;
        }
        let mut sizes: Vec<_> = count.into_values().collect();
        sizes.sort_unstable();
        sizes
    }

    #[test]
    fn a_new_member_gets_an_even_share_with_minimal_moves() {
        let alone = assign(&members(&["a"], &[1]), &partitions(6), &BTreeMap::new());
        assert_eq!(sizes(&alone), [6]);
        let two = assign(&members(&["a", "b"], &[1]), &partitions(6), &alone);
        assert_eq!(sizes(&two), [3, 3]);
        assert_eq!(two.iter().filter(|(part, member)| alone[part] != **member).count(), 3);
        let three = assign(&members(&["a", "b", "c"], &[1]), &partitions(6), &two);
        assert_eq!(sizes(&three), [2, 2, 2]);
        assert_eq!(three.iter().filter(|(part, member)| two[part] != **member).count(), 2);
    }

    #[test]
    fn partitions_of_a_departed_member_are_redistributed() {
        let three = assign(&members(&["a", "b", "c"], &[1]), &partitions(6), &BTreeMap::new());
        let two = assign(&members(&["a", "c"], &[1]), &partitions(6), &three);
        assert_eq!(sizes(&two), [3, 3]);
        assert!(three.iter().filter(|(_, m)| *m != "b").all(|(part, member)| two[part] == *member));
    }

    #[test]
    fn surplus_members_are_assigned_nothing() {
        let shares = assign(&members(&["a", "b", "c"], &[1]), &partitions(2), &BTreeMap::new());
        assert_eq!(sizes(&shares), [1, 1]);
    }

    #[test]
    fn members_are_assigned_only_topics_they_subscribe_to() {
        let mut members = members(&["a"], &[1]);
        members.insert("b".to_owned(), [2].into());
        let partitions: Vec<_> =
            (0..10).map(|n| AssignablePartition { part_id: n, topic_id: if n < 9 { 1 } else { 2 } }).collect();
        let shares = assign(&members, &partitions, &BTreeMap::new());
        assert!(partitions.iter().all(|p| shares[&p.part_id] == if p.topic_id == 1 { "a" } else { "b" }));
        assert!(assign(&MemberTopics::new(), &partitions, &shares).is_empty());
    }
}

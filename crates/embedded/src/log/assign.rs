//! Who is to have which partition: even shares, moving as few as possible. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// A member and the topics it wants.
pub(super) type Wishes = BTreeMap<String, BTreeSet<i64>>;

/// A partition that is to be shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Its row.
    pub(super) part_id: i64,
    /// Its topic's row.
    pub(super) topic_id: i64,
}

/// Shares out `parts`. `before` is who had or was to have each; who may keep one keeps it while the shares stay even.
pub(super) fn share(wishes: &Wishes, parts: &[Part], before: &BTreeMap<i64, String>) -> BTreeMap<i64, String> {
    let mut shares: BTreeMap<&str, Vec<Part>> = wishes.keys().map(|member| (member.as_str(), Vec::new())).collect();
    let mut free = Vec::new();
    for part in parts {
        let keeper = before.get(&part.part_id).filter(|member| wants(wishes, member, *part));
        match keeper.and_then(|member| shares.get_mut(member.as_str())) {
            Some(share) => share.push(*part),
            None => free.push(*part),
        }
    }
    for part in free {
        let fewest = shares.iter_mut().filter(|(member, _)| wants(wishes, member, part)).min_by_key(|(_, s)| s.len());
        if let Some((_, share)) = fewest {
            share.push(part);
        }
    }
    while even_out(wishes, &mut shares) {}
    let owned = |(member, share): (&str, Vec<Part>)| {
        let member = member.to_owned();
        share.into_iter().map(move |part| (part.part_id, member.clone())).collect::<Vec<_>>()
    };
    shares.into_iter().flat_map(owned).collect()
}

fn wants(wishes: &Wishes, member: &str, part: Part) -> bool {
    wishes.get(member).is_some_and(|topics| topics.contains(&part.topic_id))
}

/// Moves one partition from a member with two more than another that wants it. Each move makes the sum of squared
/// shares smaller, so this ends.
fn even_out(wishes: &Wishes, shares: &mut BTreeMap<&str, Vec<Part>>) -> bool {
    let mut sizes: Vec<(&str, usize)> = shares.iter().map(|(member, share)| (*member, share.len())).collect();
    sizes.sort_by_key(|(_, size)| *size);
    for (giver, many) in sizes.iter().rev() {
        for (taker, few) in &sizes {
            if few + 2 > *many {
                break;
            }
            let Some(share) = shares.get_mut(giver) else { continue };
            let Some(at) = share.iter().rposition(|part| wants(wishes, taker, *part)) else { continue };
            let part = share.remove(at);
            if let Some(taken) = shares.get_mut(taker) {
                taken.push(part);
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(members: &[&str], topics: &[i64]) -> Wishes {
        members.iter().map(|m| ((*m).to_owned(), topics.iter().copied().collect())).collect()
    }

    fn parts(count: i64) -> Vec<Part> {
        (0..count).map(|part_id| Part { part_id, topic_id: 1 }).collect()
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
    fn a_newcomer_takes_its_share_and_nothing_else_moves() {
        let alone = share(&wishes(&["a"], &[1]), &parts(6), &BTreeMap::new());
        assert_eq!(sizes(&alone), [6]);
        let two = share(&wishes(&["a", "b"], &[1]), &parts(6), &alone);
        assert_eq!(sizes(&two), [3, 3]);
        assert_eq!(two.iter().filter(|(part, member)| alone[part] != **member).count(), 3);
        let three = share(&wishes(&["a", "b", "c"], &[1]), &parts(6), &two);
        assert_eq!(sizes(&three), [2, 2, 2]);
        assert_eq!(three.iter().filter(|(part, member)| two[part] != **member).count(), 2);
    }

    #[test]
    fn the_share_of_one_that_went_is_spread() {
        let three = share(&wishes(&["a", "b", "c"], &[1]), &parts(6), &BTreeMap::new());
        let two = share(&wishes(&["a", "c"], &[1]), &parts(6), &three);
        assert_eq!(sizes(&two), [3, 3]);
        assert!(three.iter().filter(|(_, m)| *m != "b").all(|(part, member)| two[part] == *member));
    }

    #[test]
    fn more_members_than_partitions_leaves_some_without() {
        let shares = share(&wishes(&["a", "b", "c"], &[1]), &parts(2), &BTreeMap::new());
        assert_eq!(sizes(&shares), [1, 1]);
    }

    #[test]
    fn nobody_gets_a_topic_it_did_not_ask_for() {
        let mut wishes = wishes(&["a"], &[1]);
        wishes.insert("b".to_owned(), [2].into());
        let parts: Vec<_> = (0..10).map(|n| Part { part_id: n, topic_id: if n < 9 { 1 } else { 2 } }).collect();
        let shares = share(&wishes, &parts, &BTreeMap::new());
        assert!(parts.iter().all(|p| shares[&p.part_id] == if p.topic_id == 1 { "a" } else { "b" }));
        assert!(share(&Wishes::new(), &parts, &shares).is_empty());
    }
}

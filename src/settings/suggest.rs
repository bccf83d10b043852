//! Suggestions for mistyped words.

/// Characters of a word that are compared.
const MAX_CHARS: usize = 64;

/// The known word nearest to this one: at most a third of its characters, and never more than 3, are inserted, deleted,
/// replaced or swapped with their neighbour. Case does not count.
#[must_use]
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    let word = comparable(word);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&word, &comparable(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Up to `limit` known words that are near to this one, as [`did_you_mean`] has it, nearest first. A dotted word is also near
/// where its last part is.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, limit: usize) -> Vec<&'a str> {
    let farthest = (word.chars().count() / 3).clamp(1, 3);
    let word = comparable(word);
    let distance = |candidate: &str| {
        let whole = strsim::osa_distance(&word, &comparable(candidate));
        let last = candidate.rsplit('.').next().map_or(whole, |last| strsim::osa_distance(&word, &comparable(last)));
        whole.min(last)
    };
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(far, _)| *far <= farthest)
        .collect();
    near.sort_by_key(|(far, _)| *far);
    // Words that are farther than the nearest would only distract from it.
    let nearest = near.first().map_or(0, |(far, _)| *far);
    near.into_iter().filter(|(far, _)| *far == nearest).map(|(_, candidate)| candidate).take(limit).collect()
}

fn comparable(word: &str) -> String {
    word.chars().take(MAX_CHARS).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["concurrency", "drain_timeout", "env"];
        assert_eq!(did_you_mean("concurency", known), Some("concurrency"));
        assert_eq!(did_you_mean("drain-timeout", known), Some("drain_timeout"));
        assert_eq!(did_you_mean("evn", known), Some("env"));
        assert_eq!(did_you_mean("colour", known), None);
    }
}

//! Invisible text over a scanned page, which is not shown: it need not be where its letters are.

use super::glyph::Glyph;
use super::order;

/// Mirrors the right-to-left words of a text layer that draws each word from left to right, in the order in which it is
/// read, and the words themselves from right to left. Visible text is never like that: its letters would be seen reversed.
pub(super) fn mirror_words(glyphs: &mut [Glyph]) {
    let mut leftwards = 0;
    let mut rightwards = 0;
    let words = || glyphs.chunk_by(|one, other| one.string == other.string).filter(|word| is_drawn_rightwards(word));
    for (before, word) in words().zip(words().skip(1)) {
        if let ([before, ..], [first, ..]) = (before, word)
            && before.angle == first.angle
            && (before.baseline - first.baseline).abs() < first.size / 2.0
        {
            if first.start < before.start { leftwards += 1 } else { rightwards += 1 }
        }
    }
    if leftwards <= rightwards {
        return;
    }
    for word in glyphs.chunk_by_mut(|one, other| one.string == other.string) {
        if !is_drawn_rightwards(word) {
            continue;
        }
        let start = word.iter().map(|glyph| glyph.start).fold(f64::INFINITY, f64::min);
        let end = word.iter().map(|glyph| glyph.end).fold(f64::NEG_INFINITY, f64::max);
        for glyph in word {
            (glyph.start, glyph.end) = (start + end - glyph.end, start + end - glyph.start);
            glyph.is_mirrored = true;
        }
    }
}

/// Whether it is an invisible right-to-left word that is drawn from left to right.
fn is_drawn_rightwards(word: &[Glyph]) -> bool {
    let right_to_left = word.iter().filter(|glyph| order::is_right_to_left_text(&glyph.text)).count();
    right_to_left >= 2
        && word.iter().all(|glyph| glyph.is_invisible && !glyph.is_mirrored)
        && word.windows(2).all(|pair| pair[0].start <= pair[1].start)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words at these positions, drawn from left to right, as a line.
    fn line(words: &[(&str, f64)], is_invisible: bool) -> Vec<(char, f64)> {
        let mut glyphs = Vec::new();
        for (string, (word, at)) in words.iter().enumerate() {
            for (index, c) in word.chars().enumerate() {
                let start = at + index as f64;
                let text = c.to_string().into();
                let (string, end) = (string as u32, start + 1.0);
                let (baseline, size, angle, is_mirrored) = (0.0, 1.0, 0, false);
                glyphs.push(Glyph { text, start, end, baseline, size, angle, is_mirrored, is_invisible, string });
            }
        }
        mirror_words(&mut glyphs);
        glyphs.into_iter().map(|glyph| (glyph.text.chars().next().unwrap(), glyph.start)).collect()
    }

    #[test]
    fn words_in_the_order_they_are_read_are_mirrored() {
        let mirrored = line(&[("در", 10.0), ("12", 7.0), ("اب", 4.0)], true);
        assert_eq!(mirrored, [('د', 11.0), ('ر', 10.0), ('1', 7.0), ('2', 8.0), ('ا', 5.0), ('ب', 4.0)]);
    }

    #[test]
    fn visible_words_and_those_from_left_to_right_stay() {
        let places = [('د', 10.0), ('ر', 11.0), ('ا', 4.0), ('ب', 5.0)];
        assert_eq!(line(&[("در", 10.0), ("اب", 4.0)], false), places);
        let places = [('ا', 4.0), ('ب', 5.0), ('د', 10.0), ('ر', 11.0)];
        assert_eq!(line(&[("اب", 4.0), ("در", 10.0)], true), places);
    }
}

//! Invisible text over a scanned page, which is not shown: it need not be where its letters are.

use super::glyph::Glyph;
use super::order;
use crate::parsers::language;
use crate::parsers::sink::readable;

// Lengths in units of the font size.
/// Baselines of one line differ by less than this.
const MAX_BASELINE_SHIFT: f64 = 0.5;
/// Gaps within a line are smaller than this.
const MAX_LINE_GAP: f64 = 2.5;
/// Gaps within a word are smaller than this.
const MAX_LETTER_GAP: f64 = 0.15;

/// A line with less evidence is judged by that of its page.
const MIN_EVIDENCE: f64 = 1.0;

/// Mirrors right-to-left text that is drawn from left to right in the order in which it is read. Visible text is never like
/// that: its letters would be seen reversed.
///
/// Most invisible text that is drawn from left to right is in visual order, as visible text is. Positions do not tell the
/// two apart, because words may be drawn in either order; the spelling of the words does.
pub(super) fn mirror_logical_order(glyphs: &mut [Glyph]) {
    let of_lines: Vec<f64> = glyphs.chunk_by(is_same_line).map(logical_order_evidence).collect();
    let of_page: f64 = of_lines.iter().sum();
    for (line, of_line) in glyphs.chunk_by_mut(is_same_line).zip(of_lines) {
        let evidence = if of_line.abs() < MIN_EVIDENCE { of_page } else { of_line };
        if evidence > 0.0 {
            mirror_line(line);
        }
    }
}

fn is_same_line(one: &Glyph, other: &Glyph) -> bool {
    let size = one.size.max(other.size);
    is_candidate(one)
        && is_candidate(other)
        && one.angle == other.angle
        && (one.baseline - other.baseline).abs() < MAX_BASELINE_SHIFT * size
        && one.gap_beside(other) < MAX_LINE_GAP * size
}

fn is_candidate(glyph: &Glyph) -> bool {
    glyph.is_invisible && !glyph.is_mirrored
}

/// Whether two characters, drawn one after the other, are in one string or word that is drawn from left to right.
fn is_drawn_rightwards(one: &Glyph, other: &Glyph) -> bool {
    let is_near = one.string == other.string || (other.start - one.end).abs() < MAX_LETTER_GAP * one.size;
    is_near && (other.start >= one.start || order::is_mark(&other.text))
}

fn has_right_to_left(glyphs: &[Glyph]) -> bool {
    glyphs.iter().any(|glyph| order::is_right_to_left_text(&glyph.text))
}

/// How much speaks for the strings that are drawn from left to right being in the order in which they are read; negative if
/// more speaks for visual order.
fn logical_order_evidence(line: &[Glyph]) -> f64 {
    if !line.first().is_some_and(is_candidate) {
        return 0.0;
    }
    let mut drawn = String::new();
    let mut reversed = String::new();
    for string in line.chunk_by(is_drawn_rightwards).filter(|string| string.len() > 1 && has_right_to_left(string)) {
        let mut pieces = Vec::with_capacity(string.len());
        for (index, glyph) in string.iter().enumerate() {
            let before = index.checked_sub(1).map(|before| &string[before]);
            if before.is_some_and(|before| before.gap_before(glyph) > MAX_LETTER_GAP * glyph.size) {
                pieces.push(" ");
            }
            pieces.push(&glyph.text);
        }
        drawn.extend(pieces.iter().copied().chain([" "]));
        reversed.extend(pieces.iter().rev().copied().chain([" "]));
    }
    spelling_evidence(&drawn) - spelling_evidence(&reversed)
}

/// How much in the spelling of these words speaks for the order of their letters.
fn spelling_evidence(text: &str) -> f64 {
    let is_letter = |c: char| order::is_right_to_left_text(c.encode_utf8(&mut [0; 4]));
    let ends = text.split_whitespace().map(|word| {
        let mut from_end = word.chars().rev();
        match (from_end.next(), from_end.next()) {
            (Some('.' | '،' | '؛' | '؟' | ':' | '!' | '…'), Some(before)) if is_letter(before) => 1.0,
            // These forms are only at the end of a word.
            (Some('ך' | 'ם' | 'ן' | 'ף' | 'ץ'), Some(before)) if is_letter(before) => 1.0,
            (Some(_), Some(_)) if word.chars().next().is_some_and(order::joins_next) => 1.0,
            _ => 0.0,
        }
    });
    ends.sum::<f64>() + language::arabic::word_evidence(&readable(text))
}

/// Mirrors each of the line's right-to-left strings, or the line as a whole if they too follow one another from left to
/// right.
fn mirror_line(line: &mut [Glyph]) {
    let mut leftwards = 0;
    let mut rightwards = 0;
    let strings = || line.chunk_by(is_drawn_rightwards).filter(|string| has_right_to_left(string));
    for (before, after) in strings().zip(strings().skip(1)) {
        if after[0].start < before[0].start { leftwards += 1 } else { rightwards += 1 }
    }
    if rightwards > leftwards {
        mirror(line);
        return;
    }
    line.chunk_by_mut(is_drawn_rightwards)
        .filter(|string| string.len() > 1 && has_right_to_left(string))
        .for_each(mirror);
}

fn mirror(glyphs: &mut [Glyph]) {
    let start = glyphs.iter().map(|glyph| glyph.start).fold(f64::INFINITY, f64::min);
    let end = glyphs.iter().map(|glyph| glyph.end).fold(f64::NEG_INFINITY, f64::max);
    for glyph in glyphs {
        (glyph.start, glyph.end) = (start + end - glyph.end, start + end - glyph.start);
        glyph.is_mirrored = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strings at these positions, drawn from left to right, as a line.
    fn line(strings: &[(&str, f64)], is_invisible: bool) -> Vec<(String, f64)> {
        let mut glyphs = Vec::new();
        for (string, (text, at)) in strings.iter().enumerate() {
            for (index, c) in text.chars().enumerate() {
                let start = at + index as f64;
                let glyph = Glyph::horizontal(&c.to_string(), start, start + 1.0);
                glyphs.push(Glyph { is_invisible, string: string as u32, ..glyph });
            }
        }
        mirror_logical_order(&mut glyphs);
        glyphs.iter().map(|glyph| (glyph.text.to_string(), glyph.start)).collect()
    }

    fn places(strings: &[(&str, f64, f64)]) -> Vec<(String, f64)> {
        let place = |(text, at, step): &(&str, f64, f64)| {
            let (at, step) = (*at, *step);
            text.chars()
                .enumerate()
                .map(move |(index, c)| (c.to_string(), at + step * index as f64))
                .collect::<Vec<_>>()
        };
        strings.iter().flat_map(place).collect()
    }

    #[test]
    fn words_in_the_order_they_are_read_are_mirrored() {
        let mirrored = line(&[("این", 10.0), ("12", 7.0), ("است", 3.0)], true);
        assert_eq!(mirrored, places(&[("این", 12.0, -1.0), ("12", 7.0, 1.0), ("است", 5.0, -1.0)]));
        let mirrored = line(&[("این", 0.0), ("12", 4.0), ("است", 7.0)], true);
        assert_eq!(mirrored, places(&[("این", 9.0, -1.0), ("12", 5.0, -1.0), ("است", 2.0, -1.0)]), "in a whole line");
    }

    #[test]
    fn words_in_visual_order_stay_in_whichever_order_they_are_drawn() {
        for words in [[("نیا", 10.0), ("تسا", 3.0)], [("تسا", 3.0), ("نیا", 7.0)]] {
            assert_eq!(line(&words, true), places(&words.map(|(word, at)| (word, at, 1.0))));
        }
    }

    #[test]
    fn visible_words_and_those_without_evidence_stay() {
        let words = [("این", 10.0), ("است", 6.0)];
        assert_eq!(line(&words, false), places(&words.map(|(word, at)| (word, at, 1.0))));
        let words = [("قمر", 10.0), ("شمس", 6.0)];
        assert_eq!(line(&words, true), places(&words.map(|(word, at)| (word, at, 1.0))));
    }

    #[test]
    fn spelling_shows_the_order_of_letters() {
        for word in ["شمس.", "شمس،", "قمر؟", "מים", "ﺷﻤﺲ", "الكتاب", "كتابة", "أحمد", "کتابخانه‌های"]
        {
            let reversed: String = word.chars().rev().collect();
            assert!(spelling_evidence(word) > spelling_evidence(&reversed), "{word}");
        }
        assert_eq!(spelling_evidence("12.5 (a) - قمر"), spelling_evidence("رمق - (a) 12.5"));
    }
}

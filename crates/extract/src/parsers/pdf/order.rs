//! From visual order, left to right, to logical order: an inverse of the Unicode bidirectional algorithm, as far as a
//! line's characters allow.

use unicode_normalization::char::is_combining_mark;

use super::glyph::Glyph;

const ZWNJ: char = '\u{200C}';

/// The directional class of a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CharClass {
    Right,
    Left,
    Digit,
    Space,
    Neutral,
}

/// A letter with its combining marks, or a space.
#[derive(Debug, Clone)]
pub(super) struct GlyphCluster {
    text: String,
    class: CharClass,
    /// See [`Glyph::is_mirrored`].
    is_mirrored: bool,
    /// For a space: whether a character without text is there, so that no letter beside it shows how they join.
    has_unmapped: bool,
}

impl GlyphCluster {
    fn new(text: &str, is_mirrored: bool) -> Self {
        Self { text: text.to_owned(), class: char_class(text), is_mirrored, has_unmapped: false }
    }
}

fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{0590}'..='\u{08FF}' | '\u{FB1D}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}') && c.is_alphabetic()
}

/// Whether the first strong character is a right-to-left letter.
pub(super) fn is_right_to_left_text(text: &str) -> bool {
    char_class(text) == CharClass::Right
}

/// Whether it consists of combining marks.
pub(super) fn is_mark(text: &str) -> bool {
    marks_only(text).is_some()
}

/// Whether the form of the letter shows that another follows.
pub(super) fn joins_next(c: char) -> bool {
    joining_form(c) == JoiningForm::Joining
}

fn char_class(text: &str) -> CharClass {
    let strong = text.chars().find_map(|c| {
        if is_right_to_left(c) {
            Some(CharClass::Right)
        } else if c.is_numeric() {
            Some(CharClass::Digit)
        } else {
            c.is_alphabetic().then_some(CharClass::Left)
        }
    });
    strong.unwrap_or(if text.trim().is_empty() { CharClass::Space } else { CharClass::Neutral })
}

/// The share of right-to-left letters among all letters; 0 without letters.
pub(super) fn right_to_left_share<'a>(texts: impl Iterator<Item = &'a str>) -> f64 {
    let mut right = 0_u32;
    let mut all = 0_u32;
    for c in texts.flat_map(str::chars).filter(|c| c.is_alphabetic()) {
        all += 1;
        right += u32::from(is_right_to_left(c));
    }
    if all == 0 { 0.0 } else { f64::from(right) / f64::from(all) }
}

/// In units of the font size: a character without text that is narrower, such as a zero-width non-joiner, does not divide
/// words.
const MIN_UNMAPPED_WIDTH: f64 = 0.1;

/// Attaches combining marks to their letters and inserts spaces at gaps. The characters are in visual order.
pub(super) fn clusters(glyphs: Vec<Glyph>, is_space: impl Fn(&Glyph, &Glyph) -> bool) -> Vec<GlyphCluster> {
    let (marks, letters): (Vec<Glyph>, Vec<Glyph>) =
        glyphs.into_iter().partition(|glyph| marks_only(&glyph.text).is_some());
    let mut marks_of = vec![String::new(); letters.len()];
    for glyph in &marks {
        let middle = f64::midpoint(glyph.start, glyph.end);
        let distance = |letter: &Glyph| (letter.start - middle).max(middle - letter.end);
        let after = letters.partition_point(|letter| letter.start <= middle);
        let nearby = after.saturating_sub(3)..(after + 2).min(letters.len());
        let nearest = nearby.min_by(|one, other| distance(&letters[*one]).total_cmp(&distance(&letters[*other])));
        if let (Some(nearest), Some(text)) = (nearest, marks_only(&glyph.text)) {
            marks_of[nearest].push_str(&text);
        }
    }
    let mut clusters: Vec<GlyphCluster> = Vec::with_capacity(letters.len() * 5 / 4);
    // The part of a letter that extends furthest, since the last character.
    let mut part: Option<&Glyph> = None;
    let mut has_gap = false;
    for (index, letter) in letters.iter().enumerate() {
        let neighbour = index.checked_sub(1).map(|before| &letters[before]);
        let furthest = match (neighbour, part) {
            (Some(neighbour), Some(part)) if part.end > neighbour.end => Some(part),
            (neighbour, _) => neighbour,
        };
        has_gap |= furthest.is_some_and(|before| is_space(before, letter));
        let is_unmapped = letter.text.is_empty();
        let covers =
            |other: Option<&Glyph>| other.is_some_and(|other| !other.text.is_empty() && letter.overlaps(other));
        let is_narrow = letter.end - letter.start < MIN_UNMAPPED_WIDTH * letter.size;
        if is_unmapped && (letter.is_part || is_narrow || covers(neighbour) || covers(letters.get(index + 1))) {
            part = part.filter(|part| part.end > letter.end).or(Some(letter));
            continue;
        }
        let blank = letter.text.trim().is_empty();
        if (has_gap || blank) && clusters.last().is_some_and(|last| last.class != CharClass::Space) {
            clusters.push(GlyphCluster::new(" ", letter.is_mirrored));
        }
        has_gap = false;
        if let Some(space) = clusters.last_mut().filter(|_| is_unmapped) {
            space.has_unmapped = true;
        }
        if !blank {
            let mut cluster = GlyphCluster::new(letter.text.trim(), letter.is_mirrored);
            cluster.text.push_str(&marks_of[index]);
            clusters.push(cluster);
        }
    }
    clusters
}

/// The combining marks of a text that has nothing else. Their spacing forms count, because fonts map marks to them.
fn marks_only(text: &str) -> Option<String> {
    let mut marks = String::new();
    for c in text.chars() {
        match c {
            '\u{FE70}'..='\u{FE72}' | '\u{FE74}' | '\u{FE76}'..='\u{FE7F}' | '\u{FC5E}'..='\u{FC63}' => {
                unicode_normalization::char::decompose_compatible(c, |c| {
                    if is_combining_mark(c) {
                        marks.push(c);
                    }
                });
            }
            c if is_combining_mark(c) => marks.push(c),
            _ => return None,
        }
    }
    (!marks.is_empty()).then_some(marks)
}

/// A line in visual order as text in logical order. `right_to_left` is whether most of the page is.
pub(super) fn logical(mut clusters: Vec<GlyphCluster>, right_to_left: bool) -> String {
    let count = |class| clusters.iter().filter(|cluster| cluster.class == class).count();
    let right = count(CharClass::Right);
    let left = count(CharClass::Left);
    if right == 0 {
        if is_mirrored(&clusters) {
            clusters.reverse();
        }
        return joined(&clusters);
    }
    let is_right_to_left_line = right_to_left || right >= left || is_mirrored(&clusters);
    if is_right_to_left_line {
        clusters.reverse();
    }
    let reordered = |mirror: fn(&mut GlyphCluster)| {
        let mut clusters = clusters.clone();
        if is_right_to_left_line {
            reverse_left_runs(&mut clusters, mirror)
        } else {
            reverse_right_runs(&mut clusters, mirror)
        }
        clusters
    };
    // Brackets in right-to-left text are drawn mirrored. Whether the font's map has undone that already shows in how they
    // pair, and in the spaces beside those without a counterpart.
    let mirrored = reordered(mirror);
    let plain = reordered(|_| {});
    joined(if misplaced_brackets(&plain) <= misplaced_brackets(&mirrored) { &plain } else { &mirrored })
}

/// The number of brackets without a counterpart, and the number of those that have a space inside or a letter outside.
fn misplaced_brackets(clusters: &[GlyphCluster]) -> (usize, usize) {
    let is_apart = |index: Option<usize>| {
        index.and_then(|index| clusters.get(index)).is_none_or(|beside| beside.class == CharClass::Space)
    };
    let is_word = |index: Option<usize>| {
        let class = index.and_then(|index| clusters.get(index)).map(|beside| beside.class);
        matches!(class, Some(CharClass::Right | CharClass::Left | CharClass::Digit))
    };
    let mut open = 0_usize;
    let mut unpaired = 0;
    let mut ill_spaced = 0;
    for (index, cluster) in clusters.iter().enumerate() {
        let (outside, inside) = match cluster.text.as_str() {
            "(" | "[" | "{" | "«" | "‹" => {
                open += 1;
                (index.checked_sub(1), Some(index + 1))
            }
            ")" | "]" | "}" | "»" | "›" => {
                if open == 0 {
                    unpaired += 1;
                }
                open = open.saturating_sub(1);
                (Some(index + 1), index.checked_sub(1))
            }
            _ => continue,
        };
        ill_spaced += usize::from(is_apart(inside)) + usize::from(is_word(outside));
    }
    (unpaired + open, ill_spaced)
}

fn is_left(cluster: &GlyphCluster) -> bool {
    matches!(cluster.class, CharClass::Left | CharClass::Digit)
}

/// Whether all are drawn in the order in which they are read.
fn is_mirrored(clusters: &[GlyphCluster]) -> bool {
    clusters.iter().all(|cluster| cluster.is_mirrored || cluster.class == CharClass::Space)
}

/// Reverses each left-to-right run that is drawn from left to right, and applies `outside` to the clusters between the runs.
fn reverse_left_runs(clusters: &mut [GlyphCluster], outside: fn(&mut GlyphCluster)) {
    let mut at = 0;
    let mut context = NumberContext::Start;
    // The stretch without right-to-left letters, and its last letter.
    let mut stretch_end = 0;
    let mut last_letter = None;
    while at < clusters.len() {
        if at >= stretch_end {
            let length = clusters[at..].iter().take_while(|cluster| cluster.class != CharClass::Right).count();
            stretch_end = at + length.max(1);
            last_letter = (at..stretch_end).rfind(|index| clusters[*index].class == CharClass::Left);
        }
        let length = left_run(&clusters[at..stretch_end], last_letter.is_some_and(|last| last >= at), context);
        if let Some(last) = clusters[at..at + length.max(1)].iter().rev().find_map(NumberContext::after) {
            context = last;
        }
        if length == 0 {
            outside(&mut clusters[at]);
            at += 1;
            continue;
        }
        let end = at + length;
        if !is_mirrored(&clusters[at..end]) {
            clusters[at..end].reverse();
        }
        at = end;
    }
}

/// The last letter before a number, which decides what belongs to it (Unicode Standard Annex 9, W2 to W7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NumberContext {
    Start,
    /// An Arabic letter: signs beside the digits do not belong to the number.
    Arabic,
    Other,
}

impl NumberContext {
    fn after(cluster: &GlyphCluster) -> Option<Self> {
        match cluster.class {
            CharClass::Right
                if cluster.text.chars().any(|c| matches!(c, '\u{0590}'..='\u{05FF}' | '\u{FB1D}'..='\u{FB4F}')) =>
            {
                Some(Self::Other)
            }
            CharClass::Right => Some(Self::Arabic),
            CharClass::Left => Some(Self::Other),
            _ => None,
        }
    }
}

/// The length of the left-to-right run at the start of a stretch without right-to-left letters, 0 without one: up to its last
/// letter or digit. Where it has no letter, a number takes only digits, the separators within it and, at the start of a line,
/// the percent sign at its end.
fn left_run(clusters: &[GlyphCluster], has_letter: bool, context: NumberContext) -> usize {
    let digit_at = |index: usize| clusters.get(index).is_some_and(|cluster| cluster.class == CharClass::Digit);
    let has_percent = context == NumberContext::Start
        && matches!(clusters.first().map(|cluster| cluster.text.as_str()), Some("%" | "٪" | "‰"))
        && digit_at(1);
    if !has_percent && !clusters.first().is_some_and(is_left) {
        return 0;
    }
    if has_letter {
        let last = clusters.iter().rposition(is_left);
        return last.map_or(1, |last| closing(clusters, last + 1));
    }
    let mut end = 1;
    while let Some(next) = clusters.get(end) {
        let digit_follows = clusters.get(end + 1).is_some_and(|after| after.class == CharClass::Digit);
        match next.class {
            CharClass::Digit => end += 1,
            CharClass::Neutral if digit_follows && is_number_separator(&next.text, context) => end += 2,
            _ => break,
        }
    }
    end
}

/// The end of a run, extended by a bracket next to it whose counterpart is in the run.
fn closing(clusters: &[GlyphCluster], end: usize) -> usize {
    let inside = |c: &str| clusters[..end].iter().any(|cluster| cluster.text == c);
    let extends = clusters.get(end).is_some_and(|next| match next.text.as_str() {
        "(" => inside(")"),
        "[" => inside("]"),
        "{" => inside("}"),
        _ => false,
    });
    end + usize::from(extends)
}

fn is_number_separator(text: &str, context: NumberContext) -> bool {
    match text {
        "." | "," | "/" | ":" | "٫" | "٬" | "،" => true,
        "-" => context != NumberContext::Arabic,
        _ => false,
    }
}

fn mirror(cluster: &mut GlyphCluster) {
    let mirrored = match cluster.text.as_str() {
        "(" => ")",
        ")" => "(",
        "[" => "]",
        "]" => "[",
        "{" => "}",
        "}" => "{",
        "<" => ">",
        ">" => "<",
        "«" => "»",
        "»" => "«",
        "‹" => "›",
        "›" => "‹",
        _ => return,
    };
    cluster.text = mirrored.to_owned();
}

/// In a left-to-right line, reverses each stretch of right-to-left words, and the numbers in it back.
fn reverse_right_runs(clusters: &mut [GlyphCluster], mirror: fn(&mut GlyphCluster)) {
    let mut at = 0;
    while at < clusters.len() {
        if clusters[at].class != CharClass::Right {
            at += 1;
            continue;
        }
        let stretch = clusters[at..].iter().take_while(|cluster| cluster.class != CharClass::Left).count();
        let last =
            clusters[at..at + stretch].iter().rposition(|cluster| cluster.class == CharClass::Right).unwrap_or(0);
        let run = &mut clusters[at..=at + last];
        run.reverse();
        reverse_left_runs(run, mirror);
        at += last + 1;
    }
}

/// The clusters as text. A letter in its final form directly before another letter implies a zero-width non-joiner; after a
/// letter in a form that joins the next, a gap is no space.
fn joined(clusters: &[GlyphCluster]) -> String {
    let mut text = String::with_capacity(clusters.len() * 2);
    let mut previous = JoiningForm::Other;
    for cluster in clusters {
        match (previous, cluster.class) {
            (JoiningForm::Joining, CharClass::Space) if !cluster.has_unmapped => continue,
            (JoiningForm::Final, CharClass::Right) => text.push(ZWNJ),
            _ => {}
        }
        text.push_str(&cluster.text);
        let last = cluster.text.chars().rfind(|c| !is_combining_mark(*c));
        previous = last.filter(|_| cluster.class == CharClass::Right).map_or(JoiningForm::Other, joining_form);
    }
    text
}

/// The contextual form of an Arabic letter that can join the next, as far as its code point shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JoiningForm {
    /// Isolated or final: the next letter is not joined.
    Final,
    /// Initial or medial: the next letter is joined.
    Joining,
    Other,
}

fn joining_form(c: char) -> JoiningForm {
    // The first of the four forms (isolated, final, initial, medial) of each letter that has four.
    const FIRST_OF_FOUR: &[u32] = &[
        0xFB52, 0xFB56, 0xFB5A, 0xFB5E, 0xFB62, 0xFB66, 0xFB6A, 0xFB6E, 0xFB72, 0xFB76, 0xFB7A, 0xFB7E, 0xFB8E, 0xFB92,
        0xFB96, 0xFB9A, 0xFBFC, 0xFE89, 0xFE8F, 0xFE95, 0xFE99, 0xFE9D, 0xFEA1, 0xFEA5, 0xFEB1, 0xFEB5, 0xFEB9, 0xFEBD,
        0xFEC1, 0xFEC5, 0xFEC9, 0xFECD, 0xFED1, 0xFED5, 0xFED9, 0xFEDD, 0xFEE1, 0xFEE5, 0xFEE9, 0xFEF1,
    ];
    let code = u32::from(c);
    match FIRST_OF_FOUR.iter().find(|first| (**first..**first + 4).contains(&code)).map(|first| code - first) {
        Some(0 | 1) => JoiningForm::Final,
        Some(_) => JoiningForm::Joining,
        None => JoiningForm::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The logical order of a line in visual order.
    fn read(visual: &str, right_to_left: bool) -> String {
        let clusters = visual.chars().map(|c| GlyphCluster::new(&c.to_string(), false)).collect();
        logical(clusters, right_to_left)
    }

    #[test]
    fn persian_line_is_reordered() {
        assert_eq!(read("ایند مالس", true), "سلام دنیا");
        assert_eq!(read(".دیناوخب BibTeX Style باتک", true), "کتاب BibTeX Style بخوانید.");
        assert_eq!(read("۱۲ ۰۳/۷ لاس", true), "سال ۰۳/۷ ۱۲");
        assert_eq!(read("۱۴۰۳ لاس رد", true), "در سال ۱۴۰۳");
        assert_eq!(read("(مود) لوا", true), "اول (دوم)");
        assert_eq!(read("«مود» لوا", true), "اول «دوم»");
        assert_eq!(read("»مود« لوا", true), "اول «دوم»");
        assert_eq!(read("(see me) مالس", true), "سلام (see me)");
    }

    #[test]
    fn hyphen_of_a_number_is_drawn_between_its_parts_from_right_to_left_behind_an_arabic_letter() {
        assert_eq!(read("8864-021 :نفلت", true), "تلفن: 021-8864");
        assert_eq!(read("21-05-1403 خیرات", true), "تاریخ 1403-05-21");
        assert_eq!(read("۱-۲ لصف", true), "فصل ۲-۱");
        assert_eq!(read("12.5/7 دد", true), "دد 12.5/7");
        assert_eq!(read("021-8864 לט", true), "טל 021-8864", "no Arabic letter");
        assert_eq!(read("نفلت 021-8864", true), "021-8864 تلفن", "at the start of a line");
    }

    #[test]
    fn percent_sign_is_at_the_end_of_its_number() {
        assert_eq!(read("فیفخت ۲۰٪", true), "۲۰٪ تخفیف");
        assert_eq!(read("٪۲۰ فیفخت", true), "تخفیف ۲۰٪");
        assert_eq!(read("فیفخت 12.5%", true), "12.5% تخفیف");
    }

    #[test]
    fn bracket_without_a_counterpart_is_turned_towards_its_word() {
        for line in ["الف) گزینه", "است) ادامه", "ادامه (در صفحه"] {
            let in_text: String = line.chars().rev().collect();
            let mirrored: String = in_text
                .chars()
                .map(|c| match c {
                    '(' => ')',
                    ')' => '(',
                    c => c,
                })
                .collect();
            assert_eq!(read(&in_text, true), line, "as in the text");
            assert_eq!(read(&mirrored, true), line, "as it is drawn");
        }
    }

    #[test]
    fn persian_words_in_an_english_line_are_reordered() {
        assert_eq!(read("the word باتک means book", false), "the word کتاب means book");
        assert_eq!(read("see ۱۲ ات ۳ هحفص here and there", false), "see ۱۲ صفحه ۳ تا here and there");
        assert_eq!(read("plain (text) 12", false), "plain (text) 12");
    }

    #[test]
    fn mirrored_line_is_in_the_order_it_is_drawn() {
        let read = |visual: &str| {
            let clusters = visual.chars().map(|c| GlyphCluster::new(&c.to_string(), true)).collect();
            logical(clusters, true)
        };
        let reversed = |text: &str| text.chars().rev().collect::<String>();
        for line in ["در سال ۱۳۹۵ بود", "کتاب BibTeX Style 2 را", "(see me) سلام", "1395", "12/5 و 3-4"]
        {
            assert_eq!(read(&reversed(line)), line);
        }
    }

    #[test]
    fn character_without_text_divides_words() {
        let glyph = Glyph::horizontal;
        let line = |unmapped_end: f64| {
            let glyphs = vec![glyph("ﺮﺑ", 0.0, 1.0), glyph("", 1.0, unmapped_end), glyph("ﺟ", unmapped_end, 3.0)];
            logical(clusters(glyphs, |before, after| after.start - before.end > 0.15), true)
        };
        assert_eq!(line(1.5), "ﺟ ﺮﺑ");
        assert_eq!(line(1.05), "ﺟﺮﺑ", "no wider than a joiner");
    }

    #[test]
    fn final_form_before_a_letter_implies_zwnj() {
        let text = read("ﻡﻭﺭﯽﻣ", true);
        assert_eq!(text, "ﻣﯽ\u{200C}ﺭﻭﻡ");
        assert_eq!(read("ﻡﻭﺭ ﯽ ﻣ", true), "ﻣﯽ ﺭﻭﻡ", "a joining form has no space after it");
    }
}

//! From the order on paper, left to right, to the order of reading: the Unicode bidirectional algorithm undone, as far as
//! a line's letters allow.

use unicode_normalization::char::is_combining_mark;

use super::content::Glyph;

const ZWNJ: char = '\u{200C}';

/// What a piece of text does to direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Right,
    Left,
    Digit,
    Space,
    Neutral,
}

/// A letter with its marks, or a space.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    text: String,
    class: Class,
}

impl Cluster {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), class: class(text) }
    }
}

fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{0590}'..='\u{08FF}' | '\u{FB1D}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}') && c.is_alphabetic()
}

/// Whether it is of right-to-left letters.
pub(super) fn is_right_to_left_text(text: &str) -> bool {
    class(text) == Class::Right
}

fn class(text: &str) -> Class {
    let strong = text.chars().find_map(|c| {
        if is_right_to_left(c) {
            Some(Class::Right)
        } else if c.is_numeric() {
            Some(Class::Digit)
        } else {
            c.is_alphabetic().then_some(Class::Left)
        }
    });
    strong.unwrap_or(if text.trim().is_empty() { Class::Space } else { Class::Neutral })
}

/// The part of right-to-left letters among letters.
pub(super) fn right_to_left_share<'a>(texts: impl Iterator<Item = &'a str>) -> f64 {
    let (mut right, mut all) = (0_u32, 0_u32);
    for c in texts.flat_map(str::chars).filter(|c| c.is_alphabetic()) {
        all += 1;
        right += u32::from(is_right_to_left(c));
    }
    if all == 0 { 0.0 } else { f64::from(right) / f64::from(all) }
}

/// Puts marks to their letters and spaces where there is a gap. The characters come from left to right.
pub(super) fn clusters(glyphs: Vec<Glyph>, is_space: impl Fn(&Glyph, &Glyph) -> bool) -> Vec<Cluster> {
    let (marks, letters): (Vec<Glyph>, Vec<Glyph>) = glyphs.into_iter().partition(|glyph| mark(&glyph.text).is_some());
    let mut marks_of = vec![String::new(); letters.len()];
    for glyph in &marks {
        let middle = f64::midpoint(glyph.start, glyph.end);
        let distance = |letter: &Glyph| (letter.start - middle).max(middle - letter.end);
        let after = letters.partition_point(|letter| letter.start <= middle);
        let near = after.saturating_sub(3)..(after + 2).min(letters.len());
        let home = near.min_by(|one, other| distance(&letters[*one]).total_cmp(&distance(&letters[*other])));
        if let (Some(home), Some(text)) = (home, mark(&glyph.text)) {
            marks_of[home].push_str(&text);
        }
    }
    let mut clusters: Vec<Cluster> = Vec::with_capacity(letters.len() * 5 / 4);
    for (index, letter) in letters.iter().enumerate() {
        let blank = letter.text.trim().is_empty();
        let gap = index.checked_sub(1).is_some_and(|before| is_space(&letters[before], letter));
        if (gap || blank) && clusters.last().is_some_and(|last| last.class != Class::Space) {
            clusters.push(Cluster::new(" "));
        }
        if !blank {
            let mut cluster = Cluster::new(letter.text.trim());
            cluster.text.push_str(&marks_of[index]);
            clusters.push(cluster);
        }
    }
    clusters
}

/// The marks alone, when the text is nothing else. Their spacing forms count: a font has them for its marks.
fn mark(text: &str) -> Option<String> {
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

/// A line from left to right as the text it was written from. `right_to_left`: the page mostly is.
pub(super) fn logical(mut clusters: Vec<Cluster>, right_to_left: bool) -> String {
    let count = |class| clusters.iter().filter(|cluster| cluster.class == class).count();
    let (right, left) = (count(Class::Right), count(Class::Left));
    if right == 0 {
        return joined(&clusters);
    }
    let from_the_right = right_to_left || right >= left;
    if from_the_right {
        clusters.reverse();
    }
    let turn = |mirror: fn(&mut Cluster)| {
        let mut clusters = clusters.clone();
        if from_the_right {
            turn_left_runs(&mut clusters, mirror)
        } else {
            turn_right_runs(&mut clusters, mirror)
        }
        clusters
    };
    // Brackets in right-to-left text are drawn as their mirror images; whether the font's map undid that already shows
    // in how they pair.
    let (mirrored, plain) = (turn(mirror), turn(|_| {}));
    joined(if unpaired(&plain) <= unpaired(&mirrored) { &plain } else { &mirrored })
}

/// Brackets that close what was not opened.
fn unpaired(clusters: &[Cluster]) -> usize {
    let (mut open, mut unpaired) = (0_usize, 0);
    for cluster in clusters {
        match cluster.text.as_str() {
            "(" | "[" | "{" | "«" | "‹" => open += 1,
            ")" | "]" | "}" | "»" | "›" if open == 0 => unpaired += 1,
            ")" | "]" | "}" | "»" | "›" => open -= 1,
            _ => {}
        }
    }
    unpaired
}

fn is_left(cluster: &Cluster) -> bool {
    matches!(cluster.class, Class::Left | Class::Digit)
}

/// Reverses each run that reads from the left, and does `outside` to what lies between the runs.
fn turn_left_runs(clusters: &mut [Cluster], outside: fn(&mut Cluster)) {
    let mut at = 0;
    while at < clusters.len() {
        if is_left(&clusters[at]) {
            let end = at + left_run(&clusters[at..]);
            clusters[at..end].reverse();
            at = end;
        } else {
            outside(&mut clusters[at]);
            at += 1;
        }
    }
}

/// How many clusters from a left-to-right one on read from the left: to the last letter of that kind before a
/// right-to-left one; a number by itself only with what holds a number together.
fn left_run(clusters: &[Cluster]) -> usize {
    let stretch = clusters.iter().take_while(|cluster| cluster.class != Class::Right).count();
    let clusters = &clusters[..stretch];
    if clusters.iter().any(|cluster| cluster.class == Class::Left) {
        let last = clusters.iter().rposition(is_left);
        return last.map_or(1, |last| closing(clusters, last + 1));
    }
    let mut end = 1;
    while let Some(next) = clusters.get(end) {
        let digit_follows = clusters.get(end + 1).is_some_and(|after| after.class == Class::Digit);
        match next.class {
            Class::Digit => end += 1,
            Class::Neutral if digit_follows && is_number_separator(&next.text) => end += 2,
            _ => break,
        }
    }
    end
}

/// A run that holds one bracket of a pair takes the other in, where it stands next to it.
fn closing(clusters: &[Cluster], end: usize) -> usize {
    let inside = |c: &str| clusters[..end].iter().any(|cluster| cluster.text == c);
    let takes = clusters.get(end).is_some_and(|next| match next.text.as_str() {
        "(" => inside(")"),
        "[" => inside("]"),
        "{" => inside("}"),
        _ => false,
    });
    end + usize::from(takes)
}

fn is_number_separator(text: &str) -> bool {
    matches!(text, "." | "," | "/" | ":" | "-" | "٫" | "٬" | "،")
}

fn mirror(cluster: &mut Cluster) {
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

/// Right-to-left words in a left-to-right line: each stretch of them is reversed, and the numbers in it turned back.
fn turn_right_runs(clusters: &mut [Cluster], mirror: fn(&mut Cluster)) {
    let mut at = 0;
    while at < clusters.len() {
        if clusters[at].class != Class::Right {
            at += 1;
            continue;
        }
        let stretch = clusters[at..].iter().take_while(|cluster| cluster.class != Class::Left).count();
        let last = clusters[at..at + stretch].iter().rposition(|cluster| cluster.class == Class::Right).unwrap_or(0);
        let run = &mut clusters[at..=at + last];
        run.reverse();
        turn_left_runs(run, mirror);
        at += last + 1;
    }
}

/// The clusters as text. Where a letter has its final form though another letter follows at once, a half-space stood;
/// where it has a form that joins to the next, no space did, whatever the gap.
fn joined(clusters: &[Cluster]) -> String {
    let mut text = String::with_capacity(clusters.len() * 2);
    let mut before = Form::Other;
    for cluster in clusters {
        match (before, cluster.class) {
            (Form::Joining, Class::Space) => continue,
            (Form::Final, Class::Right) => text.push(ZWNJ),
            _ => {}
        }
        text.push_str(&cluster.text);
        let last = cluster.text.chars().rfind(|c| !is_combining_mark(*c));
        before = last.filter(|_| cluster.class == Class::Right).map_or(Form::Other, form);
    }
    text
}

/// Which of its forms a letter that joins to the next has, as far as its code point tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Isolated or final: the next does not join.
    Final,
    /// Initial or medial: the next does.
    Joining,
    Other,
}

fn form(c: char) -> Form {
    // First of the four forms (isolated, final, initial, medial) of each letter that has four.
    const FIRST_OF_FOUR: &[u32] = &[
        0xFB52, 0xFB56, 0xFB5A, 0xFB5E, 0xFB62, 0xFB66, 0xFB6A, 0xFB6E, 0xFB72, 0xFB76, 0xFB7A, 0xFB7E, 0xFB8E, 0xFB92,
        0xFB96, 0xFB9A, 0xFBFC, 0xFE89, 0xFE8F, 0xFE95, 0xFE99, 0xFE9D, 0xFEA1, 0xFEA5, 0xFEB1, 0xFEB5, 0xFEB9, 0xFEBD,
        0xFEC1, 0xFEC5, 0xFEC9, 0xFECD, 0xFED1, 0xFED5, 0xFED9, 0xFEDD, 0xFEE1, 0xFEE5, 0xFEE9, 0xFEF1,
    ];
    let code = u32::from(c);
    match FIRST_OF_FOUR.iter().find(|first| (**first..**first + 4).contains(&code)).map(|first| code - first) {
        Some(0 | 1) => Form::Final,
        Some(_) => Form::Joining,
        None => Form::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line as it stands on paper, from left to right.
    fn read(paper: &str, right_to_left: bool) -> String {
        let clusters = paper.chars().map(|c| Cluster::new(&c.to_string())).collect();
        logical(clusters, right_to_left)
    }

    #[test]
    fn persian_lines_read_from_the_right() {
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
    fn a_few_persian_words_in_an_english_line_are_turned() {
        assert_eq!(read("the word باتک means book", false), "the word کتاب means book");
        assert_eq!(read("see ۱۲ ات ۳ هحفص here and there", false), "see ۱۲ صفحه ۳ تا here and there");
        assert_eq!(read("plain (text) 12", false), "plain (text) 12");
    }

    #[test]
    fn a_final_form_before_a_letter_tells_of_a_half_space() {
        let text = read("ﻡﻭﺭﯽﻣ", true);
        assert_eq!(text, "ﻣﯽ\u{200C}ﺭﻭﻡ");
        assert_eq!(read("ﻡﻭﺭ ﯽ ﻣ", true), "ﻣﯽ ﺭﻭﻡ", "a joining form has no space after it");
    }
}

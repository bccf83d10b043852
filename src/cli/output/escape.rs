//! Makes untrusted text harmless for a terminal: it can neither move the cursor nor reorder the text around it.

use std::borrow::Cow;

/// Replaces control characters and bidirectional overrides by visible escapes (`\n`, `\u{202e}`).
///
/// Zero-width joiners, which Persian needs, and the harmless direction marks stay.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Controls (C0, DEL, C1), line and paragraph separators, embeddings, overrides and isolates, the byte-order mark,
/// interlinear annotations and invisible tags.
const fn is_unsafe(c: char) -> bool {
    matches!(
        c,
        '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_cannot_forge_lines_colours_or_directions() {
        assert_eq!(escape("a\nhint: rm -rf /\t\u{1b}[31m"), "a\\nhint: rm -rf /\\t\\u{1b}[31m");
        assert_eq!(escape("invoice\u{202e}fdp.exe"), "invoice\\u{202e}fdp.exe");
        assert_eq!(escape("\u{9b}2J"), "\\u{9b}2J");
    }

    #[test]
    fn persian_text_is_unchanged() {
        let text = "کتاب‌های فارسی";
        assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
    }
}

//! Folding of single characters.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// The zero-width non-joiner: Persian's half-space.
const ZWNJ: char = '\u{200C}';

/// A piece of a folded character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// A letter, a digit, or a mark that belongs to the letter before it, folded.
    Word(char),
    /// Ends a word.
    Space,
    /// Ends a word and a phrase: punctuation, a line break.
    Break,
    /// The half-space.
    HalfSpace,
    /// A mark of the letter before it, removed, but part of the word's spelling.
    Mark,
    /// An invisible character.
    Nothing,
}

/// Folds one character into its pieces, in order.
pub(super) fn fold(c: char, mut emit: impl FnMut(Piece)) {
    if c.is_ascii() {
        return emit(match c {
            'a'..='z' | '0'..='9' => Piece::Word(c),
            'A'..='Z' => Piece::Word(c.to_ascii_lowercase()),
            ' ' | '\t' => Piece::Space,
            _ => Piece::Break,
        });
    }
    if let Some(piece) = direct_piece(c) {
        return emit(piece);
    }
    // A ligature of a whole phrase is a phrase of its own.
    let phrase = matches!(c, '\u{FDFA}' | '\u{FDFB}');
    if phrase {
        emit(Piece::Break);
    }
    decompose_compatible(c, |part| {
        let part = unify_letter(part);
        match direct_piece(part) {
            Some(piece) => emit(piece),
            None if part == ' ' => emit(Piece::Space),
            None if is_word(part) => lower(part, |c| emit(Piece::Word(c))),
            None => emit(Piece::Break),
        }
    });
    if phrase {
        emit(Piece::Break);
    }
}

/// Characters whose folding does not depend on their decomposition.
fn direct_piece(c: char) -> Option<Piece> {
    Some(match c {
        // Most letters of Persian text come first.
        'ا'..='غ' | 'ف'..='و' if !matches!(c, 'ة' | 'ك') => Piece::Word(c),
        'پ' | 'چ' | 'ژ' | 'ک' | 'گ' | 'ی' => Piece::Word(c),
        ZWNJ => Piece::HalfSpace,
        '\u{0640}' | 'ء' | '\u{0674}' => Piece::Nothing,
        '\u{00AD}'
        | '\u{200D}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{FEFF}'
        | '\u{034F}'
        | '\u{061C}'
        | '\u{FE00}'..='\u{FE0F}'
        | '\u{E0000}'..='\u{E01EF}' => Piece::Nothing,
        // Marks that a compatibility form carries on a space or a tatweel: that space does not separate words.
        '\u{FC5E}'..='\u{FC63}'
        | '\u{FCF2}'..='\u{FCF4}'
        | '\u{FE70}'..='\u{FE72}'
        | '\u{FE74}'
        | '\u{FE76}'..='\u{FE7F}' => Piece::Mark,
        _ if is_dropped_mark(c) => Piece::Mark,
        _ if c.is_whitespace() && !matches!(c, '\u{0085}' | '\u{2028}' | '\u{2029}') => Piece::Space,
        '\u{200B}' => Piece::Space,
        _ => return None,
    })
}

/// Marks of pronunciation that do not distinguish words. Marks that are vowels of their script are kept.
fn is_dropped_mark(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036F}'
        | '\u{0483}'..='\u{0489}'
        | '\u{0591}'..='\u{05BD}' | '\u{05BF}' | '\u{05C1}' | '\u{05C2}' | '\u{05C4}' | '\u{05C5}' | '\u{05C7}'
        | '\u{0610}'..='\u{061A}' | '\u{064B}'..='\u{065F}' | '\u{0670}'
        | '\u{06D6}'..='\u{06DC}' | '\u{06DF}'..='\u{06E8}' | '\u{06EA}'..='\u{06ED}'
        | '\u{08CA}'..='\u{08E1}' | '\u{08E3}'..='\u{08FF}'
        | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}' | '\u{20D0}'..='\u{20FF}' | '\u{FE20}'..='\u{FE2F}')
}

/// Maps the code points of one letter to a single one.
fn unify_letter(c: char) -> char {
    match c {
        'ي' | 'ى' | 'ے' => 'ی',
        'ك' | 'ڪ' => 'ک',
        'ة' | 'ۃ' | 'ہ' | 'ھ' | 'ە' => 'ه',
        'ٱ' => 'ا',
        'ς' => 'σ',
        '٠'..='٩' => digit(c, '٠'),
        '۰'..='۹' => digit(c, '۰'),
        _ => c,
    }
}

fn digit(c: char, zero: char) -> char {
    char::from_digit(u32::from(c) - u32::from(zero), 10).unwrap_or(c)
}

fn lower(c: char, mut emit: impl FnMut(char)) {
    match c {
        'ß' | 'ẞ' => (0..2).for_each(|_| emit('s')),
        _ => c.to_lowercase().for_each(|c| {
            if !is_dropped_mark(c) {
                emit(unify_letter(c));
            }
        }),
    }
}

/// Whether a folded character is part of a word: letters, digits, and the marks that [`fold`] keeps.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || is_combining_mark(c)
}

/// Whether a folded character is a letter of the Arabic script (digits are ASCII by then).
pub(super) fn is_arabic(c: char) -> bool {
    matches!(c, '\u{0620}'..='\u{064A}' | '\u{066E}'..='\u{06D3}' | '\u{06EE}'..='\u{06FF}' | '\u{0750}'..='\u{077F}' | '\u{08A0}'..='\u{08C9}')
}

//! The named character classes of POSIX (XBD 9.3.5) in bracket expressions, such as `[:digit:]` in `[[:digit:]_]`.
//!
//! They have the members of the POSIX locale: those that a database or a library knows depend on its language.

/// The members of each class, without NUL, which is in no name of a file.
const CLASSES: [(&str, &[(char, char)]); 12] = [
    ("alnum", &[('0', '9'), ('A', 'Z'), ('a', 'z')]),
    ("alpha", &[('A', 'Z'), ('a', 'z')]),
    ("blank", &[('\t', '\t'), (' ', ' ')]),
    ("cntrl", &[('\u{1}', '\u{1f}'), ('\u{7f}', '\u{7f}')]),
    ("digit", &[('0', '9')]),
    ("graph", &[('!', '~')]),
    ("lower", &[('a', 'z')]),
    ("print", &[(' ', '~')]),
    ("punct", &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')]),
    ("space", &[('\t', '\r'), (' ', ' ')]),
    ("upper", &[('A', 'Z')]),
    ("xdigit", &[('0', '9'), ('A', 'F'), ('a', 'f')]),
];

/// A class that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CharClass {
    /// Its members, as ranges.
    pub members: &'static [(char, char)],
    /// The length of `[:name:]`, in bytes.
    pub length: usize,
}

/// The class at the beginning of a text within a bracket expression; `None` if none begins there.
///
/// # Errors
/// That there is no class of this name, for the user.
pub fn char_class(text: &[u8]) -> Option<Result<CharClass, String>> {
    let rest = text.strip_prefix(b"[:")?;
    let end = rest.windows(2).position(|pair| pair == b":]")?;
    let name = str::from_utf8(&rest[..end]).ok()?;
    if !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let known = CLASSES.iter().find(|(known, _)| *known == name);
    Some(match known {
        Some((_, members)) => Ok(CharClass { members, length: end + 4 }),
        None => Err(format!("there is no class [:{name}:]")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_the_members_of_the_posix_locale() {
        type IsMember = fn(&char) -> bool;
        let is: [(&str, IsMember); 12] = [
            ("alnum", char::is_ascii_alphanumeric),
            ("alpha", char::is_ascii_alphabetic),
            ("blank", |c| matches!(c, ' ' | '\t')),
            ("cntrl", char::is_ascii_control),
            ("digit", char::is_ascii_digit),
            ("graph", char::is_ascii_graphic),
            ("lower", char::is_ascii_lowercase),
            ("print", |c| c.is_ascii_graphic() || *c == ' '),
            ("punct", char::is_ascii_punctuation),
            ("space", |c| matches!(c, ' ' | '\t'..='\r')),
            ("upper", char::is_ascii_uppercase),
            ("xdigit", char::is_ascii_hexdigit),
        ];
        for (name, is_member) in is {
            let text = format!("[:{name}:]x]");
            let class = char_class(text.as_bytes()).unwrap().unwrap();
            assert_eq!(class.length, name.len() + 4);
            for c in '\u{1}'..'\u{200}' {
                let found = class.members.iter().any(|(low, high)| (*low..=*high).contains(&c));
                assert_eq!(found, is_member(&c), "{name} and {c:?}");
            }
        }
    }

    #[test]
    fn an_unknown_class_is_an_error_and_other_brackets_are_none() {
        assert_eq!(char_class(b"[:letter:]]"), Some(Err("there is no class [:letter:]".to_owned())));
        assert!(
            [&b"[:digit]"[..], b"[digit:]", b"[:di git:]", b"[::", b"", b"[:\xff:]"]
                .iter()
                .all(|text| char_class(text).is_none())
        );
    }
}

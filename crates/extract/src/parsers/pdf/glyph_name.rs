//! The text of glyph names (Adobe Glyph List Specification).

use lopdf::{Document, Encoding, Object, dictionary};

/// The longest name that is read, in bytes; the Adobe Glyph List Specification allows 63.
const MAX_NAME: usize = 256;

/// The text of a glyph name: `uni06A9`, `u1F600`, `f_i`, `alef.fina`, or a name in the Adobe Glyph List.
pub(super) fn text(glyph: &[u8]) -> Option<String> {
    let name =
        std::str::from_utf8(glyph).ok()?.split('.').next().filter(|name| !name.is_empty() && name.len() <= MAX_NAME)?;
    if name.contains('_') {
        return name.split('_').map(|part| text(part.as_bytes())).collect();
    }
    let hex = |digits: &str| {
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(digits, 16).ok().filter(|_| is_hex).and_then(char::from_u32)
    };
    let digits = name.strip_prefix("uni").or_else(|| name.strip_prefix("Uni")).unwrap_or_default();
    if digits.is_ascii() && !digits.is_empty() && digits.len() % 4 == 0 {
        let chars: Option<String> = digits.as_bytes().chunks(4).map(|d| hex(std::str::from_utf8(d).ok()?)).collect();
        if chars.is_some() {
            return chars;
        }
    }
    let digits = name.strip_prefix("u+").or_else(|| name.strip_prefix('u'));
    let scalar = digits.filter(|digits| (4..=6).contains(&digits.len())).and_then(hex);
    scalar.map(String::from).or_else(|| listed(name))
}

/// The number of the glyph that a name such as `g12`, `glyph12` or `cid00012` says.
pub(super) fn index(glyph: &[u8]) -> Option<u16> {
    let name = std::str::from_utf8(glyph).ok()?.split('.').next()?;
    let prefixes = ["glyph", "index", "cid", "gid", "g", "G"];
    let digits = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix))?;
    digits.trim_start_matches(['_', '-']).parse().ok()
}

/// `lopdf` has the list, but only as the differences of an encoding.
fn listed(name: &str) -> Option<String> {
    let differences = vec![Object::Integer(0), Object::Name(name.as_bytes().to_vec())];
    let font = dictionary! { "Type" => "Font", "Encoding" => dictionary! { "Differences" => differences } };
    let document = Document::new();
    match font.get_font_encoding(&document) {
        Ok(encoding @ Encoding::Differences(_)) => encoding.bytes_to_string(&[0]).ok().filter(|text| !text.is_empty()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glyph_names_map_to_text() {
        for (name, expected) in [
            ("A", "A"),
            ("uni06A9", "ک"),
            ("uni06440627", "لا"),
            ("u1F600", "😀"),
            ("u06A9", "ک"),
            ("f_i", "fi"),
            ("f_f_i.alt", "ffi"),
            ("uni0644_uni0627.fina", "لا"),
            ("afii57409", "ء"),
            ("quoteright", "’"),
            ("uni06CC.fina", "ی"),
            ("A.sc", "A"),
            ("union", "∪"),
            ("universal", "∀"),
        ] {
            assert_eq!(text(name.as_bytes()).as_deref(), Some(expected), "{name}");
        }
        assert_eq!(text(b".notdef"), None);
        assert_eq!(text(b"g123"), None);
        assert_eq!(text(b"uni\xFF"), None);
        assert_eq!(text(b"uni+6A9"), None);
    }

    #[test]
    fn glyph_names_have_an_index() {
        for (name, expected) in [
            ("g12", Some(12)),
            ("glyph7", Some(7)),
            ("cid00012", Some(12)),
            ("gid_3.alt", Some(3)),
            ("germandbls", None),
        ] {
            assert_eq!(index(name.as_bytes()), expected, "{name}");
        }
    }
}

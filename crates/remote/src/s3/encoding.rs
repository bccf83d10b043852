//! URL encoding of keys.

/// A key for a path or a header: everything but unreserved characters and slashes as `%XX`.
pub(super) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte))
            }
            other => {
                encoded.push('%');
                encoded.push_str(&hex::encode_upper([other]));
            }
        }
    }
    encoded
}

/// A key that the store encoded with `encoding-type=url`, as form data: `+` is a space. `None` if it is not valid.
pub(super) fn form_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let pair = [rest.next()?, rest.next()?];
                let mut byte = [0];
                hex::decode_to_slice(pair, &mut byte).ok()?;
                byte[0]
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_keys_decode_to_themselves() {
        for text in ["a/b", "a b+c%d", "با/سلام", "t&<>\"'"] {
            assert_eq!(form_decode(&percent_encode(text)).unwrap(), text);
        }
        assert_eq!(form_decode("a+b%2Bc").unwrap(), "a b+c");
        assert_eq!((form_decode("%"), form_decode("%zz"), form_decode("%ff")), (None, None, None));
    }
}

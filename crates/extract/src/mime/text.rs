//! Text formats, by how the text starts.

/// The format of a sample that is text.
pub(super) fn detect(sample: &[u8]) -> Option<&'static str> {
    if !is_text(sample) {
        return None;
    }
    let text = decode(sample);
    let text = text.trim_start_matches(['\u{FEFF}', ' ', '\t', '\r', '\n', '\u{0C}']);
    Some(xml(text).or_else(|| html(text)).or_else(|| json(text)).or_else(|| other(text)).unwrap_or("text/plain"))
}

/// Whether the sample is not empty and has no bytes that only binary data has.
pub(super) fn is_text(sample: &[u8]) -> bool {
    match sample {
        [] => false,
        [0xFF, 0xFE, 0, 0, ..] => false,
        [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] => true,
        _ => !sample.iter().any(|byte| matches!(byte, 0..=8 | 0x0B | 0x0E..=0x1A | 0x1C..=0x1F | 0x7F)),
    }
}

/// The sample as text: UTF-16 if it has a byte order mark, otherwise with what is not UTF-8 replaced.
fn decode(sample: &[u8]) -> String {
    let utf16 = |unit: fn([u8; 2]) -> u16| {
        let units = sample.as_chunks::<2>().0.iter().map(|pair| unit(*pair));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match sample {
        [0xFE, 0xFF, ..] => utf16(u16::from_be_bytes),
        [0xFF, 0xFE, ..] => utf16(u16::from_le_bytes),
        _ => String::from_utf8_lossy(sample).into_owned(),
    }
}

fn xml(text: &str) -> Option<&'static str> {
    let declared = starts_with(text, "<?xml");
    match root(text) {
        Some(name) if name.eq_ignore_ascii_case("svg") => Some("image/svg+xml"),
        Some(name) if declared && name.eq_ignore_ascii_case("html") => Some("application/xhtml+xml"),
        Some("rss") if declared => Some("application/rss+xml"),
        Some("feed") if declared => Some("application/atom+xml"),
        _ => declared.then_some("application/xml"),
    }
}

/// The first element's name, after declarations and comments.
fn root(mut text: &str) -> Option<&str> {
    loop {
        text = text.trim_start();
        if let Some(rest) = text.strip_prefix("<!--") {
            text = rest.split_once("-->")?.1;
        } else if text.starts_with("<?") || text.starts_with("<!") {
            text = text.split_once('>')?.1;
        } else {
            let name = text.strip_prefix('<')?;
            return name.split(|c: char| c.is_whitespace() || c == '>' || c == '/').next();
        }
    }
}

/// The starts by which browsers recognise HTML (WHATWG MIME Sniffing), and a few other common ones.
fn html(text: &str) -> Option<&'static str> {
    const TAGS: &[&str] = &[
        "html", "head", "script", "iframe", "h1", "div", "font", "table", "a", "style", "title", "b", "body", "br",
        "p", "meta", "link", "section", "article", "main", "ul", "ol", "span",
    ];
    let page = starts_with(text, "<!doctype html")
        || text.starts_with("<!--")
            && root(text).is_some_and(|name| TAGS.iter().any(|tag| name.eq_ignore_ascii_case(tag)))
        || TAGS.iter().any(|tag| {
            text.strip_prefix('<').is_some_and(|rest| {
                starts_with(rest, tag) && rest[tag.len()..].starts_with(|c: char| c.is_whitespace() || c == '>')
            })
        });
    page.then_some("text/html")
}

/// JSON, as far as the sample shows: one document, or one per line.
fn json(text: &str) -> Option<&'static str> {
    if !text.starts_with(['{', '[']) {
        return None;
    }
    let mut documents = 0;
    for document in serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>() {
        match document {
            Ok(_) => documents += 1,
            Err(error) if error.is_eof() => break,
            // The sample may end within a character.
            Err(_) if text.ends_with(char::REPLACEMENT_CHARACTER) => break,
            Err(_) => return None,
        }
    }
    Some(if documents > 1 { "application/jsonl" } else { "application/json" })
}

fn other(text: &str) -> Option<&'static str> {
    if text.starts_with("WEBVTT") {
        return Some("text/vtt");
    }
    if text.starts_with("BEGIN:VCARD") {
        return Some("text/vcard");
    }
    if text.starts_with("BEGIN:VCALENDAR") {
        return Some("text/calendar");
    }
    csv(text).then_some("text/csv")
}

/// At least three complete lines with the same number of separators each, at least two.
fn csv(text: &str) -> bool {
    let mut lines: Vec<&str> = text.lines().take(20).collect();
    if !text.ends_with('\n') && text.lines().nth(20).is_none() {
        lines.pop();
    }
    [',', ';', '\t'].into_iter().any(|separator| {
        let counts: Vec<usize> = lines.iter().map(|line| separators(line, separator)).collect();
        counts.len() >= 3 && counts[0] >= 2 && counts.iter().all(|count| *count == counts[0])
    })
}

fn separators(line: &str, separator: char) -> usize {
    let mut quoted = false;
    line.chars()
        .filter(|c| {
            quoted ^= *c == '"';
            !quoted && *c == separator
        })
        .count()
}

fn starts_with(text: &str, with: &str) -> bool {
    text.as_bytes().get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with.as_bytes()))
}

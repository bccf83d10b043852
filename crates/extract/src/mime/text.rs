//! Text formats, by how the text starts.

use crate::charset;

/// The format of a sample that is text.
pub(super) fn detect(sample: &[u8]) -> Option<&'static str> {
    if !charset::is_text(sample) {
        return None;
    }
    let text = charset::detect(sample, None).decode(sample);
    let text = text.trim_start_matches(['\u{FEFF}', '\0', ' ', '\t', '\r', '\n', '\u{0C}']);
    Some(xml(text).or_else(|| html(text)).or_else(|| json(text)).or_else(|| other(text)).unwrap_or("text/plain"))
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
        if let Some(rest) = text.strip_prefix("<!").filter(|rest| rest.starts_with("--")) {
            // The dashes that begin a comment may end it too: `<!-->`.
            text = rest.get(rest.find("-->")? + "-->".len()..)?;
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

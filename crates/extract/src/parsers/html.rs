//! Text of a page: what a reader would see, in one pass, without a tree, so that no nesting is too deep.

use std::fs::File;

use encoding_rs::Encoding;

use super::sink::TextSink;
use super::{ExtractError, Extraction, Language, Limits, language, plain};

/// Elements whose content is not text of the page.
const DROPPED: &[&str] = &["script", "style", "template", "noscript", "iframe", "noembed", "noframes", "svg", "object"];
/// Elements that stand in lines of their own.
const BLOCKS: &[&str] = &[
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "caption",
    "dd",
    "details",
    "dialog",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "html",
    "legend",
    "li",
    "main",
    "menu",
    "nav",
    "ol",
    "option",
    "p",
    "pre",
    "section",
    "summary",
    "table",
    "tbody",
    "tfoot",
    "thead",
    "tr",
    "ul",
];
/// A title beyond this is cut.
const TITLE_BYTES: usize = 2000;

/// Reads a page.
pub(super) fn extract(file: File, limits: &Limits) -> Result<Extraction, ExtractError> {
    // Markup is most of many a page, so more of it is read than becomes text.
    let wide = Limits { max_text_bytes: limits.max_text_bytes.saturating_mul(8), ..*limits };
    let (bytes, whole) = plain::read(file, &wide)?;
    let (source, charset) = plain::decode(&bytes, declared_charset(&bytes));
    drop(bytes);
    let mut page = Page::new(limits.max_text_bytes);
    page.read(&source);
    let (title, _) = page.title.finish();
    let (text, cut) = page.text.finish();
    let mut extraction = Extraction {
        text,
        truncated: cut || !whole,
        title: title.map(|title| title.split_whitespace().collect::<Vec<_>>().join(" ")),
        charset: Some(charset.name().to_lowercase()),
        ..Extraction::default()
    };
    match &extraction.text {
        Some(text) => extraction.languages = language::detect(text),
        None => extraction.note("the page has no text"),
    }
    if extraction.languages.is_empty() {
        let declared = page.language.filter(|_| extraction.text.is_some());
        extraction.languages.extend(declared.map(|code| Language { code, confidence: 0.5, share: 1.0 }));
    }
    Ok(extraction)
}

/// The character set that a `meta` within the first KiB names.
fn declared_charset(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]).to_ascii_lowercase();
    let after = &head[head.find("charset=")? + "charset=".len()..];
    let label: String = after
        .trim_start_matches(['"', '\'', ' '])
        .chars()
        .take_while(|c| c.is_alphanumeric() || "-_".contains(*c))
        .collect();
    Encoding::for_label(label.as_bytes())
}

struct Page {
    text: TextSink,
    title: TextSink,
    language: Option<String>,
    in_title: bool,
    titled: bool,
}

impl Page {
    fn new(limit: usize) -> Self {
        Self {
            text: TextSink::new(limit),
            title: TextSink::new(TITLE_BYTES),
            language: None,
            in_title: false,
            titled: false,
        }
    }

    fn read(&mut self, mut source: &str) {
        while !source.is_empty() && !self.text.is_full() {
            let Some(at) = source.find('<') else { return self.words(source) };
            self.words(&source[..at]);
            source = self.markup(&source[at..]);
        }
    }

    /// Handles what a `<` begins; returns what follows.
    fn markup<'a>(&mut self, source: &'a str) -> &'a str {
        if let Some(comment) = source.strip_prefix("<!--") {
            return comment.find("-->").map_or("", |end| &comment[end + 3..]);
        }
        let inside = &source[1..];
        let begins = inside.trim_start_matches('/');
        if !begins.starts_with(|c: char| c.is_ascii_alphabetic()) {
            if inside.starts_with(['!', '?', '/']) {
                return inside.find('>').map_or("", |end| &inside[end + 1..]);
            }
            self.words("<");
            return inside;
        }
        let (tag, rest) = inside.split_at(tag_end(inside));
        let rest = rest.strip_prefix('>').unwrap_or(rest);
        let closes = tag.starts_with('/');
        let name_end = begins.find(|c: char| c.is_whitespace() || c == '>' || c == '/').unwrap_or(begins.len());
        let name = begins[..name_end.min(20).min(begins.floor_char_boundary(20))].to_ascii_lowercase();
        self.tag(&name, tag, closes);
        if !closes && !tag.ends_with('/') && DROPPED.contains(&name.as_str()) {
            return after_closing(rest, &name);
        }
        rest
    }

    fn tag(&mut self, name: &str, tag: &str, closes: bool) {
        match name {
            "title" => {
                self.in_title = !closes && !self.titled;
                self.titled |= closes;
            }
            "html" if !closes && self.language.is_none() => {
                self.language = attribute(tag, "lang").and_then(language_code)
            }
            "br" => self.text.line(),
            "td" | "th" => self.text.space(),
            "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "ul" | "ol" | "table" | "blockquote" => {
                self.text.paragraph()
            }
            "img" => {
                if let Some(alt) = attribute(tag, "alt") {
                    self.text.space();
                    self.words(alt);
                    self.text.space();
                }
            }
            name if BLOCKS.contains(&name) => self.text.line(),
            _ => {}
        }
    }

    /// Text between tags: entities become characters, runs of white space one space.
    fn words(&mut self, raw: &str) {
        let sink = if self.in_title { &mut self.title } else { &mut self.text };
        let decoded = html_escape::decode_html_entities(raw);
        for c in decoded.chars() {
            if c.is_whitespace() && c != '\u{A0}' {
                sink.space()
            } else {
                sink.push_char(c)
            }
            if sink.is_full() {
                return;
            }
        }
    }
}

/// Where a tag ends: at the first `>` outside quotes. Quotes count only behind `=`, as in browsers.
fn tag_end(inside: &str) -> usize {
    let bytes = inside.as_bytes();
    let mut at = 0;
    let mut before = b' ';
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'>' => return at,
            b'"' | b'\'' if before == b'=' => {
                let rest = &bytes[at + 1..];
                match rest.iter().position(|other| other == byte) {
                    Some(end) => at += end + 1,
                    None => return inside.find('>').unwrap_or(bytes.len()),
                }
            }
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            before = *byte;
        }
        at += 1;
    }
    bytes.len()
}

/// What follows `</name>`; nothing when the element never ends.
fn after_closing<'a>(source: &'a str, name: &str) -> &'a str {
    let mut rest = source;
    while let Some(at) = rest.find("</") {
        rest = &rest[at + 2..];
        if rest.get(..name.len()).is_some_and(|closing| closing.eq_ignore_ascii_case(name)) {
            return rest.find('>').map_or("", |end| &rest[end + 1..]);
        }
    }
    ""
}

/// The value of a tag's attribute.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let mut from = 0;
    while let Some(at) = tag.get(from..)?.find(name).map(|at| at + from) {
        from = at + name.len();
        let stands_alone = tag[..at].ends_with(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
        let Some(value) = tag[from..].trim_start().strip_prefix('=').filter(|_| stands_alone) else { continue };
        let value = value.trim_start();
        return match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split(quote).next(),
            _ => value.split(|c: char| c.is_whitespace() || c == '>').next(),
        };
    }
    None
}

/// `fa-IR` is `fa`.
fn language_code(declared: &str) -> Option<String> {
    let code = declared.trim().split(['-', '_']).next()?.to_ascii_lowercase();
    ((2..=3).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase())).then_some(code)
}

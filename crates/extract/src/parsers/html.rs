//! Text of an HTML page as a reader would see it: from a token stream, without a tree, so that no nesting is too deep.

use std::fs::File;

use encoding_rs::Encoding;
use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Emitter, Error as TokenizerError, Span, State, Tokenizer};

use super::sink::TextSink;
use super::types::{ExtractError, Extraction, Language, Limits};
use super::{language, plain};

/// Elements whose content is not text of the page.
const DROPPED: &[&str] = &["script", "style", "template", "noscript", "iframe", "noembed", "noframes", "svg", "object"];
/// Elements that start and end a line.
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
/// A longer title is cut.
const MAX_TITLE_BYTES: usize = 2000;

/// Reads a page.
pub(super) fn extract(file: File, limits: &Limits) -> Result<Extraction, ExtractError> {
    let (bytes, whole) = plain::read(file, &read_limits(limits))?;
    let (source, charset) = plain::decode(&bytes, declared_charset(&bytes));
    drop(bytes);
    let mut page = HtmlPage::new(limits.max_text_bytes);
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

/// The text of a piece of HTML or XHTML, cut at the limit; `None` if it has none.
pub(super) fn text(source: &str, max_bytes: usize) -> Option<String> {
    let mut page = HtmlPage::new(max_bytes);
    page.read(source);
    page.text.finish().0
}

/// The limits of reading a page: much of it is markup, so more of it is read than becomes text.
pub(super) fn read_limits(limits: &Limits) -> Limits {
    Limits { max_text_bytes: limits.max_text_bytes.saturating_mul(8), ..*limits }
}

/// The character set that a `meta` within the first KiB declares.
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

/// What the page needs from its tokenizer.
enum TokenizerAction {
    /// The content of the element that was opened is dropped: no markup but its end tag counts.
    DropContent,
    /// There is enough text.
    Stop,
    /// The source ended within the tag that begins at this offset.
    CloseTag(usize),
}

/// A start tag, and those of its attributes that matter.
struct OpenTag {
    name: String,
    alt: Option<String>,
    lang: Option<String>,
}

/// The attribute that is being read.
enum Attribute {
    Alt,
    Lang,
    Ignored,
}

/// A page's text and title so far.
struct HtmlPage {
    text: TextSink,
    title: TextSink,
    language: Option<String>,
    in_title: bool,
    /// Whether the first title has ended: any other is not the page's.
    has_title: bool,
    /// The element whose content is being dropped.
    dropped: Option<String>,
    /// The start tag that is being read.
    tag: Option<OpenTag>,
    attribute: Attribute,
    /// Where the tag that is being read begins, once it has an attribute.
    tag_start: Option<usize>,
}

impl HtmlPage {
    fn new(max_text_bytes: usize) -> Self {
        Self {
            text: TextSink::new(max_text_bytes),
            title: TextSink::new(MAX_TITLE_BYTES),
            language: None,
            in_title: false,
            has_title: false,
            dropped: None,
            tag: None,
            attribute: Attribute::Ignored,
            tag_start: None,
        }
    }

    /// Reads the source until it ends or there is enough text.
    ///
    /// A tag that never ends, because a quote in it never does, would take the rest of the page with it. It is closed at
    /// its first `>` instead. As no quote of that kind follows, this happens a few times at most.
    fn read(&mut self, source: &str) {
        let mut rest = source;
        while let Some(start) = self.tokenize(rest) {
            let end = rest[start..].find('>').map_or(rest.len(), |end| start + end);
            let tag = &rest[start..end];
            for closing in [">", "\">", "'>"] {
                if self.tokenize(&format!("{tag}{closing}")).is_none() {
                    break;
                }
            }
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }

    /// Reads the source until it ends or there is enough text. Returns where a tag begins that does not end.
    fn tokenize(&mut self, source: &str) -> Option<usize> {
        self.tag = None;
        self.tag_start = None;
        let dropped = self.dropped.clone();
        let handle = |event: CallbackEvent<'_>, span: Span<usize>| self.handle(&event, span, source);
        let mut emitter = CallbackEmitter::new(handle);
        emitter.set_last_start_tag(dropped.as_deref().map(str::as_bytes));
        let mut tokenizer = Tokenizer::new_with_emitter(source, emitter);
        if dropped.is_some() {
            tokenizer.set_state(State::RawText);
        }
        while let Some(Ok(action)) = tokenizer.next() {
            match action {
                TokenizerAction::DropContent => tokenizer.set_state(State::RawText),
                TokenizerAction::Stop => return None,
                TokenizerAction::CloseTag(start) => return Some(start),
            }
        }
        None
    }

    fn handle(&mut self, event: &CallbackEvent<'_>, span: Span<usize>, source: &str) -> Option<TokenizerAction> {
        match *event {
            CallbackEvent::OpenStartTag { name } => {
                let name = String::from_utf8_lossy(name).into_owned();
                self.tag = Some(OpenTag { name, alt: None, lang: None });
                self.tag_start = Some(span.start);
            }
            CallbackEvent::AttributeName { name } => {
                self.attribute_name(name);
                // An end tag is reported when it ends; its attributes, which have no meaning, are reported before.
                self.tag_start = self.tag_start.or_else(|| source.get(..span.start)?.rfind("</"));
            }
            CallbackEvent::AttributeValue { value } => self.attribute_value(value),
            CallbackEvent::CloseStartTag { .. } => {
                // Unlike in XML, an unquoted value may end in the slash; the element counts as empty all the same.
                let is_empty = source.get(..span.start).is_some_and(|before| before.ends_with('/'));
                return self.start_tag(is_empty);
            }
            CallbackEvent::EndTag { name } => {
                self.tag_start = None;
                if self.dropped.take().is_none() {
                    self.tag(&String::from_utf8_lossy(name), None);
                }
            }
            CallbackEvent::String { value } if self.dropped.is_none() => self.words(&String::from_utf8_lossy(value)),
            CallbackEvent::Error(TokenizerError::EofInTag) => return self.tag_start.map(TokenizerAction::CloseTag),
            _ => {}
        }
        self.text.is_full().then_some(TokenizerAction::Stop)
    }

    /// Of two attributes with one name, the first counts.
    fn attribute_name(&mut self, name: &[u8]) {
        self.attribute = match (name, &mut self.tag) {
            (b"alt", Some(OpenTag { alt: alt @ None, .. })) => {
                *alt = Some(String::new());
                Attribute::Alt
            }
            (b"lang", Some(OpenTag { lang: lang @ None, .. })) => {
                *lang = Some(String::new());
                Attribute::Lang
            }
            _ => Attribute::Ignored,
        };
    }

    fn attribute_value(&mut self, value: &[u8]) {
        let Some(tag) = &mut self.tag else { return };
        match self.attribute {
            Attribute::Alt => tag.alt = Some(String::from_utf8_lossy(value).into_owned()),
            Attribute::Lang => tag.lang = Some(String::from_utf8_lossy(value).into_owned()),
            Attribute::Ignored => {}
        }
    }

    fn start_tag(&mut self, is_empty: bool) -> Option<TokenizerAction> {
        self.tag_start = None;
        let tag = self.tag.take()?;
        self.tag(&tag.name, Some(&tag));
        if self.text.is_full() {
            return Some(TokenizerAction::Stop);
        }
        if is_empty || !DROPPED.contains(&tag.name.as_str()) {
            return None;
        }
        self.dropped = Some(tag.name);
        Some(TokenizerAction::DropContent)
    }

    /// Applies the layout of a start or end tag.
    fn tag(&mut self, name: &str, start: Option<&OpenTag>) {
        match name {
            "title" => {
                self.in_title = start.is_some() && !self.has_title;
                self.has_title |= start.is_none();
            }
            "html" if start.is_some() && self.language.is_none() => {
                self.language = start.and_then(|tag| language_code(tag.lang.as_deref()?));
            }
            "br" => self.text.line(),
            "td" | "th" => self.text.space(),
            "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "ul" | "ol" | "table" | "blockquote" => {
                self.text.paragraph()
            }
            "img" => {
                if let Some(alt) = start.and_then(|tag| tag.alt.as_deref()) {
                    self.text.space();
                    self.words(alt);
                    self.text.space();
                }
            }
            name if BLOCKS.contains(&name) => self.text.line(),
            _ => {}
        }
    }

    /// Adds text between tags: runs of white space become one space.
    fn words(&mut self, text: &str) {
        let sink = if self.in_title { &mut self.title } else { &mut self.text };
        for c in text.chars() {
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

/// `fa-IR` is `fa`.
fn language_code(declared: &str) -> Option<String> {
    let code = declared.trim().split(['-', '_']).next()?.to_ascii_lowercase();
    ((2..=3).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase())).then_some(code)
}

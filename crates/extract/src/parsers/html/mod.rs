//! Text of an HTML page as a reader would see it: from a token stream, without a tree, so that no nesting is too deep.

mod blocks;
mod hidden;
pub(super) mod open_elements;

use std::fs::File;

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Emitter, Error as TokenizerError, Span, State, Tokenizer};

use self::blocks::is_block;
use self::hidden::{HiddenElement, Showing};
use self::open_elements::{OpenElements, TagKind};
use super::sink::TextSink;
use super::types::{ExtractError, Extraction, Language, Limits};
use super::{html_charset, language, plain};
use crate::charset;

/// Elements whose content is no markup and not shown. (Scripts run, as far as `noscript` is concerned.)
const HIDDEN_CONTENT: &[&str] = &["script", "style", "noscript", "iframe", "noembed", "noframes"];
/// Elements whose white space is shown as it is.
const PREFORMATTED: [&str; 5] = ["listing", "plaintext", "pre", "textarea", "xmp"];
/// A longer title is cut.
const MAX_TITLE_BYTES: usize = 2000;

/// Reads a page.
pub(super) fn extract(file: File, limits: &Limits) -> Result<Extraction, ExtractError> {
    let (bytes, whole) = plain::read(file, &read_limits(limits))?;
    let charset = charset::detect(&bytes, html_charset::declared(&bytes));
    let source = charset.decode(&bytes);
    drop(bytes);
    let mut page = HtmlPage::new(limits.max_text_bytes);
    page.read(&source);
    let unread = page.unread().filter(|_| whole);
    let (title, _) = page.title.finish();
    let (text, cut) = page.text.finish();
    let mut extraction = Extraction {
        text,
        truncated: cut || !whole,
        title: title.map(|title| title.split_whitespace().collect::<Vec<_>>().join(" ")),
        charset: Some(charset.name()),
        ..Extraction::default()
    };
    extraction.notes.extend(unread);
    if let Some(text) = &extraction.text {
        extraction.languages = language::detect(text);
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

/// How the content of an element is tokenized, if not as markup (WHATWG HTML, 13.2.6.4.4 and 13.2.6.4.7).
pub(super) fn content_state(element: &[u8]) -> Option<State> {
    match element {
        b"title" | b"textarea" => Some(State::RcData),
        b"script" => Some(State::ScriptData),
        b"style" | b"iframe" | b"noembed" | b"noframes" | b"noscript" | b"xmp" => Some(State::RawText),
        b"plaintext" => Some(State::PlainText),
        _ => None,
    }
}

/// What the page needs from its tokenizer.
enum TokenizerAction {
    /// The content of the element that was opened is tokenized in this state.
    ReadContent(State),
    /// There is enough text.
    Stop,
    /// The source ended within the tag that begins at this offset.
    CloseTag(usize),
    /// What begins at this offset, within SVG or MathML, is character data.
    ReadCharacterData(usize),
}

/// How the tokenizer ended.
enum TokenizerEnd {
    /// At the end of the source, or with enough text.
    Done,
    /// The source ended within the tag that begins at this offset.
    InTag(usize),
    /// The source ended within an element, whose content begins at this offset and has no markup but its end tag.
    InElement(usize),
    /// Character data begins at this offset.
    AtCharacterData(usize),
}

/// A start tag, and those of its attributes that matter.
struct OpenTag {
    name: String,
    /// By [`Attribute`].
    values: [Option<String>; ATTRIBUTES],
}

impl OpenTag {
    fn value(&self, attribute: Attribute) -> Option<&str> {
        self.values[attribute as usize].as_deref()
    }

    fn showing(&self) -> Showing<'_> {
        Showing {
            hidden: self.value(Attribute::Hidden),
            style: self.value(Attribute::Style),
            is_open: self.value(Attribute::Open).is_some(),
        }
    }
}

/// An attribute that matters.
#[derive(Clone, Copy)]
enum Attribute {
    Alt,
    Hidden,
    Lang,
    Open,
    Style,
}

const ATTRIBUTES: usize = Attribute::Style as usize + 1;

impl Attribute {
    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"alt" => Self::Alt,
            b"hidden" => Self::Hidden,
            b"lang" => Self::Lang,
            b"open" => Self::Open,
            b"style" => Self::Style,
            _ => return None,
        })
    }
}

/// A page's text and title so far.
struct HtmlPage {
    text: TextSink,
    title: TextSink,
    language: Option<String>,
    in_title: bool,
    /// Whether the first title has ended: any other is not the page's.
    has_title: bool,
    open: OpenElements,
    hidden: HiddenElement,
    /// How many elements are open whose white space is shown as it is.
    preformatted: usize,
    /// Whether a line break that follows is not shown, because it is the first character of such an element.
    skips_line_break: bool,
    /// The element whose content has no markup but its end tag, and how it is tokenized.
    content: Option<(String, State)>,
    /// Where that content begins.
    content_start: usize,
    /// The length of the text before that content.
    text_before_content: usize,
    /// Whether an element of that kind never ended: from then on, a script ends at its first end tag, and the content of the
    /// others is markup, so that no text is lost.
    is_lenient: bool,
    /// Characters other than white space since text is not shown.
    hidden_chars: usize,
    /// Such characters in the comment that was read last, if nothing follows it.
    comment_chars: usize,
    /// Whether the source ends in a comment.
    is_in_comment: bool,
    /// The start tag that is being read.
    tag: Option<OpenTag>,
    /// The attribute that is being read, if it matters.
    attribute: Option<Attribute>,
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
            open: OpenElements::default(),
            hidden: HiddenElement::default(),
            preformatted: 0,
            skips_line_break: false,
            content: None,
            content_start: 0,
            text_before_content: 0,
            is_lenient: false,
            hidden_chars: 0,
            comment_chars: 0,
            is_in_comment: false,
            tag: None,
            attribute: None,
            tag_start: None,
        }
    }

    /// Reads the source until it ends or there is enough text.
    ///
    /// A tag that never ends, because a quote in it never does, would take the rest of the page with it. It is closed at
    /// its first `>` instead. As no quote of that kind follows, this happens a few times at most. An element that never ends,
    /// and whose content is no markup, would do so too: see [`Self::is_lenient`].
    fn read(&mut self, source: &str) {
        let mut rest = source;
        loop {
            match self.tokenize(rest) {
                TokenizerEnd::Done => return,
                TokenizerEnd::InTag(start) => {
                    let end = rest[start..].find('>').map_or(rest.len(), |end| start + end);
                    let tag = &rest[start..end];
                    for closing in [">", "\">", "'>"] {
                        if !matches!(self.tokenize(&format!("{tag}{closing}")), TokenizerEnd::InTag(_)) {
                            break;
                        }
                    }
                    rest = rest.get(end + 1..).unwrap_or_default();
                }
                TokenizerEnd::InElement(start) => {
                    self.become_lenient();
                    rest = rest.get(start..).unwrap_or_default();
                }
                TokenizerEnd::AtCharacterData(start) => {
                    let data = rest.get(start..).unwrap_or_default();
                    let data = data.split_once("[CDATA[").map_or(data, |(_, data)| data);
                    let (text, after) = data.split_once("]]>").unwrap_or((data, ""));
                    self.string(text);
                    rest = after;
                }
            }
        }
    }

    fn become_lenient(&mut self) {
        self.is_lenient = true;
        self.content = self.content.take().filter(|(name, _)| name == "script").map(|(name, _)| (name, State::RawText));
        match self.in_title {
            true => self.title = TextSink::new(MAX_TITLE_BYTES),
            false => self.text.truncate(self.text_before_content),
        }
        self.in_title = false;
        self.preformatted = 0;
        self.hidden_chars = 0;
    }

    /// The state in which the content of an element is tokenized.
    fn state_of(&self, name: &str) -> Option<State> {
        match content_state(name.as_bytes()) {
            Some(State::ScriptData) if self.is_lenient => Some(State::RawText),
            Some(State::RcData) if self.is_lenient => None,
            state => state,
        }
    }

    fn tokenize(&mut self, source: &str) -> TokenizerEnd {
        self.tag = None;
        self.tag_start = None;
        self.content_start = 0;
        self.comment_chars = 0;
        let content = self.content.clone();
        let handle = |event: CallbackEvent<'_>, span: Span<usize>| self.handle(&event, span, source);
        let mut emitter = CallbackEmitter::new(handle);
        emitter.set_last_start_tag(content.as_ref().map(|(name, _)| name.as_bytes()));
        let mut tokenizer = Tokenizer::new_with_emitter(source, emitter);
        if let Some((_, state)) = content {
            tokenizer.set_state(state);
        }
        while let Some(Ok(action)) = tokenizer.next() {
            match action {
                TokenizerAction::ReadContent(state) => tokenizer.set_state(state),
                TokenizerAction::Stop => return TokenizerEnd::Done,
                TokenizerAction::CloseTag(start) => return TokenizerEnd::InTag(start),
                TokenizerAction::ReadCharacterData(start) => return TokenizerEnd::AtCharacterData(start),
            }
        }
        drop(tokenizer);
        if source.ends_with('>') && !self.is_in_comment {
            self.comment_chars = 0;
        }
        match &self.content {
            Some((_, State::ScriptData | State::RcData)) => TokenizerEnd::InElement(self.content_start),
            _ => TokenizerEnd::Done,
        }
    }

    fn handle(&mut self, event: &CallbackEvent<'_>, span: Span<usize>, source: &str) -> Option<TokenizerAction> {
        let mut comment_chars = 0;
        match *event {
            CallbackEvent::OpenStartTag { name } => {
                let name = String::from_utf8_lossy(name).into_owned();
                self.tag = Some(OpenTag { name, values: Default::default() });
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
                self.content_start = span.end;
                return self.start_tag(is_empty);
            }
            CallbackEvent::EndTag { name } => {
                self.tag_start = None;
                self.end_tag(&String::from_utf8_lossy(name));
            }
            CallbackEvent::String { value } => self.string(&String::from_utf8_lossy(value)),
            CallbackEvent::Comment { value } if value.starts_with(b"[CDATA[") && self.open.is_in_foreign_content() => {
                return Some(TokenizerAction::ReadCharacterData(span.start));
            }
            CallbackEvent::Comment { value } => comment_chars = visible_chars(&String::from_utf8_lossy(value)),
            CallbackEvent::Error(TokenizerError::EofInComment) => self.is_in_comment = true,
            CallbackEvent::Error(TokenizerError::EofInTag) => return self.tag_start.map(TokenizerAction::CloseTag),
            _ => {}
        }
        self.comment_chars = comment_chars;
        self.text.is_full().then_some(TokenizerAction::Stop)
    }

    /// Of two attributes with one name, the first counts.
    fn attribute_name(&mut self, name: &[u8]) {
        self.attribute = None;
        let (Some(tag), Some(attribute)) = (&mut self.tag, Attribute::of(name)) else { return };
        if tag.value(attribute).is_none() {
            tag.values[attribute as usize] = Some(String::new());
            self.attribute = Some(attribute);
        }
    }

    fn attribute_value(&mut self, value: &[u8]) {
        if let (Some(tag), Some(attribute)) = (&mut self.tag, self.attribute) {
            tag.values[attribute as usize] = Some(String::from_utf8_lossy(value).into_owned());
        }
    }

    fn start_tag(&mut self, is_empty: bool) -> Option<TokenizerAction> {
        self.tag_start = None;
        let tag = self.tag.take()?;
        let kind = self.open.start(tag.name.as_bytes(), is_empty);
        let is_hidden = match kind {
            TagKind::Html if self.open.shows_text() => self.hidden.start(&tag.name, is_empty, tag.showing()),
            _ => self.hidden.is_open(),
        };
        self.lay_out(kind, &tag.name, Some(&tag), is_hidden);
        if self.text.is_full() {
            return Some(TokenizerAction::Stop);
        }
        if is_empty {
            if (self.in_title && tag.name == "title") || (!is_hidden && PREFORMATTED.contains(&tag.name.as_str())) {
                self.tag(&tag.name, None);
            }
            return None;
        }
        // SVG has elements of the same names, whose content is markup.
        let state = self.state_of(&tag.name).filter(|_| kind == TagKind::Html)?;
        self.text_before_content = self.text.len();
        self.content = Some((tag.name, state));
        Some(TokenizerAction::ReadContent(state))
    }

    fn end_tag(&mut self, name: &str) {
        let kind = match self.content.take() {
            Some(_) => TagKind::Html,
            None => self.open.end(name.as_bytes()),
        };
        let is_hidden = match kind {
            TagKind::Html if self.open.shows_text() => self.hidden.end(name),
            _ => self.hidden.is_open(),
        };
        self.lay_out(kind, name, None, is_hidden);
    }

    fn lay_out(&mut self, kind: TagKind, name: &str, start: Option<&OpenTag>, is_hidden: bool) {
        if self.shows_text() {
            self.hidden_chars = 0;
        }
        match kind {
            _ if is_hidden => {}
            TagKind::Html if self.open.shows_text() => self.tag(name, start),
            TagKind::SvgText => self.text.line(),
            TagKind::Html | TagKind::Other => {}
        }
    }

    /// Whether a browser shows text between the elements that are open.
    fn shows_text(&self) -> bool {
        self.open.shows_text() && !self.hidden.is_open()
    }

    /// The element on account of which a browser does not show its content.
    fn hidden_content(&self) -> Option<&str> {
        self.content.as_ref().map(|(name, _)| name.as_str()).filter(|name| HIDDEN_CONTENT.contains(name))
    }

    /// Adds text between tags, if a browser shows it.
    fn string(&mut self, text: &str) {
        if self.shows_text() && self.hidden_content().is_none() {
            self.words(text);
        } else {
            self.hidden_chars += visible_chars(text);
        }
    }

    /// What of the page was not read, because it is behind a start without an end.
    fn unread(&self) -> Option<String> {
        let hiding = self.hidden.without_end().or_else(|| self.open.hiding()).or_else(|| self.hidden_content());
        let (start, chars) = match hiding {
            Some(name) if self.hidden_chars > 0 => (format!("a <{name}>"), self.hidden_chars),
            _ if self.comment_chars > 0 => ("a comment".to_owned(), self.comment_chars),
            _ => return None,
        };
        Some(format!("{start} has no end: the {chars} characters behind its start are not shown and were not read"))
    }

    /// Applies the layout of a start or end tag.
    fn tag(&mut self, name: &str, start: Option<&OpenTag>) {
        self.skips_line_break = start.is_some() && matches!(name, "listing" | "pre" | "textarea");
        if PREFORMATTED.contains(&name) {
            self.preformatted =
                if start.is_some() { self.preformatted + 1 } else { self.preformatted.saturating_sub(1) };
        }
        match name {
            "title" => {
                self.in_title = start.is_some() && !self.has_title;
                self.has_title |= start.is_none();
            }
            "html" if start.is_some() && self.language.is_none() => {
                self.language = start.and_then(|tag| language_code(tag.value(Attribute::Lang)?));
            }
            "br" => self.text.line(),
            "td" | "th" => self.text.space(),
            "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "ul" | "ol" | "table" | "blockquote" => {
                self.text.paragraph()
            }
            "img" => {
                if let Some(alt) = start.and_then(|tag| tag.value(Attribute::Alt)) {
                    self.text.space();
                    self.words(alt);
                    self.text.space();
                }
            }
            name if is_block(name) => self.text.line(),
            _ => {}
        }
    }

    /// Adds text between tags: runs of white space become one space, if it is not preformatted.
    fn words(&mut self, text: &str) {
        let is_preformatted = self.preformatted > 0 && !self.in_title;
        let sink = if self.in_title { &mut self.title } else { &mut self.text };
        let text = text.strip_prefix('\n').filter(|_| self.skips_line_break).unwrap_or(text);
        self.skips_line_break = false;
        for c in text.chars() {
            if c.is_whitespace() && c != '\u{A0}' && !is_preformatted {
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

fn visible_chars(text: &str) -> usize {
    text.chars().filter(|c| !c.is_whitespace()).count()
}

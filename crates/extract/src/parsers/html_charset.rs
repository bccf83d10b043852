//! The character set that a page declares (WHATWG HTML, 13.2.3.2 and 4.2.5.5; XML 1.0, 4.3.3).
//!
//! The page is tokenized, so that only its own `meta` elements count: none in a comment, a script or an attribute.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252, X_USER_DEFINED};
use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};

use super::html::content_state;
use super::html::open_elements::{OpenElements, TagKind};

/// The bytes in which a declaration counts wherever it is.
const PRESCAN_BYTES: usize = 1024;
/// The bytes in which a declaration counts as long as nothing but the page's head precedes it: a browser that finds it there
/// reads the page again.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The elements of a page's head.
const HEAD: [&[u8]; 10] =
    [b"html", b"head", b"meta", b"title", b"base", b"link", b"style", b"script", b"noscript", b"template"];

/// The character set that the page declares. In XHTML its XML declaration comes before any `meta`.
pub(super) fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let xml = xml_encoding(bytes);
    if xml.is_some() && is_xhtml(bytes) { xml } else { meta_charset(bytes).or(xml) }
}

fn is_xhtml(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(PRESCAN_BYTES)];
    head.windows(XHTML.len()).any(|window| window == XHTML)
}

const XHTML: &[u8] = b"http://www.w3.org/1999/xhtml";

/// What the scan needs from its tokenizer.
enum ScanAction {
    ReadContent(html5gum::State),
    Stop,
}

/// The attribute that is being read.
#[derive(Clone, Copy)]
enum MetaAttribute {
    HttpEquiv,
    Content,
    Charset,
}

/// A `meta` element's attributes; of several with one name, the first counts.
#[derive(Default)]
struct Meta {
    http_equiv: Option<Vec<u8>>,
    content: Option<Vec<u8>>,
    charset: Option<Vec<u8>>,
}

impl Meta {
    fn attribute(&mut self, attribute: MetaAttribute) -> &mut Option<Vec<u8>> {
        match attribute {
            MetaAttribute::HttpEquiv => &mut self.http_equiv,
            MetaAttribute::Content => &mut self.content,
            MetaAttribute::Charset => &mut self.charset,
        }
    }

    /// What it declares: its `charset`, or that of its `content` if it stands for the header `Content-Type`.
    fn declaration(&self) -> Option<&'static Encoding> {
        if let Some(label) = &self.charset {
            return encoding(label);
        }
        let is_content_type = self.http_equiv.as_ref()?.eq_ignore_ascii_case(b"content-type");
        encoding(charset_of_content_type(self.content.as_deref().filter(|_| is_content_type)?)?)
    }
}

/// The character set of the first `meta` that declares a known one.
fn meta_charset(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = &bytes[..bytes.len().min(MAX_HEAD_BYTES)];
    let mut scan = MetaScan::default();
    let emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, span: Span<usize>| scan.handle(&event, span.start));
    let mut tokenizer = Tokenizer::new_with_emitter(head, emitter);
    while let Some(Ok(action)) = tokenizer.next() {
        match action {
            ScanAction::ReadContent(state) => tokenizer.set_state(state),
            ScanAction::Stop => break,
        }
    }
    drop(tokenizer);
    scan.found
}

#[derive(Default)]
struct MetaScan {
    found: Option<&'static Encoding>,
    /// The start tag that is being read.
    tag: Vec<u8>,
    meta: Meta,
    /// `None` while an attribute is read that does not matter.
    attribute: Option<MetaAttribute>,
    /// The elements in which a `meta` is not one of the page.
    open: OpenElements,
    /// Whether the content of an element is read that has no markup but its end tag.
    in_content: bool,
    /// Whether an element was met that ends the head.
    after_head: bool,
}

impl MetaScan {
    fn handle(&mut self, event: &CallbackEvent<'_>, at: usize) -> Option<ScanAction> {
        match event {
            CallbackEvent::OpenStartTag { name } => {
                self.tag = name.to_vec();
                self.meta = Meta::default();
                self.attribute = None;
                self.after_head |= !HEAD.contains(name);
            }
            CallbackEvent::AttributeName { name } => {
                let attribute = match *name {
                    b"http-equiv" => Some(MetaAttribute::HttpEquiv),
                    b"content" => Some(MetaAttribute::Content),
                    b"charset" => Some(MetaAttribute::Charset),
                    _ => None,
                };
                self.attribute = attribute.filter(|attribute| self.meta.attribute(*attribute).is_none());
                if let Some(attribute) = self.attribute {
                    *self.meta.attribute(attribute) = Some(Vec::new());
                }
            }
            CallbackEvent::AttributeValue { value } => {
                if let Some(attribute) = self.attribute {
                    *self.meta.attribute(attribute) = Some(value.to_vec());
                }
            }
            CallbackEvent::CloseStartTag { self_closing } => return self.start_tag(*self_closing, at),
            CallbackEvent::EndTag { name } => {
                if !std::mem::take(&mut self.in_content) {
                    self.open.end(name);
                }
                self.after_head |= *name == b"head";
            }
            _ => {}
        }
        (self.after_head && at > PRESCAN_BYTES).then_some(ScanAction::Stop)
    }

    fn start_tag(&mut self, self_closing: bool, at: usize) -> Option<ScanAction> {
        let is_within = at <= PRESCAN_BYTES || !self.after_head;
        let kind = self.open.start(&self.tag, self_closing);
        if self.tag == b"meta" && self.open.is_empty() && is_within {
            self.found = self.meta.declaration();
            if self.found.is_some() {
                return Some(ScanAction::Stop);
            }
        }
        let state = content_state(&self.tag).filter(|_| kind == TagKind::Html && !self_closing)?;
        self.in_content = true;
        Some(ScanAction::ReadContent(state))
    }
}

/// The `charset` parameter within the `content` of a `meta`.
fn charset_of_content_type(content: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"charset";
    let mut rest = content;
    loop {
        let at = rest.windows(NAME.len()).position(|window| window.eq_ignore_ascii_case(NAME))?;
        rest = rest.get(at + NAME.len()..)?;
        let Some(value) = rest.trim_ascii_start().strip_prefix(b"=") else { continue };
        let value = value.trim_ascii_start();
        return match value.first()? {
            quote @ (b'"' | b'\'') => {
                let value = value.get(1..)?;
                value.get(..value.iter().position(|byte| byte == quote)?)
            }
            _ => value.split(|byte| byte.is_ascii_whitespace() || *byte == b';').next(),
        };
    }
}

/// The encoding of an XML declaration at the start.
fn xml_encoding(bytes: &[u8]) -> Option<&'static Encoding> {
    const NAME: &[u8] = b"encoding";
    let declaration = bytes[..bytes.len().min(PRESCAN_BYTES)].strip_prefix(b"<?xml")?;
    let declaration = declaration.get(..declaration.iter().position(|byte| *byte == b'>')?)?;
    let at = declaration.windows(NAME.len()).position(|window| window == NAME)?;
    let value = declaration.get(at + NAME.len()..)?.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let quote = value.first().filter(|quote| matches!(quote, b'"' | b'\''))?;
    let value = value.get(1..)?;
    encoding(value.get(..value.iter().position(|byte| byte == quote)?)?)
}

/// The character set of a label. A declaration that can be read as ASCII is none in UTF-16.
fn encoding(label: &[u8]) -> Option<&'static Encoding> {
    let encoding = Encoding::for_label(label)?;
    Some(match encoding {
        wide if wide == UTF_16LE || wide == UTF_16BE => UTF_8,
        user_defined if user_defined == X_USER_DEFINED => WINDOWS_1252,
        encoding => encoding,
    })
}

//! The title of a PDF: in the document information dictionary, else in the XMP metadata (ISO 32000-1, 14.3).

use lopdf::{Document, Object};

use super::text_string;
use crate::charset;
use crate::parsers::html;
use crate::parsers::sink::readable;
use crate::parsers::types::Limits;

/// Characters of a title, at most.
const MAX_TITLE_CHARS: usize = 500;
/// A longer title in XMP is cut.
const MAX_TITLE_BYTES: usize = 4 * MAX_TITLE_CHARS;
/// Elements of XMP that are tried, at most.
const MAX_ELEMENTS: usize = 16;

/// The title on one line; `None` if there is none, or an empty one.
pub(super) fn title(document: &Document, limits: &Limits) -> Option<String> {
    let info = || {
        let info = document.trailer.get_deref(b"Info", document).and_then(Object::as_dict).ok()?;
        on_one_line(&text_string::decode(info.get_deref(b"Title", document).ok()?)?)
    };
    let metadata = || {
        let catalog = document.catalog().ok()?;
        let metadata = catalog.get_deref(b"Metadata", document).and_then(Object::as_stream).ok()?;
        let bytes = metadata.get_plain_content_with_limit(limits.max_stream_bytes).ok()?;
        on_one_line(&xmp_title(&charset::detect(&bytes, None).decode(&bytes))?)
    };
    info().or_else(metadata)
}

fn on_one_line(title: &str) -> Option<String> {
    let title = readable(title);
    let words: Vec<&str> = title.split_whitespace().collect();
    let line: String = words.join(" ").chars().filter(|c| !c.is_control()).take(MAX_TITLE_CHARS).collect();
    Some(line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// The `title` of the Dublin Core namespace: of its languages the default, else the first.
fn xmp_title(xmp: &str) -> Option<String> {
    const NAMESPACE: &str = "http://purl.org/dc/elements/1.1/";
    let prefix = xmp.split_once(NAMESPACE).and_then(|(before, _)| {
        let name = before.rsplit_once("xmlns:")?.1.trim_end_matches(['"', '\'', '=', ' ']);
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')).then_some(name)
    });
    let name = format!("{}:title", prefix.unwrap_or("dc"));
    let Some(title) = element(xmp, &name) else { return attribute(xmp, &name) };
    let languages = || title.split("<rdf:li").skip(1).filter_map(|item| item.split_once('>'));
    let default = languages().find(|(attributes, _)| attributes.contains("x-default"));
    let language = default.or_else(|| languages().next());
    let text = language.map_or(title, |(_, item)| item.split("</rdf:li").next().unwrap_or_default());
    html::text(text, MAX_TITLE_BYTES)
}

/// The content of the first element of this name that is not empty.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (open, close) = (format!("<{name}"), format!("</{name}"));
    let mut found = xml.match_indices(&open).take(MAX_ELEMENTS);
    found.find_map(|(at, _)| {
        let (attributes, rest) = xml[at + open.len()..].split_once('>')?;
        let is_this = attributes.is_empty() || attributes.starts_with(char::is_whitespace);
        let (content, _) = rest.split_once(&close)?;
        Some(content).filter(|_| is_this && !attributes.ends_with('/'))
    })
}

/// The value of an attribute, which an element may be abbreviated to.
fn attribute(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(name)?;
    let value = rest.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    html::text(value.get(1..)?.split(quote).next()?, MAX_TITLE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xmp(attributes: &str, content: &str) -> String {
        format!(
            "<?xpacket begin=\"\u{FEFF}\"?><x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF xmlns:rdf=\"r\"><rdf:Description \
             {attributes} xmlns:dc='http://purl.org/dc/elements/1.1/'>{content}</rdf:Description></rdf:RDF></x:xmpmeta>"
        )
    }

    #[test]
    fn title_in_xmp_is_that_of_the_default_language() {
        for (content, title) in [
            ("<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>R&amp;D &#x6af;</rdf:li></rdf:Alt></dc:title>", "R&D گ"),
            (
                "<dc:title><rdf:Alt><rdf:li xml:lang=\"en\">Report</rdf:li>\n<rdf:li xml:lang=\"x-default\">گزارش</rdf:li>\
                 </rdf:Alt></dc:title><dc:titles>none</dc:titles>",
                "گزارش",
            ),
            ("<dc:title><rdf:Alt><rdf:li>first</rdf:li><rdf:li>second</rdf:li></rdf:Alt></dc:title>", "first"),
            ("<dc:title>plain</dc:title>", "plain"),
        ] {
            assert_eq!(xmp_title(&xmp("", content)).as_deref(), Some(title), "{content}");
        }
        let prefixed = xmp("", "<t:title>own</t:title>").replace("xmlns:dc", "xmlns:t");
        assert_eq!(xmp_title(&prefixed).as_deref(), Some("own"));
        assert_eq!(xmp_title(&xmp("dc:title=\"short &lt;form&gt;\"", "")).as_deref(), Some("short <form>"));
        for none in ["", "<dc:title/>", "<dc:title></dc:title>", "<dc:title", "<pdf:title>x</pdf:title>"] {
            assert_eq!(xmp_title(&xmp("", none)), None, "{none}");
        }
    }

    #[test]
    fn white_space_in_a_title_is_one_space() {
        for title in [
            "Annual\treport",
            "Annual\r\nreport",
            " Annual\u{C}report\n",
            "Annual\u{B}\u{A0}report",
            "Annual\u{2028}report",
        ] {
            assert_eq!(on_one_line(title).as_deref(), Some("Annual report"), "{title:?}");
        }
        assert_eq!(on_one_line("\t\u{1}\n"), None);
        assert_eq!(on_one_line("one\u{7F} two").as_deref(), Some("one two"));
        assert_eq!(on_one_line(&"x".repeat(1000)).map(|title| title.len()), Some(500));
    }
}

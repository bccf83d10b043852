//! A PDF as a file: where it starts, whether it is whole, and what `lopdf` leaves out: objects because the length of a
//! stream is missing or wrong, and pages that are no objects of their own.

use std::collections::HashSet;

use lopdf::xref::XrefEntry;
use lopdf::{Document, LoadOptions, Object, ObjectId, ObjectStream, Stream, dictionary, encryption};

use super::error::pdf_error;
use super::lexer::{Lexer, Token};
use crate::mime::SAMPLE_BYTES;
use crate::parsers::types::{ExtractError, ExtractErrorKind, Limits};

const HEADER: &[u8] = b"%PDF-";
const END: &[u8] = b"%%EOF";
/// A linearised file that is shorter than it says by less is whole: white space at its end was trimmed.
const MAX_TRIMMED: u64 = 1024;
/// Headers of one file that are tried, at most: what precedes the file may contain one too.
const MAX_HEADERS: usize = 3;
/// Streams without a usable length of one document, at most.
const MAX_REPAIRED: usize = 100_000;

/// A document, and whether its end is missing.
pub(super) struct LoadedFile {
    pub(super) document: Document,
    pub(super) is_truncated: bool,
}

/// Loads a PDF. Printers, mail and web servers put bytes before its header, and padding follows its end.
pub(super) fn load(mut bytes: Vec<u8>, limits: &Limits) -> Result<LoadedFile, ExtractError> {
    let start = start(&mut bytes);
    let mut first_error = None;
    // One further on is that of an embedded file.
    let head = &bytes[start..bytes.len().min(start + SAMPLE_BYTES)];
    let headers: Vec<usize> = find_all(head, HEADER).take(MAX_HEADERS).map(|at| start + at).collect();
    for start in headers {
        let bytes = &bytes[start..];
        let end = end(bytes);
        match load_or_mend(&bytes[..end.unwrap_or(bytes.len())], limits) {
            Ok(document) => {
                let is_truncated = end.is_none_or(|end| is_shorter_than_linearised(end, &document));
                return Ok(LoadedFile { document, is_truncated });
            }
            Err(error) if error.kind == ExtractErrorKind::Malformed => _ = first_error.get_or_insert(error),
            Err(error) => return Err(error),
        }
    }
    Err(first_error
        .unwrap_or_else(|| ExtractError::malformed("the PDF cannot be read (truncated or damaged): it has no header")))
}

/// Loads a document; one that cannot be loaded is tried with the lengths of its streams written into it, because `lopdf`
/// needs those of cross-reference streams.
fn load_or_mend(bytes: &[u8], limits: &Limits) -> Result<Document, ExtractError> {
    let loaded = load_at(bytes, limits);
    match &loaded {
        Err(error) if error.kind == ExtractErrorKind::Malformed => {
            with_lengths(bytes).and_then(|mended| load_at(&mended, limits).ok()).map_or(loaded, Ok)
        }
        _ => loaded,
    }
}

/// The file with a `Length` in each stream's dictionary that has none, or refers to one; `None` if each has one.
fn with_lengths(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut mended = Vec::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = find(&bytes[at..], b"stream") {
        let keyword = at + found;
        at = keyword + b"stream".len();
        let Some(break_bytes) = line_break(&bytes[at..]).filter(|_| !bytes[..keyword].ends_with(b"end")) else {
            continue;
        };
        let data = at + break_bytes;
        let length = find(&bytes[data..], b"endstream").unwrap_or(bytes.len() - data);
        at = data + length;
        let before = &bytes[copied..keyword];
        let dictionary = rfind(before, b"obj").map_or(0, |at| at + b"obj".len());
        let has_length = match Lexer::new(&before[dictionary..]).token() {
            Some(Token::Object(Object::Dictionary(read))) => matches!(read.get(b"Length"), Ok(Object::Integer(_))),
            _ => false,
        };
        let close = rfind(before, b">>").filter(|_| !has_length);
        if let Some(close) = close {
            mended.extend_from_slice(&before[..close]);
            mended.extend_from_slice(format!(" /Length {length} ").as_bytes());
            copied += close;
        }
        mended.extend_from_slice(&bytes[copied..at]);
        copied = at;
        at += usize::from(bytes[at..].starts_with(b"endstream")) * b"endstream".len();
    }
    let is_changed = mended.len() != copied;
    mended.extend_from_slice(&bytes[copied..]);
    is_changed.then_some(mended)
}

/// The length of the line break at the start, after the spaces that some programs write before it.
fn line_break(bytes: &[u8]) -> Option<usize> {
    let spaces = bytes.iter().take_while(|byte| **byte == b' ').count();
    match &bytes[spaces..] {
        [b'\r', b'\n', ..] => Some(spaces + 2),
        [b'\r' | b'\n', ..] => Some(spaces + 1),
        _ => None,
    }
}

fn load_at(bytes: &[u8], limits: &Limits) -> Result<Document, ExtractError> {
    let options = LoadOptions { max_decompressed_size: Some(limits.max_stream_bytes), ..LoadOptions::default() };
    let mut document = Document::load_mem_with_options(bytes, options).map_err(|error| pdf_error(&error, limits))?;
    if document.is_encrypted() {
        return Err(ExtractError::new(ExtractErrorKind::Encrypted, "the PDF needs a password"));
    }
    repair_streams(&mut document, bytes, limits.max_stream_bytes);
    number_pages(&mut document);
    Ok(document)
}

/// Makes objects of the pages and nodes of the page tree that are direct objects, and a tree of a page in place of one.
fn number_pages(document: &mut Document) {
    let Ok(pages) = document.catalog().and_then(|catalog| catalog.get(b"Pages")).cloned() else { return };
    let root = match pages {
        Object::Reference(root) => root,
        Object::Dictionary(root) => match document.try_add_object(root) {
            Ok(root) => root,
            Err(_) => return,
        },
        _ => return,
    };
    let is_page = document.get_dictionary(root).is_ok_and(|root| root.has_type(b"Page"));
    let tree = is_page.then(|| dictionary! { "Type" => "Pages", "Kids" => vec![root.into()], "Count" => 1 });
    let root = tree.and_then(|tree| document.try_add_object(tree).ok()).unwrap_or(root);
    if let Ok(catalog) = document.catalog_mut() {
        catalog.set("Pages", root);
    }
    let mut seen = HashSet::new();
    let mut nodes = vec![root];
    while let Some(node) = nodes.pop() {
        if !seen.insert(node) {
            continue;
        }
        let kids =
            document.get_dictionary(node).and_then(|node| node.get_deref(b"Kids", document)?.as_array()).cloned();
        let Ok(mut kids) = kids else { continue };
        let is_numbered = kids.iter().all(|kid| kid.as_dict().is_err());
        for kid in &mut kids {
            if let Object::Dictionary(dictionary) = kid
                && let Ok(id) = document.try_add_object(std::mem::take(dictionary))
            {
                *kid = id.into();
            }
            nodes.extend(kid.as_reference());
        }
        if let (false, Ok(node)) = (is_numbered, document.get_dictionary_mut(node)) {
            node.set("Kids", kids);
        }
    }
}

/// Where the document starts from which its offsets count: at its header, or at the start of the file. In that case a header
/// is put at the start of the file, because `lopdf` counts from the header.
fn start(bytes: &mut [u8]) -> usize {
    let Some(header) = find(bytes, HEADER) else { return 0 };
    let Some(offset) = table_offset(bytes) else { return header };
    let is_table = |at: usize| bytes.get(at..).is_some_and(starts_table);
    if header < HEADER.len() + 4 || is_table(header + offset) || !is_table(offset) {
        return header;
    }
    bytes[..header].fill(b'\n');
    bytes[..HEADER.len()].copy_from_slice(HEADER);
    bytes[HEADER.len()..HEADER.len() + 3].copy_from_slice(b"1.7");
    // A second header would be a comment.
    0
}

/// The offset after the last `startxref`.
fn table_offset(bytes: &[u8]) -> Option<usize> {
    const KEYWORD: &[u8] = b"startxref";
    let at = rfind(bytes, KEYWORD)? + KEYWORD.len();
    match Lexer::new(bytes.get(at..at.saturating_add(32).min(bytes.len()))?).token()? {
        Token::Object(Object::Integer(offset)) => usize::try_from(offset).ok(),
        _ => None,
    }
}

/// Whether a cross-reference table starts here, or an object that may be a cross-reference stream.
fn starts_table(bytes: &[u8]) -> bool {
    bytes.starts_with(b"xref") || object_start(bytes).is_some()
}

/// The length of `12 0 obj` at the start.
fn object_start(bytes: &[u8]) -> Option<usize> {
    let head = &bytes[..bytes.len().min(32)];
    let mut lexer = Lexer::new(head);
    let is_number = |token| matches!(token, Some(Token::Object(Object::Integer(0..))));
    let starts = head.first().is_some_and(u8::is_ascii_digit)
        && is_number(lexer.token())
        && is_number(lexer.token())
        && matches!(lexer.token(), Some(Token::Word(b"obj")));
    starts.then_some(lexer.at)
}

/// The most bytes of an object's number and generation before `obj`, with the space between them.
const MAX_OBJECT_HEAD: usize = 24;

/// Where the file ends: behind the last end-of-file marker (ISO 32000-1, 7.5.5). What follows is padding, unless it has
/// objects, as in a file that is cut within an update or was linearised. `None` if the end is missing.
fn end(bytes: &[u8]) -> Option<usize> {
    let end = rfind(bytes, END)? + END.len();
    let behind = &bytes[end..];
    let has_object = find_all(behind, b"obj").any(|at| {
        let near = at.saturating_sub(MAX_OBJECT_HEAD);
        let line = behind[near..at].iter().rposition(|byte| matches!(byte, b'\n' | b'\r')).map(|line| near + line + 1);
        let start = line.or_else(|| (near == 0).then_some(0));
        start.is_some_and(|start| object_start(&behind[start..]).is_some())
    });
    (!has_object).then_some(end)
}

/// Whether a linearised file is cut behind the end-of-file marker of its first page (ISO 32000-1, annex F).
fn is_shorter_than_linearised(length: usize, document: &Document) -> bool {
    let is_updated = document.xref_section_count > 2;
    document
        .linearization
        .as_ref()
        .is_some_and(|linear| !is_updated && linear.file_length > (length as u64).saturating_add(MAX_TRIMMED))
}

/// Gives the streams their data whose length is missing, or leads nowhere, or is wrong in a way that makes `lopdf` leave the
/// object out: it ends at `endstream`, else at `endobj`, within the bytes up to the next object.
fn repair_streams(document: &mut Document, bytes: &[u8], max_stream_bytes: usize) {
    let mut offsets: Vec<usize> = Vec::new();
    let mut suspects: Vec<(ObjectId, usize)> = Vec::new();
    for (number, entry) in &document.reference_table.entries {
        let XrefEntry::Normal { offset, generation } = *entry else { continue };
        let offset = offset as usize;
        offsets.push(offset);
        let is_suspect = match document.objects.get(&(*number, generation)) {
            None => true,
            Some(Object::Stream(stream)) => stream.content.is_empty(),
            Some(_) => false,
        };
        if is_suspect && suspects.len() < MAX_REPAIRED {
            suspects.push(((*number, generation), offset));
        }
    }
    offsets.sort_unstable();
    for (id, offset) in suspects {
        let next = offsets.get(offsets.partition_point(|other| *other <= offset)).copied().unwrap_or(bytes.len());
        let Some(mut object) = bytes.get(offset..next.min(bytes.len())).and_then(|source| object(source, id)) else {
            continue;
        };
        if let Some(state) = &document.encryption_state {
            // What cannot be decrypted stays as it is: the stream is as unreadable as before.
            let _ = encryption::decrypt_object(state, id, &mut object);
        }
        if let Object::Stream(stream) = &object
            && stream.dict.has_type(b"ObjStm")
            && let Ok(within) = ObjectStream::new_with_limit(stream, Some(max_stream_bytes))
        {
            for (id, object) in within.objects {
                document.objects.entry(id).or_insert(object);
            }
        }
        document.objects.insert(id, object);
    }
}

/// The object with this id at the start of the source; a stream has the data up to its end.
fn object(source: &[u8], id: ObjectId) -> Option<Object> {
    let mut lexer = Lexer::new(source);
    let is_id = |token, number: i64| matches!(token, Some(Token::Object(Object::Integer(read))) if read == number);
    let is_this = is_id(lexer.token(), i64::from(id.0))
        && is_id(lexer.token(), i64::from(id.1))
        && matches!(lexer.token(), Some(Token::Word(b"obj")));
    let Some(Token::Object(object)) = (if is_this { lexer.token() } else { None }) else { return None };
    let Object::Dictionary(dictionary) = object else { return Some(object) };
    lexer.skip_space();
    let Some(rest) = lexer.rest().strip_prefix(b"stream") else { return Some(Object::Dictionary(dictionary)) };
    let rest = &rest[line_break(rest).unwrap_or(0)..];
    // Stream::new sets the length.
    Some(Object::Stream(Stream::new(dictionary, stream_data(rest).to_vec())))
}

/// The data of a stream, up to the last `endstream` of its object, else up to `endobj`, without the line break before it.
fn stream_data(source: &[u8]) -> &[u8] {
    let end = rfind(source, b"endstream").or_else(|| rfind(source, b"endobj"));
    let data = &source[..end.unwrap_or(source.len())];
    match data {
        [data @ .., b'\r', b'\n'] | [data @ .., b'\n' | b'\r'] => data,
        data => data,
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    find_all(bytes, part).next()
}

fn find_all<'a>(bytes: &'a [u8], part: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    bytes.windows(part.len()).enumerate().filter(move |(_, window)| *window == part).map(|(at, _)| at)
}

fn rfind(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).rposition(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_where_none_is() {
        let file =
            b"1 0 obj <</A 1>> stream\nabc\nendstream endobj 2 0 obj <</Length 3>>stream\r\nabc endstream endobj";
        let mended = with_lengths(file).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&mended),
            "1 0 obj <</A 1 /Length 4 >> stream\nabc\nendstream endobj \
             2 0 obj <</Length 3>>stream\r\nabc endstream endobj"
        );
        assert_eq!(with_lengths(&mended), None);
        assert_eq!(with_lengths(b"a stream\n>> of stream words stream\n"), None);
    }

    #[test]
    fn padding_is_behind_the_end() {
        assert_eq!(end(b"%%EOF\n\0\0"), Some(5));
        assert_eq!(end(b"%%EOF 12 objects"), Some(5));
        assert_eq!(end(b"%%EOF\n12 0 obj\n<<"), None);
        assert_eq!(end(b"nothing"), None);
    }
}

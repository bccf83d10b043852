//! Text, title and page count of a PDF.
//!
//! `lopdf` reads the file's structure. The modules here convert a page's drawing operations to text in reading order:
//! [`font`] from codes to characters, [`content`] from operations to positioned characters, [`layout`] from positions to
//! lines, [`order`] from visual to logical order. Crates that extract text lose Persian (`pdf-extract`) or give lines in
//! visual order (`pdf_oxide`).

mod cmap;
mod content;
mod drawing;
mod error;
mod font;
mod glyph;
mod layout;
mod order;

use std::fs::File;
use std::io::Read;

use lopdf::{Document, LoadOptions, Object, ObjectId};

use super::language;
use super::sink::{TextSink, readable};
use super::types::{ExtractError, ExtractErrorKind, Extraction, Limits};
use error::pdf_error;

/// Further pages are counted, but not read.
const MAX_PAGES: usize = 20_000;

/// Reads a PDF.
pub(super) fn extract(mut file: File, limits: &Limits) -> Result<Extraction, ExtractError> {
    let bytes = read_whole(&mut file, limits)?;
    let document = load(&bytes, limits)?;
    let truncated = !has_end(&bytes);
    drop(bytes);
    let pages: Vec<ObjectId> = document.page_iter().collect();
    let mut extraction =
        Extraction { pages: u32::try_from(pages.len()).ok(), title: title(&document), ..Extraction::default() };
    if pages.is_empty() {
        return Err(ExtractError::malformed("the PDF has no page that can be reached: it is truncated or damaged"));
    }
    read_pages(&document, &pages, limits, &mut extraction)?;
    if truncated {
        // A partial text is useful; an empty one would hide that the file is damaged.
        if extraction.text.is_none() {
            return Err(ExtractError::malformed(
                "the PDF is truncated or damaged: its end is missing, and no text could be rebuilt",
            ));
        }
        extraction.note("the PDF is truncated: its end is missing; this is what could be rebuilt");
    }
    if let Some(text) = &extraction.text {
        extraction.languages = language::detect(text);
    }
    Ok(extraction)
}

fn read_pages(
    document: &Document,
    pages: &[ObjectId],
    limits: &Limits,
    extraction: &mut Extraction,
) -> Result<(), ExtractError> {
    let mut sink = TextSink::new(limits.max_text_bytes);
    let mut reader = content::PageReader::new(document, limits);
    let mut unreadable = Vec::new();
    for (index, page) in pages.iter().take(MAX_PAGES).enumerate() {
        match reader.page(*page) {
            Ok(glyphs) => layout::write(glyphs, &mut sink),
            Err(error) if error.kind == ExtractErrorKind::Limit => return Err(error),
            Err(_) => unreadable.push(index + 1),
        }
        sink.paragraph();
        if sink.is_full() {
            break;
        }
    }
    (extraction.text, extraction.truncated) = sink.finish();
    if extraction.text.is_none() {
        extraction.note("no text layer");
    }
    if reader.unmapped > 0 {
        extraction.note(format!("{} of {} characters have no text in their font", reader.unmapped, reader.chars));
    }
    if !unreadable.is_empty() {
        let first: Vec<String> = unreadable.iter().take(10).map(ToString::to_string).collect();
        extraction.note(format!("{} pages could not be read: {} …", unreadable.len(), first.join(", ")));
    }
    Ok(())
}

/// Whether the last 1024 bytes have the end-of-file marker (ISO 32000-1, annex H.3, note 18).
fn has_end(bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len().saturating_sub(1024)..];
    tail.windows(5).any(|window| window == b"%%EOF")
}

/// Refuses a document that is too large to be read whole.
pub(super) fn check_size(size: u64, limits: &Limits) -> Result<(), ExtractError> {
    if size > limits.max_document_bytes {
        return Err(ExtractError::limit(format!(
            "the document has {} MiB, more than the {} MiB for which --memory leaves room",
            size >> 20,
            limits.max_document_bytes >> 20
        )));
    }
    Ok(())
}

fn read_whole(file: &mut File, limits: &Limits) -> Result<Vec<u8>, ExtractError> {
    let size = file.metadata().map_err(|error| ExtractError::io("reading the document's size", &error))?.len();
    check_size(size, limits)?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(limits.max_document_bytes)
        .read_to_end(&mut bytes)
        .map_err(|error| ExtractError::io("reading the document", &error))?;
    Ok(bytes)
}

fn load(bytes: &[u8], limits: &Limits) -> Result<Document, ExtractError> {
    let options = LoadOptions { max_decompressed_size: Some(limits.max_stream_bytes), ..LoadOptions::default() };
    let document = Document::load_mem_with_options(bytes, options).map_err(|error| pdf_error(&error, limits))?;
    if document.is_encrypted() {
        return Err(ExtractError::new(ExtractErrorKind::Encrypted, "the PDF needs a password"));
    }
    Ok(document)
}

/// The title in the document information dictionary; `None` if empty. At most 500 characters.
fn title(document: &Document) -> Option<String> {
    let info = document.trailer.get_deref(b"Info", document).and_then(Object::as_dict).ok()?;
    let title = lopdf::decode_text_string(info.get_deref(b"Title", document).ok()?).ok()?;
    let title = readable(&title);
    let title: String = title.chars().filter(|c| !c.is_control()).take(500).collect();
    Some(title.trim().to_owned()).filter(|title| !title.is_empty())
}

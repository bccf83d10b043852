//! Text, title and page count of a PDF.
//!
//! The file's structure is `lopdf`'s business; what is here turns the marks on a page back into text in reading order:
//! [`font`] from codes to characters, [`content`] from drawing operations to placed characters, [`layout`] from places
//! to lines, [`order`] from the order on paper to the order of reading. The crates that promise text lose Persian
//! (`pdf-extract`) or give lines in visual order (`pdf_oxide`).

mod cmap;
mod content;
mod font;
mod layout;
mod order;

use std::fs::File;
use std::io::Read;

use lopdf::{DecompressError, Document, Error, LoadOptions, Object, ObjectId};

use super::sink::{TextSink, readable};
use super::{ExtractError, ExtractErrorKind, Extraction, Limits, language};

/// Pages beyond these are counted, not read.
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
        // What could be rebuilt of it is worth having; an empty rest would only hide that the file is damaged.
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
    let mut reader = content::Reader::new(document, limits);
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
        extraction.note(format!("{} of {} characters have no text in their font", reader.unmapped, reader.shown));
    }
    if !unreadable.is_empty() {
        let shown: Vec<String> = unreadable.iter().take(10).map(ToString::to_string).collect();
        extraction.note(format!("{} pages could not be read: {} …", unreadable.len(), shown.join(", ")));
    }
    Ok(())
}

/// Whether the end-of-file marker is where readers look for it: in the last 1024 bytes (ISO 32000-1, annex H.3, note 18).
fn has_end(bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len().saturating_sub(1024)..];
    tail.windows(5).any(|window| window == b"%%EOF")
}

fn read_whole(file: &mut File, limits: &Limits) -> Result<Vec<u8>, ExtractError> {
    let size = file.metadata().map_err(|error| ExtractError::io("reading the document's size", &error))?.len();
    if size > limits.max_document_bytes {
        return Err(ExtractError::limit(format!(
            "the document has {} MiB, more than the {} MiB for which --memory leaves room",
            size >> 20,
            limits.max_document_bytes >> 20
        )));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(limits.max_document_bytes)
        .read_to_end(&mut bytes)
        .map_err(|error| ExtractError::io("reading the document", &error))?;
    Ok(bytes)
}

fn load(bytes: &[u8], limits: &Limits) -> Result<Document, ExtractError> {
    let options = LoadOptions { max_decompressed_size: Some(limits.max_stream_bytes), ..LoadOptions::default() };
    let document = Document::load_mem_with_options(bytes, options).map_err(|error| told(&error, limits))?;
    if document.is_encrypted() {
        return Err(ExtractError::new(ExtractErrorKind::Encrypted, "the PDF needs a password"));
    }
    Ok(document)
}

/// The parser's error in terms of the file.
fn told(error: &Error, limits: &Limits) -> ExtractError {
    match error {
        Error::Decompress(DecompressError::MemoryLimitExceeded { .. }) => ExtractError::limit(format!(
            "a stream of the PDF inflates to more than the {} MiB for which --memory leaves room",
            limits.max_stream_bytes >> 20
        )),
        Error::InvalidPassword | Error::Unimplemented(_) if error.to_string().contains("password") => {
            ExtractError::new(ExtractErrorKind::Encrypted, "the PDF needs a password")
        }
        Error::InvalidPassword => ExtractError::new(ExtractErrorKind::Encrypted, "the PDF needs a password"),
        Error::UnsupportedSecurityHandler(_) => {
            ExtractError::new(ExtractErrorKind::Encrypted, "the PDF is protected in a way that cannot be read")
        }
        Error::ReferenceCycle(id) => ExtractError::malformed(format!("the PDF's object {} refers to itself", id.0)),
        other => {
            let mut message = other.to_string();
            message.truncate(message.floor_char_boundary(200));
            ExtractError::malformed(format!("the PDF cannot be read (truncated or damaged): {message}"))
        }
    }
}

/// The title in the document's information, unless it is empty.
fn title(document: &Document) -> Option<String> {
    let info = document.trailer.get_deref(b"Info", document).and_then(Object::as_dict).ok()?;
    let title = lopdf::decode_text_string(info.get_deref(b"Title", document).ok()?).ok()?;
    let title = readable(&title);
    let title: String = title.chars().filter(|c| !c.is_control()).take(500).collect();
    Some(title.trim().to_owned()).filter(|title| !title.is_empty())
}

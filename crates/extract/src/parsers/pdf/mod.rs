//! Text, title and page count of a PDF.
//!
//! `lopdf` reads the file's structure. The modules here convert a page's drawing operations to text in reading order:
//! [`operations`] from bytes to operations, [`font`] from codes to characters, [`content`] from operations to positioned
//! characters, [`layout`] from positions to lines, [`order`] from visual to logical order. [`annotations`] reads what is on
//! a page beside its content; [`file`] mends what `lopdf` does not. Crates that extract text lose Persian (`pdf-extract`)
//! or give lines in visual order (`pdf_oxide`).

mod annotations;
mod cmap;
mod content;
mod drawing;
mod encoding;
mod error;
mod fields;
mod file;
mod font;
mod font_program;
mod glyph;
mod glyph_name;
mod glyph_names;
mod inflate;
mod layout;
mod lexer;
mod note;
mod operations;
mod order;
mod standard_font;
mod text_layer;
mod text_string;
mod title;
mod trust;

use std::fs::File;
use std::io::Read;

use lopdf::{Document, ObjectId};

use super::language;
use super::sink::TextSink;
use super::types::{ExtractError, ExtractErrorKind, Extraction, Limits};
use annotations::NoteReader;
use content::PageReader;
use file::LoadedFile;
use trust::{PageCount, PageTally};

/// Further pages are counted, but not read.
const MAX_PAGES: usize = 20_000;

/// Reads a PDF.
pub(super) fn extract(mut file: File, limits: &Limits) -> Result<Extraction, ExtractError> {
    let bytes = read_whole(&mut file, limits)?;
    let LoadedFile { document, is_truncated } = file::load(bytes, limits)?;
    let pages: Vec<ObjectId> = document.page_iter().collect();
    let mut extraction = Extraction {
        pages: u32::try_from(pages.len()).ok(),
        title: title::title(&document, limits),
        ..Extraction::default()
    };
    if pages.is_empty() {
        return Err(ExtractError::malformed("the PDF has no page that can be reached: it is truncated or damaged"));
    }
    read_pages(&document, &pages, limits, &mut extraction)?;
    if is_truncated {
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
    let mut reader = PageReader::new(document, limits);
    let mut notes = NoteReader::new(document, limits.max_text_bytes, limits.max_stream_bytes);
    let mut tally = PageTally::default();
    for (index, page) in pages.iter().take(MAX_PAGES).enumerate() {
        let mut count = PageCount::default();
        let read = read_page(*page, &mut reader, &mut notes, limits, &mut sink, &mut count);
        tally.add(index + 1, count);
        match read {
            Ok(()) => {}
            Err(error) if error.kind == ExtractErrorKind::Limit => return Err(error),
            Err(_) => tally.add_unreadable(index + 1),
        }
        sink.paragraph();
        if sink.is_full() {
            break;
        }
    }
    for field in notes.remaining_fields() {
        sink.push(&field);
        sink.line();
    }
    (extraction.text, extraction.truncated) = sink.finish();
    if extraction.text.is_none() {
        extraction.note(if tally.is_complete() {
            "no text layer"
        } else {
            "no text could be read: the pages are damaged"
        });
    }
    tally.note(extraction);
    if pages.len() > MAX_PAGES {
        extraction.truncated = true;
        extraction.note(format!("only the first {MAX_PAGES} pages were read"));
    }
    Ok(())
}

/// Writes and counts a page's text: its content, then what is filled in, typed and drawn on it.
fn read_page(
    page: ObjectId,
    reader: &mut PageReader<'_>,
    notes: &mut NoteReader<'_>,
    limits: &Limits,
    sink: &mut TextSink,
    count: &mut PageCount,
) -> Result<(), ExtractError> {
    let content = reader.page(page)?;
    count.add(PageCount::of(&content));
    layout::write(content.glyphs, sink);
    for note in notes.page(page) {
        let drawn = match note.appearance {
            Some(form) => {
                let content = reader.appearance(page, form)?;
                let of_form = PageCount::of(&content);
                // Where a text says what is drawn, it does not matter that its font does not.
                let is_drawn = note.text.is_none() || of_form.is_trusted();
                if is_drawn {
                    count.add(of_form);
                }
                let mut drawn = TextSink::new(limits.max_text_bytes);
                layout::write(content.glyphs, &mut drawn);
                drawn.finish().0.filter(|_| is_drawn)
            }
            None => None,
        };
        if let Some(text) = note.read(drawn) {
            sink.line();
            sink.push(&text);
        }
    }
    Ok(())
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

//! The header and the rows of a CSV manifest. The columns are `path`, `title`, `tags` (`k=v;k=v`), `collection` and
//! `locale`; every other column is a custom field. A path is bytes; every other field is UTF-8.

use csv::ByteRecord;

use super::entries::{Entry, Flaw};
use super::metadata::{DeclaredMetadata, parse_locale};

/// The columns of a CSV manifest.
#[derive(Debug)]
pub(super) struct CsvHeader {
    names: Vec<String>,
    path: usize,
}

impl CsvHeader {
    /// Reads the header line.
    ///
    /// # Errors
    /// Why it is not one, for the user.
    pub(super) fn read(bytes: &[u8], entry: Entry) -> Result<Self, String> {
        if bytes.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"sep=")) {
            return Err(
                "its first line names the separator for spreadsheets: delete it, and separate the fields by commas"
                    .to_owned(),
            );
        }
        if entry.flaw.is_some()
            && let Some(separator) = other_separator(bytes)
        {
            return Err(no_path_column(Some(separator)));
        }
        match entry.flaw {
            Some(Flaw::TooLong) => return Err("its header line is too long".to_owned()),
            Some(Flaw::OpenQuote | Flaw::TextAfterQuote) => return Err("its header line has an odd quote".to_owned()),
            None => {}
        }
        let record = fields(bytes).map_err(|error| format!("its header line {error}"))?;
        let mut names: Vec<String> = Vec::new();
        for (number, field) in (1..).zip(&record) {
            let name =
                std::str::from_utf8(field).map_err(|_| format!("the name of its column {number} is not UTF-8"))?;
            let name = name.trim();
            if name.is_empty() {
                return Err(format!("its column {number} has no name"));
            }
            if names.iter().any(|other| other == name) {
                return Err(format!("it has two columns named {name}"));
            }
            names.push(name.to_owned());
        }
        let path = names.iter().position(|name| name == "path");
        let path = path.ok_or_else(|| no_path_column(other_separator(bytes)))?;
        Ok(Self { names, path })
    }

    pub(super) fn columns(&self) -> usize {
        self.names.len()
    }

    /// Whether the path is the last field of a row.
    pub(super) fn path_is_last(&self) -> bool {
        self.path + 1 == self.names.len()
    }

    /// The path of a row that has as many fields as the header.
    pub(super) fn path<'a>(&self, record: &'a ByteRecord) -> &'a [u8] {
        record.get(self.path).unwrap_or_default()
    }

    /// The metadata in the other columns; an empty field says nothing.
    ///
    /// # Errors
    /// The column whose field is not UTF-8.
    pub(super) fn metadata(&self, record: &ByteRecord) -> Result<DeclaredMetadata, String> {
        let mut declared = DeclaredMetadata::default();
        for (name, field) in self.names.iter().zip(record).filter(|(name, _)| *name != "path") {
            let value = std::str::from_utf8(field).map_err(|_| format!("{name} is not UTF-8"))?;
            if value.is_empty() {
                continue;
            }
            match name.as_str() {
                "title" => declared.title = Some(value.to_owned()),
                "collection" => declared.collection = Some(value.to_owned()),
                "locale" => declared.locale = Some(parse_locale(value)?),
                "tags" => {
                    let tags = value.split(';').filter(|tag| !tag.trim().is_empty());
                    let set = declared.set_tags(tags.map(str::to_owned).collect());
                    set.map_err(|error| format!("tags: {error}"))?;
                }
                custom => {
                    let custom = custom.strip_prefix("custom.").unwrap_or(custom);
                    if declared.custom.insert(custom.to_owned(), value.into()).is_some() {
                        return Err(format!("two columns give the custom field {custom}"));
                    }
                }
            }
        }
        Ok(declared)
    }
}

/// What separates the fields of a header line with a column named path, if it is no comma.
fn other_separator(header: &[u8]) -> Option<&'static str> {
    let separators = [(b';', "semicolons"), (b'\t', "tabs"), (b'|', "vertical bars")];
    let is_path = |field: &[u8]| {
        let field = field.trim_ascii();
        field.strip_prefix(b"\"").and_then(|field| field.strip_suffix(b"\"")).unwrap_or(field) == b"path"
    };
    let found = separators.into_iter().find(|(separator, _)| {
        header.contains(separator) && header.split(|byte| byte == separator || *byte == b',').any(is_path)
    });
    found.map(|(_, name)| name)
}

fn no_path_column(separator: Option<&str>) -> String {
    let missing = "its first line has no column named path";
    match separator {
        Some(separator) => format!("{missing}: its fields are separated by {separator}; separate them by commas"),
        None => missing.to_owned(),
    }
}

/// The fields of one record.
///
/// # Errors
/// It is not one record. The text continues "the line".
pub(super) fn fields(bytes: &[u8]) -> Result<ByteRecord, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(bytes.len().max(1))
        .from_reader(bytes);
    let mut record = ByteRecord::new();
    let read = |reader: &mut csv::Reader<&[u8]>, record: &mut ByteRecord| {
        reader.read_byte_record(record).map_err(|error| format!("is not CSV: {error}"))
    };
    read(&mut reader, &mut record)?;
    let mut more = ByteRecord::new();
    if read(&mut reader, &mut more)? {
        return Err("has a carriage return that is not part of a line end".to_owned());
    }
    Ok(record)
}

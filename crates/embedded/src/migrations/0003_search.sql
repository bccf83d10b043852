-- The search index: originals beside the normalised words of a full-text index that keeps no text of its own.

CREATE TABLE search_documents (
    document_id INTEGER PRIMARY KEY,
    asset_id    BLOB NOT NULL,
    locale      TEXT NOT NULL,
    revision    INTEGER NOT NULL,
    tenant      TEXT NOT NULL,
    collection  TEXT,
    media_type  TEXT NOT NULL,
    language    TEXT,
    title       TEXT NOT NULL,
    UNIQUE (asset_id, locale)
) STRICT;

-- Apart from the rows that every search reads for its filters.
CREATE TABLE search_bodies (
    document_id INTEGER PRIMARY KEY,
    body        TEXT NOT NULL
) STRICT;

-- What was removed, with the revision that a later write must reach.
CREATE TABLE search_tombstones (
    asset_id BLOB PRIMARY KEY,
    revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- domain::text has folded case, diacritics and spellings already: here words only stand between spaces.
CREATE VIRTUAL TABLE search_words USING fts5 (
    title, tags, body,
    content = '', contentless_delete = 1,
    tokenize = "unicode61 remove_diacritics 0 categories 'L* M* N* Co'"
);

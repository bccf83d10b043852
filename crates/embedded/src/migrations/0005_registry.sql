-- Numbered JSON Schemas by subject. Rows are never changed.

CREATE TABLE registry_schemas (
    schema_id INTEGER PRIMARY KEY,
    subject   TEXT NOT NULL,
    version   INTEGER NOT NULL,
    schema    TEXT NOT NULL,                    -- JSON
    UNIQUE (subject, version)
) STRICT;

-- Who did what. Rows are never changed.

CREATE TABLE operator_records (
    record_id INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,                 -- microseconds since 1970
    actor     TEXT NOT NULL,
    profile   TEXT NOT NULL,
    verb      TEXT NOT NULL,
    arguments TEXT NOT NULL,                    -- JSON
    result    TEXT NOT NULL,
    undo      TEXT
) STRICT;
CREATE TRIGGER operator_records_stay BEFORE UPDATE ON operator_records BEGIN
    SELECT raise(ABORT, 'operator records are never changed');
END;
CREATE TRIGGER operator_records_remain BEFORE DELETE ON operator_records BEGIN
    SELECT raise(ABORT, 'operator records are never removed');
END;

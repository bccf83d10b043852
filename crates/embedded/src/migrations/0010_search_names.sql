-- The names of the files that an asset's bytes were ingested from, in the same form as search_words. A row has the id of its
-- search document; it is apart from the other words, so that a name that comes later does not write a whole text again.
CREATE VIRTUAL TABLE search_names USING fts5 (
    names,
    content = '', contentless_delete = 1,
    tokenize = "unicode61 remove_diacritics 0 categories 'L* M* N* Co'"
);

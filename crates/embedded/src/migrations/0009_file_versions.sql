-- What tells whether a source file has changed since it was read, besides its size and modification time. NULL is unknown:
-- the file was read by an earlier version, or too soon after its last change for the change time to tell a later one.

ALTER TABLE journal_files ADD COLUMN changed_ns INTEGER;    -- nanoseconds since 1970
ALTER TABLE journal_files ADD COLUMN device INTEGER;        -- the bits of an unsigned number
ALTER TABLE journal_files ADD COLUMN inode INTEGER;         -- the bits of an unsigned number

-- Time the purge of an asset's bytes was ordered; NULL while its original is to be kept in the archive.
ALTER TABLE media_takedowns ADD COLUMN purged_at INTEGER;

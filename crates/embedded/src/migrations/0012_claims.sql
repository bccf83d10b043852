-- Fenced claims. Columns that are NULL are of a process of an earlier format, which may still write.

-- Epochs of partitions: see core's domain/claim.rs.
CREATE TABLE media_claim_epochs (
    group_id     INTEGER NOT NULL,              -- of media_inbox_names
    topic_name   INTEGER NOT NULL,              -- of media_inbox_names
    topic_id     TEXT NOT NULL,                 -- the log's; '' where it has none
    partition    INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    generation   INTEGER NOT NULL,              -- of the group, when the epoch was minted
    member_id    TEXT NOT NULL,                 -- of the member that it was minted for
    trusted_from INTEGER NOT NULL,              -- own claims of earlier epochs are in doubt
    PRIMARY KEY (group_id, topic_name, topic_id, partition)
) STRICT, WITHOUT ROWID;

ALTER TABLE media_inbox ADD COLUMN owner_topic_id TEXT;     -- the log's id of the owner's topic
ALTER TABLE media_inbox ADD COLUMN epoch INTEGER;
ALTER TABLE media_inbox ADD COLUMN dead_lettered INTEGER;   -- 1: ended, or is about to end, as a dead letter
ALTER TABLE media_inbox ADD COLUMN claimed_at INTEGER;

ALTER TABLE commits ADD COLUMN claim_epoch INTEGER;
ALTER TABLE commits ADD COLUMN claim_epoch_offset INTEGER;  -- the offset that was committed under claim_epoch

-- A process of an earlier format, whose claims have no epoch, expects the claim of a dead letter to be free.
CREATE TRIGGER media_inbox_dead_letter_is_free BEFORE INSERT ON media_inbox WHEN NEW.epoch IS NULL BEGIN
    DELETE FROM media_inbox
    WHERE group_id = NEW.group_id AND asset_id = NEW.asset_id AND revision = NEW.revision
      AND done = 1 AND dead_lettered = 1;
END;

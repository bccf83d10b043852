-- Fenced claims. Columns that are NULL are those of a process of an earlier format, which may still write.

-- Epochs of partitions: see core's domain/claim.rs. topic_id is the id of the topic's row in `topics`.
CREATE TABLE media_claim_epochs (
    group_id   INTEGER NOT NULL,                -- of media_inbox_names
    topic      INTEGER NOT NULL,                -- of media_inbox_names
    topic_id   TEXT NOT NULL,                   -- '' where the log has no ids
    partition  INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    generation INTEGER NOT NULL,                -- of the group, when it was minted
    member_id  TEXT NOT NULL,                   -- that it was minted for
    PRIMARY KEY (group_id, topic, topic_id, partition)
) STRICT, WITHOUT ROWID;

-- What is known of a claim beside its owner's address. Rows without one here are of an earlier format.
ALTER TABLE media_inbox ADD COLUMN owner_topic_id TEXT;     -- the log's id of the owner's topic
ALTER TABLE media_inbox ADD COLUMN epoch INTEGER;
ALTER TABLE media_inbox ADD COLUMN dead_lettered INTEGER;   -- 1: ended, or is about to end, as a dead letter
ALTER TABLE media_inbox ADD COLUMN claimed_at INTEGER;

ALTER TABLE commits ADD COLUMN claim_epoch INTEGER;
ALTER TABLE commits ADD COLUMN claim_epoch_offset INTEGER;  -- the offset that was committed under claim_epoch

-- Old claims are removed; their assets keep what they were for: see core's domain/claim_folding.rs.

-- JSON: the highest folded revision by group (an id of media_inbox_names). NULL is none.
ALTER TABLE media_assets ADD COLUMN folded_claims TEXT;

-- A process of an earlier format, which does not look there, finds the claim of a folded revision done.
CREATE TRIGGER media_inbox_folded_is_done BEFORE INSERT ON media_inbox
WHEN NOT EXISTS (SELECT 1 FROM media_inbox
                 WHERE group_id = NEW.group_id AND asset_id = NEW.asset_id AND revision = NEW.revision)
     AND EXISTS (SELECT 1 FROM media_assets
                 WHERE asset_id = NEW.asset_id
                   AND folded_claims ->> ('$."' || NEW.group_id || '"') >= NEW.revision) BEGIN
    INSERT INTO media_inbox (group_id, asset_id, revision, topic_id, partition, "offset", done, owner_topic_id, epoch,
                             claimed_at)
    VALUES (NEW.group_id, NEW.asset_id, NEW.revision, NEW.topic_id, NEW.partition, NEW."offset", 1, NEW.owner_topic_id,
            NEW.epoch, NEW.claimed_at);
END;

-- Where partitions ended when a worker looked.
CREATE TABLE media_partition_ends (
    topic       TEXT NOT NULL,
    topic_id    TEXT NOT NULL,
    partition   INTEGER NOT NULL,
    "offset"    INTEGER NOT NULL,
    topic_since INTEGER NOT NULL,               -- when the topic was first seen with this id
    end_since   INTEGER NOT NULL,               -- when the partition was first seen to end at this offset
    PRIMARY KEY (topic, topic_id, partition)
) STRICT, WITHOUT ROWID;

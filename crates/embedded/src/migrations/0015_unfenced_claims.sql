-- Claims of processes of formats without epochs.

-- When the last one was made, to the millisecond. Those before this migration have no time: they count as made now.
INSERT OR REPLACE INTO meta (key, value) VALUES ('last_unfenced_claim_at', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));

CREATE TRIGGER media_inbox_unfenced_claim BEFORE INSERT ON media_inbox WHEN NEW.epoch IS NULL BEGIN
    UPDATE meta SET value = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE key = 'last_unfenced_claim_at';
    -- A record that claims again was delivered to such a process. Its commit has no epoch, which completes no other claim.
    UPDATE media_inbox SET owner_topic_id = NULL, epoch = NULL, dead_lettered = NULL
    WHERE group_id = NEW.group_id AND asset_id = NEW.asset_id AND revision = NEW.revision AND done = 0
      AND topic_id = NEW.topic_id AND partition = NEW.partition AND "offset" = NEW."offset";
END;

-- Only such a process frees claims, before the commit of a dead letter. One that has an epoch was taken since.
CREATE TRIGGER media_inbox_fenced_claim_stays BEFORE DELETE ON media_inbox
WHEN OLD.epoch IS NOT NULL AND OLD.done = 0 BEGIN
    SELECT RAISE(IGNORE);
END;

-- Files that the holders of the job's lease had found when they last renewed or ended it.
ALTER TABLE media_jobs ADD COLUMN discovered INTEGER;

-- The journal has the outcomes of the lease epochs up to this one; NULL if no lease was taken.
ALTER TABLE journal_jobs ADD COLUMN lease_epoch INTEGER;
-- Files that another host had found of the job; NULL if it was never another host's.
ALTER TABLE journal_jobs ADD COLUMN expected_files INTEGER;

-- What version 1 does with its file: two batches are written with the checkpoint, a gap is noted, the newest batch is
-- looked up and confirmed, and what the outbox holds is asked.
BEGIN IMMEDIATE;
SELECT ordinal, body FROM gaps ORDER BY ordinal LIMIT 100;
SELECT value FROM meta WHERE key = 'previous';
UPDATE meta SET value = '50' WHERE key = 'sequence';
UPDATE meta SET value = (SELECT value FROM meta WHERE key = 'epoch') || ' 50' WHERE key = 'previous';
INSERT INTO batches (epoch, sequence, state, rows, created_ns, body)
    SELECT (SELECT value FROM meta WHERE key = 'epoch'), 50, 0, rows, 8, body FROM batches WHERE ordinal = 2;
UPDATE meta SET value = '51' WHERE key = 'sequence';
UPDATE meta SET value = (SELECT value FROM meta WHERE key = 'epoch') || ' 51' WHERE key = 'previous';
INSERT INTO batches (epoch, sequence, state, rows, created_ns, body)
    SELECT (SELECT value FROM meta WHERE key = 'epoch'), 51, 0, rows, 8, body FROM batches WHERE ordinal = 2;
INSERT INTO gaps (body) SELECT body FROM gaps LIMIT 1;
INSERT OR REPLACE INTO checkpoint VALUES (1, CAST('from the older one' AS BLOB));
SELECT coalesce(sum(length(body)), 0) FROM batches WHERE state != 0 AND settled_ns < 1;
COMMIT;
SELECT ordinal, epoch, sequence, rows, created_ns, body FROM batches
    WHERE ordinal = (SELECT max(ordinal) FROM batches WHERE state = 0);
UPDATE batches SET state = 1, settled_ns = 9, reason = '' WHERE sequence = 51;
SELECT count(*), coalesce(sum(rows), 0), coalesce(min(created_ns), 0) FROM batches WHERE state = 0;
SELECT number, device, sent, body FROM announcements WHERE sent = 0;

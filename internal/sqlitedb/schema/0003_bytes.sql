-- What a row takes up of what its project may use: see results.Index.
ALTER TABLE tasks ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;

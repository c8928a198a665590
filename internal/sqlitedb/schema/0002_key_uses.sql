-- When keys of the API were last used; apart from the registry's items, which
-- have versions.
CREATE TABLE key_uses (
  id TEXT    PRIMARY KEY,
  at INTEGER NOT NULL
) WITHOUT ROWID;

-- Times are Unix milliseconds; 0 means "none".

CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

-- Broker -------------------------------------------------------------------

CREATE TABLE queues (
  name TEXT PRIMARY KEY
) WITHOUT ROWID;

-- queue is an endpoint's id, or "!" and a system queue's name. endpoint and
-- system are the destination as published, which a move does not change.
CREATE TABLE messages (
  id       INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: workers hold ids
  queue    TEXT    NOT NULL,
  due      INTEGER NOT NULL,
  eta      INTEGER NOT NULL,
  endpoint TEXT    NOT NULL,
  system   TEXT    NOT NULL,
  task     TEXT    NOT NULL,
  meta     TEXT    NOT NULL,
  body     BLOB
);
CREATE INDEX messages_due ON messages (queue, due);
CREATE INDEX messages_unroutable ON messages (endpoint) WHERE queue = '!unroutable';

-- Messages in a worker's hands, and those whose worker was lost before. Apart
-- from messages so that a claim does not rewrite a body.
CREATE TABLE claims (
  id     INTEGER PRIMARY KEY,
  losses INTEGER NOT NULL,
  held   INTEGER NOT NULL
);

-- Results ------------------------------------------------------------------

-- accept_by: > 0 not noted as accepted yet; < 0 the same, but the note may
-- have been lost with the machine, so Abandon leaves it alone; 0 noted.
-- live: the lane of a row that is not final, else 0.
CREATE TABLE tasks (
  n          INTEGER PRIMARY KEY,
  id         TEXT    NOT NULL UNIQUE,
  version    INTEGER NOT NULL,
  head       BLOB    NOT NULL,
  spec       BLOB    NOT NULL,
  project    TEXT    NOT NULL,
  endpoint   TEXT    NOT NULL,
  created    INTEGER NOT NULL,
  live       INTEGER NOT NULL,
  failed     INTEGER NOT NULL,
  hidden     INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  accept_by  INTEGER NOT NULL,
  keep_till  INTEGER NOT NULL,
  flag       INTEGER NOT NULL DEFAULT 0,
  flag_at    INTEGER NOT NULL DEFAULT 0,
  idem       TEXT    NOT NULL
);
CREATE INDEX tasks_all      ON tasks (project, created, id) WHERE hidden = 0;
CREATE INDEX tasks_failed   ON tasks (project, created, id) WHERE failed = 1 AND hidden = 0;
CREATE INDEX tasks_live     ON tasks (endpoint, live, created, id) WHERE live > 0;
CREATE INDEX tasks_expiring ON tasks (expires_at) WHERE live > 0 AND expires_at > 0;
CREATE INDEX tasks_accept   ON tasks (accept_by) WHERE accept_by > 0;
CREATE INDEX tasks_flagged  ON tasks (flag_at) WHERE flag > 0;
CREATE INDEX tasks_keep     ON tasks (keep_till);

-- Large values live apart: a change of state does not rewrite them.
CREATE TABLE payloads (
  n    INTEGER PRIMARY KEY,
  data BLOB NOT NULL
);
CREATE TABLE outcomes (
  n    INTEGER PRIMARY KEY,
  data BLOB NOT NULL
);
CREATE TABLE attempts (
  n      INTEGER NOT NULL,
  number INTEGER NOT NULL,
  data   BLOB    NOT NULL,
  PRIMARY KEY (n, number)
) WITHOUT ROWID;

CREATE TABLE idem (
  key         TEXT PRIMARY KEY,
  fingerprint TEXT    NOT NULL,
  until       INTEGER NOT NULL,
  id          TEXT    NOT NULL
) WITHOUT ROWID;
CREATE INDEX idem_until ON idem (until);

-- Small values beside the tasks, such as bulk jobs.
CREATE TABLE documents (
  kind      TEXT    NOT NULL,
  grp       TEXT    NOT NULL,
  name      TEXT    NOT NULL,
  version   INTEGER NOT NULL,
  data      BLOB    NOT NULL,
  keep_till INTEGER NOT NULL,
  PRIMARY KEY (kind, grp, name)
) WITHOUT ROWID;
CREATE INDEX documents_keep ON documents (keep_till);

-- Registry -----------------------------------------------------------------

CREATE TABLE registry_items (
  kind     TEXT    NOT NULL,
  project  TEXT    NOT NULL,
  name     TEXT    NOT NULL,
  value    BLOB,
  revision INTEGER NOT NULL,
  deleted  INTEGER NOT NULL,
  PRIMARY KEY (kind, project, name)
) WITHOUT ROWID;

-- One row at most.
CREATE TABLE registry_state (
  one     INTEGER PRIMARY KEY CHECK (one = 1),
  epoch   TEXT    NOT NULL,
  version INTEGER NOT NULL
);

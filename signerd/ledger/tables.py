"""The tables of the index: what they hold follows from the entries (see ``signerd.ledger.index``)."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS certificates (
  seq INTEGER PRIMARY KEY,          -- of the intent
  serial BLOB NOT NULL UNIQUE,      -- the ledger refuses a second one
  client TEXT NOT NULL,
  profile TEXT NOT NULL,
  subject TEXT NOT NULL,
  shard INTEGER NOT NULL,           -- of the CRL that its distribution point names
  recorded_at INTEGER NOT NULL,
  not_before INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  spki BLOB NOT NULL,               -- SHA-256 of its SubjectPublicKeyInfo
  idempotency_key TEXT,             -- what the client called its request
  proof_id BLOB,                    -- of the proof that got it
  of_all INTEGER NOT NULL,          -- its number among all certificates,
  of_client INTEGER NOT NULL,       -- among its client's
  of_profile INTEGER NOT NULL,      -- and among its profile's: two of them say how many lie in between
  bytes INTEGER NOT NULL,           -- what it adds to the ledger,
  bytes_until INTEGER NOT NULL,     -- and what all did up to it
  issued INTEGER,                   -- seq of the entry with the signature; null: pending
  changed INTEGER,                  -- seq of the last entry that revoked or released it
  revoked_at INTEGER,
  reason TEXT,                      -- as RFC 5280, 5.3.1 names it
  invalidity_date INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS pruned ( -- what is left of a certificate that expired long ago, and its entry doesn't say
  seq INTEGER PRIMARY KEY,          -- of the intent
  serial BLOB NOT NULL UNIQUE,      -- never to be issued again (RFC 5280, 4.1.2.2)
  not_after INTEGER NOT NULL,       -- were the clock set back before it, the certificate would come back
  issued INTEGER,
  changed INTEGER,
  revoked_at INTEGER,
  reason TEXT,
  invalidity_date INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS expiries (
  hour INTEGER PRIMARY KEY,         -- of not_after, since the epoch
  certificates INTEGER NOT NULL     -- how many expire in it, revoked or not
) STRICT;
CREATE TABLE IF NOT EXISTS names (
  name TEXT NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (name, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger_keys ( -- the statements that name the key by which commits are signed
  seq INTEGER PRIMARY KEY,          -- of the intent
  key BLOB NOT NULL,                -- the raw public key
  issued INTEGER                    -- seq of the entry with the signature; null: pending
) STRICT;
CREATE TABLE IF NOT EXISTS crls (
  scope INTEGER PRIMARY KEY,        -- a shard, ALL_SHARDS or CA_CERTIFICATES; its last CRL:
  seq INTEGER NOT NULL UNIQUE,      -- of the intent
  number INTEGER NOT NULL,
  this_update INTEGER NOT NULL,
  next_update INTEGER NOT NULL,
  issued INTEGER,                   -- seq of the entry with the signature; null: pending
  changed INTEGER NOT NULL          -- seq of the last entry that revoked or released in this scope
) STRICT;
CREATE TABLE IF NOT EXISTS base_urls (
  url TEXT PRIMARY KEY,             -- each that was ever in force: certificates still name it
  seq INTEGER NOT NULL              -- of the entry that brought it
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocked_keys (
  spki BLOB PRIMARY KEY,            -- SHA-256 of a SubjectPublicKeyInfo
  blocked INTEGER NOT NULL,         -- 1: it gets no certificate; 0: no longer so
  seq INTEGER NOT NULL              -- of the entry that says so
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  seq INTEGER NOT NULL              -- of the entry that it follows from
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress (
  row INTEGER PRIMARY KEY CHECK (row = 1),
  seq INTEGER NOT NULL              -- of the last entry that the index knows
) STRICT;
CREATE INDEX IF NOT EXISTS certificates_pending ON certificates (seq) WHERE issued IS NULL;
CREATE INDEX IF NOT EXISTS certificates_revoked ON certificates (shard, seq) WHERE revoked_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS certificates_listed ON certificates (not_after) WHERE revoked_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS certificates_client ON certificates (client, seq);
CREATE INDEX IF NOT EXISTS certificates_profile ON certificates (profile, seq);
CREATE INDEX IF NOT EXISTS certificates_spki ON certificates (spki);
CREATE INDEX IF NOT EXISTS certificates_expiry ON certificates (not_after);
CREATE UNIQUE INDEX IF NOT EXISTS certificates_idempotency ON certificates (client, idempotency_key)
  WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS certificates_proof ON certificates (client, proof_id) WHERE proof_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS names_seq ON names (seq);
CREATE INDEX IF NOT EXISTS certificates_held ON certificates (seq) WHERE reason = 'certificateHold';
CREATE INDEX IF NOT EXISTS pruned_expiry ON pruned (not_after);
CREATE INDEX IF NOT EXISTS blocked_keys_seq ON blocked_keys (seq);
CREATE INDEX IF NOT EXISTS entries_start ON entries (seq) WHERE kind = 'start';
CREATE INDEX IF NOT EXISTS entries_clock ON entries (seq) WHERE kind = 'clock';
"""

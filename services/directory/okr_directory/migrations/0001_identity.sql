-- Who people are. The log knows them by opaque ids alone, so erasing somebody is deleting one row here.
-- A row is written before its person's event; `claimed_at` (the database's clock) tells an attempt in
-- flight from one that never reached the log.
CREATE TABLE identity (
    organization_id uuid,
    person_id       uuid,
    handle          text COLLATE "C" NOT NULL,
    name            text NOT NULL,
    email           text NOT NULL,
    claimed_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, person_id),
    UNIQUE (organization_id, handle)
);

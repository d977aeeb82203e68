-- The keys to what people wrote. A person's key is wrapped by their organisation's, that one by the master
-- key, which is not in the database. Erasing somebody destroys their key: the row stays and says so, or the
-- next use would make a new one.
CREATE TABLE organization_key (
    organization_id uuid PRIMARY KEY,
    wrapped         bytea NOT NULL,
    made_at         timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE author_key (
    organization_id uuid,
    person_id       uuid,
    version         integer NOT NULL,
    wrapped         bytea,
    made_at         timestamptz NOT NULL DEFAULT now(),
    destroyed_at    timestamptz,
    PRIMARY KEY (organization_id, person_id),
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);

-- Tells the right master key from another one.
CREATE TABLE vault_proof (
    sole    boolean PRIMARY KEY DEFAULT true CHECK (sole),
    wrapped bytea NOT NULL
);

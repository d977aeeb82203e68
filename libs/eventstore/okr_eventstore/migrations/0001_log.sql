-- The log of one service, and what stands beside it.

-- Append lock and gapless allocator: who holds a shard's row gives out its next positions.
CREATE TABLE shard (
    shard   smallint PRIMARY KEY,
    head    bigint NOT NULL DEFAULT 0,
    epoch   int NOT NULL DEFAULT 1,
    last_at timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10);
INSERT INTO shard (shard) SELECT generate_series(0, 255);

-- json, not jsonb: nothing queries inside an event, and text is what is read back. A stream's version is that of its
-- last event, which the unique index finds in one descent; no table beside it has to be kept.
CREATE TABLE event (
    shard           smallint,
    position        bigint,
    organization_id uuid NOT NULL,
    stream_id       text COLLATE "C" NOT NULL,
    version         bigint NOT NULL,
    event_id        uuid NOT NULL,
    type            text NOT NULL,
    schema_version  smallint NOT NULL,
    recorded_at     timestamptz NOT NULL,
    occurred_at     timestamptz NOT NULL,
    command_id      uuid NOT NULL,
    causation_id    uuid,
    correlation_id  uuid NOT NULL,
    actor           text NOT NULL,
    data            json NOT NULL,
    metadata        json,
    PRIMARY KEY (shard, position),
    UNIQUE (organization_id, stream_id, version)  -- the organisation knows its shard: one column less to compare
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are never changed or deleted; a correction is a new event';
END $$;
CREATE TRIGGER events_stay BEFORE UPDATE OR DELETE ON event FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER log_stays BEFORE TRUNCATE ON event FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The answers to finished commands, kept 30 days so that a resend gets the same one.
CREATE TABLE command (
    shard           smallint,
    organization_id uuid,
    command_id      uuid,
    fingerprint     bytea NOT NULL,
    version         bigint NOT NULL,
    position        bigint NOT NULL,
    recorded_at     timestamptz NOT NULL,
    reply           bytea,
    PRIMARY KEY (command_id, organization_id)  -- the id first: it decides nearly every comparison alone
);
CREATE INDEX command_age ON command USING brin (recorded_at);

-- Long streams folded up to some of their versions, so that the past is as near as the present. `slot` counts them
-- along the stream; of a stream that keeps growing every other one is let go.
CREATE TABLE snapshot (
    shard           smallint,
    organization_id uuid,
    stream_id       text COLLATE "C",
    state_version   int,
    version         bigint,
    slot            bigint NOT NULL,
    state           json NOT NULL,
    PRIMARY KEY (shard, organization_id, stream_id, state_version, version)
);
-- Ids hardly compress, and a state is read far more often than it is kept.
ALTER TABLE snapshot ALTER COLUMN state SET STORAGE EXTERNAL;

-- How far each consumer of this service has read each shard of a log, its own or a foreign one.
CREATE TABLE checkpoint (
    consumer text,
    source   text,
    shard    smallint,
    epoch    int NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (consumer, source, shard)
) WITH (fillfactor = 50);

-- Streams a consumer could not digest: the first bad event and all that follow it, in order.
CREATE TABLE parked (
    consumer        text,
    source          text,
    shard           smallint,
    position        bigint,
    organization_id uuid NOT NULL,
    stream_id       text COLLATE "C" NOT NULL,
    event           json NOT NULL,
    error           text NOT NULL,
    attempts        int NOT NULL DEFAULT 0,
    parked_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, source, shard, position)
);
CREATE INDEX parked_stream ON parked (consumer, source, organization_id, stream_id, position);

-- Which generation of its tables a projection lives in.
CREATE TABLE projection (
    name       text PRIMARY KEY,
    generation int NOT NULL,
    version    int NOT NULL,
    shape      text NOT NULL
);

-- A batch arrives as rows: the driver then looks at one array, not at every value of twenty.
CREATE TYPE new_event AS (
    event_id       uuid,
    type           text,
    schema_version smallint,
    occurred_at    timestamptz,
    data           json
);

CREATE TYPE new_command AS (
    shard           smallint,
    organization_id uuid,
    stream_id       text,
    expected        bigint,
    command_id      uuid,
    fingerprint     bytea,
    reply           bytea,
    actor           text,
    causation_id    uuid,
    correlation_id  uuid,
    metadata        json,
    events          new_event[]
);

-- Appends a batch of commands, at most one a stream, and answers each in order: 'ok', 'duplicate' or 'conflict'.
-- A conflict or duplicate never touches its neighbours. `p_shards` are the shards of all commands, `p_now` replaces
-- the clock. VOLATILE on purpose: the second statement sees what was committed before the locks were granted.
CREATE FUNCTION append_batch(p_now timestamptz, p_shards smallint[], p_commands new_command[])
RETURNS TABLE (outcome text, version bigint, epoch int, "position" bigint, recorded_at timestamptz, fingerprint bytea,
               reply bytea)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
BEGIN
    -- Ascending order: two writers can wait for each other, never lock each other out.
    PERFORM 1 FROM shard s WHERE s.shard = ANY (p_shards) ORDER BY s.shard FOR UPDATE;
    v_now := coalesce(p_now, clock_timestamp());

    RETURN QUERY
    WITH asked AS (
        SELECT c.*, cardinality(c.events) AS count, s.head, s.epoch,
               coalesce(t.version, 0) AS actual, d.version AS done_version, d.position AS done_position,
               d.fingerprint AS done_fingerprint, d.reply AS done_reply,
               -- Never back inside a shard: what was known at a moment is a prefix of the log.
               greatest(v_now, s.last_at) AS at,
               CASE WHEN d.command_id IS NOT NULL THEN 'duplicate'
                    WHEN coalesce(t.version, 0) <> c.expected THEN 'conflict'
                    ELSE 'ok' END AS outcome
          FROM unnest(p_commands) WITH ORDINALITY
               AS c(shard, organization_id, stream_id, expected, command_id, fingerprint, reply, actor, causation_id,
                    correlation_id, metadata, events, ordinal)
          JOIN shard s ON s.shard = c.shard
          LEFT JOIN command d
                 ON d.shard = c.shard AND d.organization_id = c.organization_id AND d.command_id = c.command_id
          LEFT JOIN LATERAL (
                SELECT e.version FROM event e
                 WHERE e.shard = c.shard AND e.organization_id = c.organization_id AND e.stream_id = c.stream_id
                 ORDER BY e.version DESC LIMIT 1) t ON true
    ), placed AS MATERIALIZED (
        SELECT a.*, a.head + sum(CASE a.outcome WHEN 'ok' THEN a.count ELSE 0 END)
                             OVER (PARTITION BY a.shard ORDER BY a.ordinal)::bigint AS last
          FROM asked a
    ), kept AS (
        INSERT INTO command (shard, organization_id, command_id, fingerprint, version, position, recorded_at, reply)
        SELECT p.shard, p.organization_id, p.command_id, p.fingerprint, p.expected + p.count, p.last, p.at, p.reply
          FROM placed p WHERE p.outcome = 'ok'
    ), written AS (
        INSERT INTO event (shard, position, organization_id, stream_id, version, event_id, type, schema_version,
                           recorded_at, occurred_at, command_id, causation_id, correlation_id, actor, data, metadata)
        SELECT p.shard, p.last - p.count + e.nth, p.organization_id, p.stream_id, p.expected + e.nth, e.event_id,
               e.type, e.schema_version, p.at, coalesce(e.occurred_at, p.at), p.command_id, p.causation_id,
               p.correlation_id, p.actor, e.data, p.metadata
          FROM placed p
         CROSS JOIN LATERAL unnest(p.events) WITH ORDINALITY
                    AS e(event_id, type, schema_version, occurred_at, data, nth)
         WHERE p.outcome = 'ok'
    ), moved AS (
        UPDATE shard s SET head = n.head, last_at = n.at
          FROM (SELECT p.shard, max(p.last) AS head, max(p.at) AS at
                  FROM placed p WHERE p.outcome = 'ok' AND p.count > 0 GROUP BY p.shard) n
         WHERE s.shard = n.shard
    )
    SELECT p.outcome,
           CASE p.outcome WHEN 'ok' THEN p.expected + p.count WHEN 'duplicate' THEN p.done_version ELSE p.actual END,
           p.epoch,
           CASE p.outcome WHEN 'duplicate' THEN p.done_position ELSE p.last END,
           p.at, p.done_fingerprint, p.done_reply
      FROM placed p ORDER BY p.ordinal;
END $$;

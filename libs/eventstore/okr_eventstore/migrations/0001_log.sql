-- The log of one service, and what stands beside it.

-- Append lock and gapless allocator: who holds a shard's row gives out its next positions.
CREATE TABLE shard (
    shard   smallint PRIMARY KEY,
    head    bigint NOT NULL DEFAULT 0,
    epoch   int NOT NULL DEFAULT 1,
    last_at timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10);
INSERT INTO shard (shard) SELECT generate_series(0, 255);

CREATE TABLE stream (
    shard           smallint,
    organization_id uuid,
    stream_id       text COLLATE "C",
    version         bigint NOT NULL,
    PRIMARY KEY (shard, organization_id, stream_id)
) WITH (fillfactor = 70);

-- json, not jsonb: nothing queries inside an event, and text is what is read back.
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
    UNIQUE (shard, organization_id, stream_id, version)
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
    PRIMARY KEY (shard, organization_id, command_id)
);
CREATE INDEX command_age ON command USING brin (recorded_at);

CREATE TABLE snapshot (
    shard           smallint,
    organization_id uuid,
    stream_id       text COLLATE "C",
    version         bigint NOT NULL,
    state_version   int NOT NULL,
    state           json NOT NULL,
    PRIMARY KEY (shard, organization_id, stream_id)
);

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

-- Appends a batch of commands, at most one a stream, and answers each: 'ok', 'duplicate' or 'conflict'.
-- A conflict or duplicate never touches its neighbours. Arrays run over commands (c_*) and over their
-- events in the same order (e_*); c_count says how many events each command has.
-- VOLATILE on purpose: each statement below sees what was committed before the locks were granted.
CREATE FUNCTION append_batch(
    p_now timestamptz,
    c_shard smallint[], c_organization uuid[], c_stream text[], c_expected bigint[], c_command uuid[],
    c_fingerprint bytea[], c_reply bytea[], c_count int[], c_actor text[], c_causation uuid[], c_correlation uuid[],
    c_metadata text[],
    e_ordinal int[], e_nth int[], e_id uuid[], e_type text[], e_schema_version smallint[], e_occurred_at timestamptz[],
    e_data text[]
) RETURNS TABLE (ordinal int, outcome text, version bigint, epoch int, "position" bigint, fingerprint bytea, reply bytea)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    v_ordinal int[];
    v_outcome text[];
    v_version bigint[];
    v_epoch int[];
    v_position bigint[];
    v_fingerprint bytea[];
    v_reply bytea[];
    v_at timestamptz[];
    v_now timestamptz;
BEGIN
    -- Ascending order: two writers can wait for each other, never lock each other out.
    PERFORM 1 FROM shard s WHERE s.shard = ANY (c_shard) ORDER BY s.shard FOR UPDATE;
    v_now := coalesce(p_now, clock_timestamp());

    SELECT array_agg(j.ordinal ORDER BY j.ordinal), array_agg(j.outcome ORDER BY j.ordinal),
           array_agg(CASE j.outcome WHEN 'ok' THEN j.expected + j.count WHEN 'duplicate' THEN j.done_version
                                    ELSE j.actual END ORDER BY j.ordinal),
           array_agg(j.epoch ORDER BY j.ordinal),
           array_agg(CASE j.outcome WHEN 'duplicate' THEN j.done_position ELSE j.head + j.appended END
                     ORDER BY j.ordinal),
           array_agg(j.done_fingerprint ORDER BY j.ordinal), array_agg(j.done_reply ORDER BY j.ordinal),
           array_agg(j.at ORDER BY j.ordinal)
      INTO v_ordinal, v_outcome, v_version, v_epoch, v_position, v_fingerprint, v_reply, v_at
      FROM (
        SELECT k.*, sum(CASE k.outcome WHEN 'ok' THEN k.count ELSE 0 END)
                        OVER (PARTITION BY k.shard ORDER BY k.ordinal) AS appended
          FROM (
            SELECT c.ordinal::int, c.shard, c.expected, c.count, s.head, s.epoch,
                   coalesce(t.version, 0) AS actual, d.version AS done_version, d.position AS done_position,
                   d.fingerprint AS done_fingerprint, d.reply AS done_reply,
                   -- Never back inside a shard: what was known at a moment is a prefix of the log.
                   greatest(v_now, s.last_at) AS at,
                   CASE WHEN d.command_id IS NOT NULL THEN 'duplicate'
                        WHEN coalesce(t.version, 0) <> c.expected THEN 'conflict'
                        ELSE 'ok' END AS outcome
              FROM unnest(c_shard, c_organization, c_stream, c_expected, c_command, c_count)
                   WITH ORDINALITY AS c(shard, organization_id, stream_id, expected, command_id, count, ordinal)
              JOIN shard s ON s.shard = c.shard
              LEFT JOIN command d
                     ON d.shard = c.shard AND d.organization_id = c.organization_id AND d.command_id = c.command_id
              LEFT JOIN stream t
                     ON t.shard = c.shard AND t.organization_id = c.organization_id AND t.stream_id = c.stream_id
          ) k
      ) j;

    -- The arrays are in ordinal order, so a command's verdict is found by subscript, not by a join.
    INSERT INTO command (shard, organization_id, command_id, fingerprint, version, position, recorded_at, reply)
    SELECT c_shard[o], c_organization[o], c_command[o], c_fingerprint[o], v_version[o], v_position[o], v_at[o], c_reply[o]
      FROM unnest(v_ordinal) o WHERE v_outcome[o] = 'ok';

    IF cardinality(e_ordinal) > 0 THEN
        INSERT INTO event (shard, position, organization_id, stream_id, version, event_id, type, schema_version,
                           recorded_at, occurred_at, command_id, causation_id, correlation_id, actor, data, metadata)
        SELECT c_shard[e.o], v_position[e.o] - c_count[e.o] + e.nth, c_organization[e.o], c_stream[e.o],
               c_expected[e.o] + e.nth, e.id, e.type, e.schema_version, v_at[e.o], coalesce(e.occurred_at, v_at[e.o]),
               c_command[e.o], c_causation[e.o], c_correlation[e.o], c_actor[e.o], e.data::json, c_metadata[e.o]::json
          FROM unnest(e_ordinal, e_nth, e_id, e_type, e_schema_version, e_occurred_at, e_data)
               AS e(o, nth, id, type, schema_version, occurred_at, data)
         WHERE v_outcome[e.o] = 'ok';

        INSERT INTO stream AS t (shard, organization_id, stream_id, version)
        SELECT c_shard[o], c_organization[o], c_stream[o], v_version[o]
          FROM unnest(v_ordinal) o WHERE v_outcome[o] = 'ok' AND c_count[o] > 0
        ON CONFLICT (shard, organization_id, stream_id) DO UPDATE SET version = excluded.version;

        UPDATE shard s SET head = n.head, last_at = n.at
          FROM (SELECT c_shard[o] AS shard, max(v_position[o]) AS head, max(v_at[o]) AS at
                  FROM unnest(v_ordinal) o WHERE v_outcome[o] = 'ok' AND c_count[o] > 0 GROUP BY 1) n
         WHERE s.shard = n.shard;
    END IF;

    RETURN QUERY SELECT o, v_outcome[o], v_version[o], v_epoch[o], v_position[o], v_fingerprint[o], v_reply[o]
                   FROM unnest(v_ordinal) o;
END $$;

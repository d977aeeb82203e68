-- How far this log has been carried to each sink, and who carries it. A sink is a bus outside, such as "kafka".

-- Everything up to `position` is acknowledged by the sink.
CREATE TABLE relay (
    sink     text,
    shard    smallint,
    position bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (sink, shard)
) WITH (fillfactor = 50);

-- One row for each group of shards that is carried by one process at a time: the shards of one partition. A lease
-- ends by this database's clock, and each new owner has a higher `lease_epoch`. `next_offset` is where in the sink
-- the group's next record was due when its cursors were written last.
CREATE TABLE relay_lease (
    sink         text,
    partition    int,
    lease_epoch  bigint NOT NULL DEFAULT 0,
    owner        text,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    next_offset  bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (sink, partition)
) WITH (fillfactor = 50);

-- Who would carry, so that those who do know their fair share.
CREATE TABLE relay_member (
    sink        text,
    owner       text,
    alive_until timestamptz NOT NULL,
    PRIMARY KEY (sink, owner)
) WITH (fillfactor = 50);

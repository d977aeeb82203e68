"""From which offset a partition is read, so that no shard in it misses anything."""

from hypothesis import given
from hypothesis import strategies as st

from okr_chassis.kafka.topics import partition_of
from okr_chassis.kafka.tracks import BEGINNING, Track, Waypoint, hint_of, shards_of, text_of_hint

PARTITIONS = 64
"""So that a partition has four shards: 0, 1, 2 and 3 lie in the first."""


def begun() -> Track:
    track = Track(0, PARTITIONS)
    for shard in track.shards:
        track.seek(shard, 0)
    track.settle(BEGINNING, 1)
    return track


def read(track: Track, offset: int, **positions: int) -> None:
    """Records up to an offset were handed over."""
    for name, position in positions.items():
        track.positions[int(name.removeprefix("shard"))] = position
    track.offset = offset
    track.hand_over()


def test_a_track_waits_until_all_its_shards_have_a_beginning() -> None:
    track = Track(0, PARTITIONS)
    for shard in sorted(track.shards)[:-1]:
        track.seek(shard, 5)
        assert not track.begun
    track.seek(max(track.shards), 5)
    assert track.begun
    assert not track.settled


def test_the_base_moves_only_over_what_is_done_in_every_shard() -> None:
    track = begun()
    read(track, 10, shard0=6, shard1=4)
    read(track, 15, shard0=11)
    track.done(0, 11)
    assert track.hint() == BEGINNING, "shard 1 is not done"
    track.done(1, 3)
    assert track.hint() == BEGINNING
    track.done(1, 4)
    assert track.hint() == Waypoint(15, {0: 11, 1: 4, 2: 0, 3: 0})


def test_going_back_in_one_shard_unsettles_and_what_arrives_meanwhile_counts_for_nothing() -> None:
    track = begun()
    read(track, 10, shard0=6, shard1=4)
    track.done(1, 4)
    track.seek(0, 2)
    assert not track.counts(2)
    assert track.base is not None
    track.settle(track.base, 3)
    assert not track.counts(2)
    assert track.counts(3)
    assert (track.offset, track.positions[0], track.positions[1]) == (0, 2, 4)


def test_going_forward_needs_no_other_place_to_read_from() -> None:
    track = begun()
    read(track, 10, shard0=6)
    track.seek(0, 50)
    assert track.settled
    assert track.positions[0] == 50


def test_a_waypoint_behind_a_checkpoint_says_what_is_missing() -> None:
    here = Waypoint(100, {0: 10, 1: 7})
    assert here.lacking({0: 10, 1: 9}) == {}
    assert here.lacking({0: 4}) == {0: 10, 1: 7}
    assert here.missing({0: 4}) == 13
    track = begun()
    track.positions[0] = 4
    track.settle(here, 2)
    assert track.lacking == {0: 10, 1: 7}
    track.seek(0, 10)
    assert track.lacking == {1: 7}


@given(st.sampled_from([1, 2, 8, 256]), st.integers(0, 2**36), st.integers(0, 2**62))
def test_a_hint_comes_back_as_it_was_left(partitions: int, number: int, offset: int) -> None:
    shards = shards_of(partitions - 1, partitions)
    left = Waypoint(offset, {shard: number * (shard + 1) % 2**36 for shard in shards})
    text = text_of_hint(left, shards)
    assert 0 < len(text) <= 4000
    assert hint_of(left.offset, text, shards) == left


def test_a_hint_of_a_topic_that_was_cut_otherwise_is_none() -> None:
    text = text_of_hint(Waypoint(9, {0: 3}), shards_of(0, 8))
    assert hint_of(9, text, shards_of(0, 4)) is None
    for nonsense in ("", "what", "1,-2,3,4", ","):
        assert hint_of(9, nonsense, shards_of(0, PARTITIONS)) is None
    assert hint_of(-1, "0,0,0,0", shards_of(0, PARTITIONS)) is None


def test_every_shard_lies_in_one_partition() -> None:
    for partitions in (1, 3, 8, 256):
        lying = [shard for partition in range(partitions) for shard in shards_of(partition, partitions)]
        assert sorted(lying) == list(range(256))
        assert all(shard in shards_of(partition_of(shard, partitions), partitions) for shard in range(256))

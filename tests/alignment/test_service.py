"""Alignment over gRPC, with goals and directory beside it."""

import asyncio

import grpc
import pytest

from okr.alignment.v1 import alignment_pb2 as pb
from okr.common.v1 import common_pb2
from okr_chassis.rpc.errors import refusal_of
from tests.checkins.town import Firm, Town, Voice, new, refused


async def align(
    voice: Voice, cycle_id: str, child: str, parent: str, *, request_id: str | None = None, etag: str = ""
) -> str:
    """Align, and answer where that stands."""
    answer = await voice.alignment.Align(
        pb.AlignRequest(
            request_id=request_id or new(),
            cycle_id=cycle_id,
            objective_id=child,
            parent_objective_id=parent,
            etag=etag,
        )
    )
    return answer.receipt.position


async def unalign(voice: Voice, cycle_id: str, child: str, *, etag: str = "") -> str:
    answer = await voice.alignment.Unalign(
        pb.UnalignRequest(request_id=new(), cycle_id=cycle_id, objective_id=child, etag=etag)
    )
    return answer.receipt.position


async def tree(voice: Voice, cycle_id: str, *positions: str, size: int = 0, token: str = "") -> pb.GetTreeResponse:
    return await voice.alignment.GetTree(
        pb.GetTreeRequest(
            cycle_id=cycle_id, page=common_pb2.PageRequest(size=size, token=token), min_positions=positions
        )
    )


def edges(answer: pb.GetTreeResponse) -> dict[str, str]:
    return {edge.objective_id: edge.parent_objective_id for edge in answer.edges}


async def test_objectives_are_aligned_right_after_they_were_drafted(firm: Firm) -> None:
    """However far the news of the drafts have come: ten times over, none of them waits for anything."""
    company = await firm.objective("Company")
    for _ in range(10):
        await align(firm.ana, firm.cycle_id, await firm.objective(), company)


async def test_a_tree_shows_each_objectives_present_parent(firm: Firm) -> None:
    a, b, c = [await firm.objective(name) for name in "abc"]
    await align(firm.ana, firm.cycle_id, b, a)
    await align(firm.ana, firm.cycle_id, c, a)
    at = await align(firm.ana, firm.cycle_id, c, b)
    assert edges(await tree(firm.ana, firm.cycle_id, at)) == {b: a, c: b}
    at = await unalign(firm.ana, firm.cycle_id, c)
    assert edges(await tree(firm.ana, firm.cycle_id, at)) == {b: a}


async def test_a_tree_comes_in_pages(firm: Firm) -> None:
    company = await firm.objective("Company")
    children = [await firm.objective() for _ in range(5)]
    at = [await align(firm.ana, firm.cycle_id, child, company) for child in children][-1]
    seen, token = [], ""
    for _ in range(3):
        answer = await tree(firm.ana, firm.cycle_id, at, size=2, token=token)
        seen += [edge.objective_id for edge in answer.edges]
        token = answer.next_page_token
    assert seen == sorted(children)
    assert token == ""


async def test_a_cycle_without_alignments_has_an_empty_tree(firm: Firm) -> None:
    answer = await tree(firm.ana, firm.cycle_id)
    assert (edges(answer), answer.etag) == ({}, '"0"')


async def test_a_request_that_is_sent_again_gets_the_first_answer(firm: Firm) -> None:
    a, b = [await firm.objective(name) for name in "ab"]
    request_id = new()
    first = await align(firm.ana, firm.cycle_id, b, a, request_id=request_id)
    await unalign(firm.ana, firm.cycle_id, b)
    assert await align(firm.ana, firm.cycle_id, b, a, request_id=request_id) == first
    refusal = await refused(align(firm.ana, firm.cycle_id, a, b, request_id=request_id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


async def test_an_etag_that_was_overtaken_is_refused(firm: Firm) -> None:
    a, b, c = [await firm.objective(name) for name in "abc"]
    etag = (await tree(firm.ana, firm.cycle_id, await align(firm.ana, firm.cycle_id, b, a))).etag
    await align(firm.ana, firm.cycle_id, c, a, etag=etag)
    for call in (
        align(firm.ana, firm.cycle_id, c, b, etag=etag),
        unalign(firm.ana, firm.cycle_id, c, etag=etag),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


async def test_a_loop_is_refused_and_named(firm: Firm) -> None:
    a, b, c = [await firm.objective(name) for name in "abc"]
    await align(firm.ana, firm.cycle_id, b, a)
    await align(firm.ana, firm.cycle_id, c, b)
    refusal = await refused(align(firm.ana, firm.cycle_id, a, c))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ALIGNMENT_CLOSES_LOOP")
    assert f"{a} → {c} → {b} → {a}" in refusal.message


async def test_a_loop_is_refused_whoever_closes_it_at_the_same_time(firm: Firm) -> None:
    """A ring of six: each alignment alone is lawful, and so are any five of them."""
    ring = [await firm.objective(str(number)) for number in range(6)]

    async def insist(child: str, parent: str) -> str:
        for _ in range(50):
            try:
                await align(firm.ana, firm.cycle_id, child, parent)
                return "aligned"
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.ABORTED:
                    return refusal_of(error).reason
        raise AssertionError("50 races lost in a row")

    answers = await asyncio.gather(*(insist(ring[n], ring[(n + 1) % 6]) for n in range(6)))
    assert sorted(answers) == ["ALIGNMENT_CLOSES_LOOP", *["aligned"] * 5]


async def test_the_same_objective_and_seven_levels_are_refused(firm: Firm) -> None:
    chain = [await firm.objective(str(number)) for number in range(7)]
    for child, parent in zip(chain[1:6], chain[:5], strict=True):
        await align(firm.ana, firm.cycle_id, child, parent)
    for call, reason in (
        (align(firm.ana, firm.cycle_id, chain[0], chain[0]), "ALIGNMENT_TO_ITSELF"),
        (align(firm.ana, firm.cycle_id, chain[6], chain[5]), "ALIGNMENT_TOO_DEEP"),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, reason)


async def test_objectives_of_another_cycle_are_refused(firm: Firm) -> None:
    here, there = await firm.objective(), await firm.objective(cycle_id=await firm.cycle("Q2 2026"))
    for child, parent in ((here, there), (there, here)):
        refusal = await refused(align(firm.ana, firm.cycle_id, child, parent))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "OBJECTIVE_IN_OTHER_CYCLE")


async def test_unknown_ids_are_not_found(firm: Firm) -> None:
    a, b = [await firm.objective(name) for name in "ab"]
    for call, reason in (
        (align(firm.ana, firm.cycle_id, a, new()), "OBJECTIVE_NOT_FOUND"),
        (align(firm.ana, firm.cycle_id, new(), a), "OBJECTIVE_NOT_FOUND"),
        (unalign(firm.ana, firm.cycle_id, b), "ALIGNMENT_NOT_FOUND"),
        (unalign(firm.ana, new(), b), "ALIGNMENT_NOT_FOUND"),
        (tree(firm.ana, new()), "CYCLE_NOT_FOUND"),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, reason)


async def test_another_organisations_ids_look_like_unknown_ones(firm: Firm, town: Town) -> None:
    a, b, c = [await firm.objective(name) for name in "abc"]
    await align(firm.ana, firm.cycle_id, b, a)
    await town.platform.wait_idle()
    stranger = await town.firm()
    own = await stranger.objective()
    for call in (
        align(stranger.ana, firm.cycle_id, c, a),
        align(stranger.ana, stranger.cycle_id, own, a),
        align(stranger.ana, stranger.cycle_id, a, own),
        unalign(stranger.ana, firm.cycle_id, b),
        tree(stranger.ana, firm.cycle_id),
    ):
        refusal = await refused(call)
        assert refusal.code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("field", ["request_id", "cycle_id", "objective_id", "parent_objective_id", "etag"])
@pytest.mark.parametrize("value", ["7", "not-a-uuid", "x" * 100_000, "before\x00after"])
async def test_a_malformed_alignment_is_refused_naming_the_field(firm: Firm, field: str, value: str) -> None:
    request = pb.AlignRequest(
        request_id=new(), cycle_id=firm.cycle_id, objective_id=new(), parent_objective_id=new(), etag=""
    )
    setattr(request, field, value)
    refusal = await refused(firm.ana.alignment.Align(request))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in refusal.violations] == [field]


async def test_a_malformed_page_is_refused(firm: Firm) -> None:
    for call, field in (
        (tree(firm.ana, firm.cycle_id, size=-1), "page.size"),
        (tree(firm.ana, firm.cycle_id, token="x"), "page.token"),
        (tree(firm.ana, "x"), "cycle_id"),
    ):
        refusal = await refused(call)
        assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
        assert [violation.field for violation in refusal.violations] == [field]

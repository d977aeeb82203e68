"""Asking a process for its metrics and its health, as a scraper and a probe do."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from okr_chassis.platform import Platform

Series = tuple[str, frozenset[tuple[str, str]]]


class Page(NamedTuple):
    status: int
    content_type: str
    body: bytes

    def checks(self) -> dict[str, dict[str, Any]]:
        """The checks of a health page by name."""
        return {check["name"]: check for check in json.loads(self.body)["checks"]}


async def get(address: str | None, path: str, method: str = "GET") -> Page:
    return await say(address, f"{method} {path} HTTP/1.1\r\nHost: here\r\nAccept: */*\r\n\r\n".encode())


async def say(address: str | None, request: bytes) -> Page:
    assert address is not None, "OKR_METRICS_PORT is set"
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Page(int(status.split()[1]), headers["content-type"], body)


class Figures:
    """One scrape: figures by name and labels."""

    def __init__(self, text: str) -> None:
        self.series: dict[Series, float] = {}
        self.names: set[str] = set()
        self.help: dict[str, str] = {}
        for family in text_string_to_metric_families(text):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            self.names.add(name)
            self.help[name] = family.documentation
            for sample in family.samples:
                self.series[sample.name, frozenset(sample.labels.items())] = sample.value

    def __call__(self, name: str, **labels: str) -> float:
        return self.series[name, frozenset(labels.items())]

    def labelled(self, name: str) -> list[Mapping[str, str]]:
        return [dict(labels) for found, labels in self.series if found == name]


async def scrape(platform: Platform) -> Figures:
    page = await get(platform.watching.address, "/metrics")
    assert (page.status, page.content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return Figures(page.body.decode())

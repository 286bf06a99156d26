"""`perdure stream`: what a run shows while it goes on, chunk by chunk, now or as it comes."""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from perdure.cli.completion import run_ids
from perdure.cli.lines import clean
from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import INTERRUPTED, NOT_FOUND, OK, USAGE, Problem, guess
from perdure.cli.sizes import size


@click.command(cls=Command)
@click.argument("run", shell_complete=run_ids)
@click.argument("name", required=False)
@click.option("--from", "offset", type=click.IntRange(min=0), default=0, metavar="N", help="From this offset on.")
@click.option(
    "-w", "--follow", is_flag=True, help="Stay until the stream is closed or the run ends; JSON is NDJSON then."
)
@click.option("--raw", is_flag=True, help="Texts as they are, one after the other, without lines of their own.")
@click.option("--run-id", metavar="HEX", help="An earlier run of the id, by the beginning of its run_id.")
@options(json=True)
@click.pass_obj
def stream(settings: Settings, run: str, name: str | None, offset: int, follow: bool, raw: bool,
           run_id: str | None) -> int:  # fmt: skip
    """Print what was written to a stream of a run, a line for each chunk; without NAME, which streams there are.

    Example: perdure stream chat-1 tokens --follow --raw
    """
    from perdure.cli import database, selection

    if raw and settings.json:
        raise Problem("--raw is texts alone, --json is all of a chunk", USAGE, [], "give either")
    if name is None and (follow or raw or offset):
        raise Problem("which stream?", USAGE, [], f"perdure stream {run}  lists them")
    with database.opened(settings) as client:
        id = selection.one(client, settings, run)
        handle = client.verbs.handle(id, run_id=database.stored_run(client, id, run_id).run.run_id.hex())
        if name is None:
            _list(settings, handle)
            return OK
        if not follow:
            _demand(handle, id, name)
        place = _Place(offset)
        try:
            _print(settings, place.passing(handle.stream(name, from_offset=offset, follow=follow)), follow, raw)
        except KeyboardInterrupt:
            from perdure.cli.waiting import again

            words = again(settings, "perdure", "stream", id, name, "--from", str(place.next), "--follow")
            settings.narrate(f"{id} goes on; read on:  {words}")
            return INTERRUPTED
    return OK


class _Place:
    """How far somebody has read."""

    def __init__(self, offset: int) -> None:
        self.next = offset

    def passing(self, chunks: Iterable[Any]) -> Iterator[Any]:
        for chunk in chunks:
            self.next = chunk.offset + 1
            yield chunk


def _list(settings: Settings, handle: Any) -> None:
    import msgspec

    from perdure.cli import output
    from perdure.client.streams import StreamInfo

    found = handle.streams().wait()
    if settings.json:
        chosen = output.fields(settings.json, StreamInfo.__struct_fields__)
        output.write_json([output.selected(msgspec.to_builtins(each), chosen) for each in found])
        return
    if not found:
        settings.narrate([(f"{handle.id} has written to no stream", "dim")])
        return
    widest = max(len(clean(each.name)) for each in found)
    for each in found:
        much = f"{each.chunks:>9,} {'chunk ' if each.chunks == 1 else 'chunks'}  {size(each.size_bytes):>7}"
        settings.write(
            [
                (f"{clean(each.name):<{widest}}", "bold"),
                (f"  {much}  ", ""),
                ("closed" if each.closed else "open", "dim"),
            ]
        )


def _demand(handle: Any, id: str, name: str) -> None:
    """Whoever does not wait has misspelled a stream that is not there, perhaps."""
    names = [each.name for each in handle.streams().wait()]
    if name in names:
        return
    meant = guess(name, names)
    facts = [f"it has: {', '.join(names)}"] if names else ["it has written to none"]
    hint = (
        f"did you mean  perdure stream {id} {meant}" if meant else f"wait for it:  perdure stream {id} {name} --follow"
    )
    raise Problem(f"run {id} has no stream {name!r}", NOT_FOUND, facts, hint)


def _print(settings: Settings, chunks: Iterable[Any], follow: bool, raw: bool) -> None:
    import msgspec

    from perdure.cli import output
    from perdure.client.streams import StreamChunk

    if settings.json:
        chosen = output.fields(settings.json, StreamChunk.__struct_fields__)
        records = (output.selected(msgspec.to_builtins(chunk), chosen) for chunk in chunks)
        if follow:
            output.write_ndjson(records)
        else:
            output.write_json(list(records))
        return
    attempts: dict[str, int] = {}
    for chunk in chunks:
        if attempts.setdefault(chunk.step, chunk.attempt) < chunk.attempt:
            attempts[chunk.step] = chunk.attempt
            settings.narrate(
                [(f"{chr(10) if raw else ''}attempt {chunk.attempt} of [{chunk.step}] begins anew", "dim")]
            )
        text = chunk.value if isinstance(chunk.value, str) else json.dumps(chunk.value, ensure_ascii=False)
        if raw:
            sys.stdout.write(_spoken(text))
            sys.stdout.flush()
        else:
            settings.write([(clean(text), "")])
    if raw and sys.stdout.isatty():
        sys.stdout.write("\n")


def _spoken(text: str) -> str:
    """Its lines stay lines; on a terminal nothing else moves the cursor."""
    return "\n".join(map(clean, text.split("\n"))) if sys.stdout.isatty() else text

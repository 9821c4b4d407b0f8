"""How results look in a terminal. Plain text when piped: rich leaves colour out by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

import sapience
from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["changes", "citations", "err", "escape", "hits", "out", "retained", "table", "when"]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def when(moment: datetime | None) -> str:
    """A time to the minute, UTC."""
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "—"


def citations(answer: sapience.Answer) -> None:
    """The evidence, numbered, then confidence and where to read more."""
    for number, one in enumerate(answer.citations, 1):
        source, who = escape(one.source or "—"), escape(one.speaker or "—")
        out.print(f"  [bold]{number}[/bold] [cyan]{source}[/cyan] · {who} · {when(one.told_at)} · {one.support:.2f}")
        out.print(f"    “{escape(one.quote)}”", style="dim")
    out.print(
        f"  {answer.verdict} · confidence {answer.confidence:.2f} ({answer.confidence_method}) · "
        f"worded by {answer.wording} · trace [bold]{answer.trace_id}[/bold]",
        style="dim",
    )


def hits(found: Iterable[sapience.Hit]) -> None:
    """What a recall found, and why."""
    for number, hit in enumerate(found, 1):
        episode = hit.episode
        why = ", ".join(f"{channel.channel} {channel.raw:.2f}" for channel in hit.channels)
        out.print(
            f"[bold]{number:>3}[/bold] {hit.score:6.2f}  [cyan]{escape(episode.speaker or '—')}[/cyan] "
            f"{when(episode.told_at)}  {escape(episode.text)}"
        )
        out.print(f"            {why} · support {hit.support:.2f} · {episode.id}", style="dim")


def why_not(found: sapience.WhyNot) -> None:
    """What kept an Episode out, then its channels beside those of the last hit."""
    out.print(f"[bold]{found.reason}[/bold]: {escape(found.message)}")
    if found.hit is None:
        return
    own, last = ({part.channel: part for part in hit.channels} if hit else {} for hit in (found.hit, found.last))
    rows = []
    for name in dict.fromkeys([*own, *last]):
        figures = [figure for one in (own.get(name), last.get(name)) for figure in _figures(one)]
        rows.append([name, *(f"{figure:.2f}" for figure in figures)])
    table("", ("channel", "its own", "counts", "last hit", "counts"), rows)


def _figures(part: sapience.ChannelScore | None) -> tuple[float, float]:
    return (part.raw, part.fused) if part else (0.0, 0.0)


def changes(found: sapience.Changes) -> None:
    """What was learnt of the first time, then what happened until the second; + is gained, - is lost."""
    first, second = when(found.before.valid_at), when(found.after.valid_at)
    for title, part in (
        (f"known by {second} of {first}, and not before", found.belief),
        (f"from {first} to {second}", found.world),
    ):
        out.print(f"[bold]{title}[/bold]")
        for sign, colour, facts, total in (
            ("-", "red", part.lost, part.lost_total),
            ("+", "green", part.gained, part.gained_total),
        ):
            for fact in facts:
                target = fact.object.name if isinstance(fact.object, sapience.Entity) else f"“{fact.object}”"
                said = escape(f"{fact.subject.name} {fact.relation} {target}")
                held = f"from {when(fact.valid.start)} to {when(fact.valid.end)}, told {when(fact.told_at)}"
                out.print(f"  [{colour}]{sign}[/{colour}] {said}  [dim]{held}[/dim]")
            if total > len(facts):
                out.print(f"  {sign} and {total - len(facts)} more", style="dim")
        if not (part.gained_total or part.lost_total):
            out.print("  nothing", style="dim")


def retained(gone: sapience.Archived) -> None:
    """What would be archived, with its retention."""
    for one in gone.retained:
        episode = one.episode
        kept = "—" if one.retention is None else f"{one.retention:.3f}"
        out.print(
            f"{kept}  [cyan]{escape(episode.speaker or '—')}[/cyan] {when(episode.told_at)}  {escape(episode.text)}"
        )
        out.print(f"       {episode.id}", style="dim")
    if len(gone.retained) < gone.episodes:
        out.print(f"       and {gone.episodes - len(gone.retained)} more", style="dim")


def facts(found: Iterable[sapience.Fact]) -> None:
    """What is said and when it holds; below it the id and the commit, which the next command takes."""
    for fact in found:
        target = fact.object.name if isinstance(fact.object, sapience.Entity) else f"“{fact.object}”"
        said = escape(f"{fact.subject.name} {fact.relation} {target}")
        start, end = fact.valid.start, fact.valid.end
        if fact.retracted:
            held = f"taken back {f'from {when(start)} on' if start else 'altogether'}"
        else:
            held = f"from {when(start)} to {when(end)}"
        trust = "" if fact.trust == 1 else f", trust {fact.trust:.2f}"
        sign, colour = ("-", "red") if fact.retracted else ("+", "green")
        out.print(f"[{colour}]{sign}[/{colour}] {said}  [dim]{held}, told {when(fact.told_at)}{trust}[/dim]")
        out.print(f"    {fact.id}, commit {fact.seq}", style="dim")


def restored(done: sapience.RestoreResult) -> None:
    """What a restore did."""
    out.print(
        f"{done.episodes} Episodes, {done.facts} Facts, {done.policies} policies, {done.merges} merges, "
        f"{done.duplicates} there already; "
        f"the store is at commit {done.seq}"
    )
    if done.deleted or done.replayed:
        out.print(f"{done.deleted} were deleted later and left out, {done.replayed} deleted again")
    if not done.exact:
        out.print("the store has a history of its own: what it took has new numbers and times of recording")


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], words: Collection[str] = ()) -> None:
    """A plain table; the first column and those of `words` to the left, the others to the right."""
    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number == 0 or column in words else "right")
    for row in rows:
        made.add_row(*(escape(cell) for cell in row))
    out.print(made)

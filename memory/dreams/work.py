"""A Dream at work on a record, step by step, so that whoever runs it can stop between two steps or be killed in any.

    READING -> read and propose (one write) -> PROPOSED -> approved -> APPROVED -> change after change -> APPLIED
    APPLIED -> UNDOING -> change after change, the last one first -> UNDONE

Nothing is kept between steps but in the record: `step` looks where the Dream is and takes the next one, so a Dream goes
on after a restart by being stepped again. What was read and not yet proposed is read again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from core.dreams import AT_WORK, Change, ChangeState, Dream, DreamKind, DreamState, Write
from core.entities import Mention
from core.nouns import AsOf, PerceivedEpisode
from core.ports import Record
from memory.dreams.aliases import MOST_MENTIONS, in_question
from memory.dreams.material import Material, Told
from memory.dreams.proposing import Proposed, propose
from memory.dreams.reading import Model, Said, read_on
from memory.dreams.writing import written

PAGE = 512
MOST_NAMES = 20_000
"""Names of Entities that are looked through for those that may mean the same."""


class Dreaming:
    """Steps Dreams of one record. Blocks; safe for many threads, as the record is."""

    def __init__(
        self,
        record: Record,
        seconds: Callable[[], float] = time.monotonic,
        *,
        model: Model | None = None,
        timezone: str = "UTC",
    ) -> None:
        """Where there is a `model`, it reads for Dreams of the kind FACTS; dates that it gives are of `timezone`."""
        self._record = record
        self._seconds = seconds
        self._model = model
        self._timezone = timezone

    def step(self, namespace: str, dream_id: str, may_go_on: Callable[[], bool] = lambda: True) -> Dream:
        """Takes the next step, if there is one, and says how the Dream is then.

        `may_go_on` ends a long reading early: the Dream then stays READING.
        """
        dream = self._record.dream(namespace, dream_id)
        if dream.state is DreamState.READING:
            return self._read(dream, may_go_on)
        if dream.state is DreamState.APPROVED:
            waiting = self._record.changes(namespace, dream_id, {ChangeState.APPROVED})
            if not waiting:
                return self._record.move_dream(namespace, dream_id, DreamState.APPLIED, among={dream.state})
            self.apply(dream, waiting[0])
        elif dream.state is DreamState.UNDOING:
            applied = self._record.changes(namespace, dream_id, {ChangeState.APPLIED})
            if not applied:
                return self._record.move_dream(namespace, dream_id, DreamState.UNDONE, among={dream.state})
            self._record.undo_change(namespace, dream_id, applied[-1].ordinal)
        return self._record.dream(namespace, dream_id)

    def run(self, namespace: str, dream_id: str) -> Dream:
        """Steps until it waits for approval, or has ended."""
        dream = self._record.dream(namespace, dream_id)
        while dream.state in AT_WORK:
            dream = self.step(namespace, dream_id)
        return dream

    def apply(self, dream: Dream, change: Change) -> Change:
        """Applies one change: reads the words that it writes, then leaves all else to the record."""
        space = self._record.space_of(dream.namespace)
        episodes = self.words(dream.namespace, change)
        return self._record.apply_change(
            dream.namespace, dream.id, change.ordinal, space, [one for one in episodes if one is not None]
        )

    def words(self, namespace: str, change: Change) -> list[PerceivedEpisode | None]:
        """What each `Write` of a change would remember; None where a source is gone."""
        writes = [one for one in change.proposal.actions if isinstance(one, Write)]
        if not writes:
            return []
        named = {one.name.episode_id for one in writes if one.name}
        episodes = self._record.episodes(namespace, sorted({s for one in writes for s in one.sources} | named))
        concepts = self._record.concepts(namespace, sorted({quote for one in writes for quote in one.quotes}))
        return [written(namespace, one, episodes, concepts) for one in writes]

    def material(self, dream: Dream, may_go_on: Callable[[], bool] = lambda: True) -> tuple[Material, Dream] | None:
        """What the Dream reads, and the Dream with how far that is; None where it may not go on."""
        namespace, told = dream.namespace, list[Told]()
        end, more = dream.begin, False
        for page in self._pages(namespace, dream.begin, dream.budget.episodes + 1):
            if not may_go_on():
                return None
            if len(told) + len(page) > dream.budget.episodes:
                page, more = page[: dream.budget.episodes - len(told)], True
            told += page
            if page:
                end = (page[-1].episode.seq, page[-1].id)
        strengthened = self._record.changes_of_kind(namespace, DreamKind.STRENGTHENING)
        declined = self._record.changes_of_kind(namespace, DreamKind.ALIASES, ChangeState.DECLINED)
        material = Material.of(
            namespace,
            told,
            facts=self._record.facts(namespace),
            policies=self._record.policies(namespace),
            credited=((one.proposal.reads[0], answer) for one in strengthened for answer in one.proposal.reads[1:]),
            named=self._named(namespace) if DreamKind.ALIASES in dream.kinds else {},
            merges=self._record.merges(namespace, undone=True),
            declined=(frozenset(one.proposal.entities) for one in declined),
        )
        return material, _read_to(dream, end, len(told), more)

    def _read(self, dream: Dream, may_go_on: Callable[[], bool]) -> Dream:
        begun = self._seconds()
        until = begun + dream.budget.seconds

        def in_time() -> bool:
            return self._seconds() < until and may_go_on()

        said = self._listen(dream, begun + dream.budget.seconds / 2, may_go_on)
        # What the last Episode took beyond that half is not taken from the other kinds.
        until = max(until, self._seconds() + dream.budget.seconds / 2) if said is not None else until
        read = self.material(dream, in_time)
        found, reached = Proposed((), unseen=dream.kinds), dream
        if read is not None:
            material, reached = read
            material = replace(material, said=said.facts if said else ())
            found = propose(material, dream.kinds, dream.budget.changes, in_time, unseen=dream.automatic)
        if not may_go_on():
            return self._record.dream(dream.namespace, dream.id)
        # What was read and not proposed, for want of time or room, is read again.
        heard = DreamKind.FACTS not in (*found.unseen, *found.cut)
        return self._record.propose(
            dream.namespace,
            dream.id,
            found.proposals,
            end=reached.end,
            episodes=reached.episodes,
            more=reached.more,
            message=_message(found, reached, said),
            reader=said.reader if said is not None and heard else "",
            read_to=said.to if said is not None else (0, ""),
        )

    def _listen(self, dream: Dream, until: float, may_go_on: Callable[[], bool]) -> Said | None:
        """What the language model reads; None where there is none, or this Dream does not ask it."""
        if self._model is None or DreamKind.FACTS not in dream.kinds:
            return None

        def in_time() -> bool:
            return self._seconds() < until and may_go_on()

        return read_on(self._record, self._model, dream, self._timezone, in_time, may_go_on)

    def _named(self, namespace: str) -> dict[str, list[Mention]]:
        names = in_question(self._record.entity_names(namespace, MOST_NAMES))
        return {name: self._record.mentions(namespace, name, AsOf(), MOST_MENTIONS) for name in names}

    def _pages(self, namespace: str, after: tuple[int, str], most: int) -> Iterator[list[Told]]:
        left = most
        while left > 0:
            page = self._record.episodes_after(namespace, after, min(PAGE, left))
            if not page:
                return
            ids = [episode.id for episode, _ in page]
            keepings, sources = self._record.keepings(namespace, ids), self._record.sources_of(namespace, ids)
            yield [
                Told.of(episode, concepts, keepings.get(episode.id), sources.get(episode.id, ()))
                for episode, concepts in page
            ]
            after = (page[-1][0].seq, page[-1][0].id)
            left -= len(page)


def _read_to(dream: Dream, end: tuple[int, str], episodes: int, more: bool) -> Dream:
    return replace(dream, end=end, episodes=episodes, more=more)


def _message(found: Proposed, dream: Dream, read: Said | None) -> str:
    """What the budget left out, and how a language model did, in one line; empty where there is nothing to say."""
    said = []
    if read is not None:
        said.append(f"a language model read {read.episodes} Episodes, and its answers to {read.refused} were refused")
        if read.error:
            said.append(f"it could not be asked for more: {read.error}")
    if dream.more:
        said.append(f"read {dream.episodes} Episodes, and there are more: the next Dream goes on from there")
    if found.beyond:
        said.append(f"{found.beyond} changes more than the budget allows were left for the next Dream")
    if found.unseen:
        said.append(f"no time was left for {', '.join(one.name.lower() for one in found.unseen)}")
    return "; ".join(said)

"""Near duplicates among the pictures of one audit: verified pairs, and groups made of them.

Every two pictures of a group have been compared and found close, so that no group is a chain: a
picture joins the first group to all of whose pictures it is close, or begins another (complete
linkage by first fit, in the order of the paths). A group of MAX_GROUP pictures takes no more, so
that not all frames of a film are compared with each other. What links pictures of different groups
is told with the pictures. Thorn's Perception groups by cliques for the same reason; fastdup's
connected components hold pairs that are far apart.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from provenance.check import Checker, with_fusion
from provenance.fingerprint import Fingerprint
from provenance.local.features import KEPT, unpacked
from provenance.local.features import SPEC as LOCAL
from provenance.local.look import ALIGNED, second_look
from provenance.match import Candidate, Index, Why
from provenance.verdict import MAX_MATCHES, REVIEW_SCORE, as_match, score


class Pictures(Index, Protocol):
    """The audited pictures so far as references, whose URIs are their content hashes."""

    def compare(self, fingerprint: Fingerprint, content: str) -> list[Candidate]:
        """The picture of this content as a candidate, whether a search returns it or not."""

    def keep(self, fingerprint: Fingerprint) -> None:
        """Adds a picture, unless it is there."""


@dataclass(frozen=True)
class Link:
    """How a picture is close to another: `edits` were done to the other to give the picture."""

    score: float
    why: Why
    edits: tuple[str, ...] = ()

    def reversed(self) -> "Link":
        return replace(self, edits=tuple(_OPPOSITE.get(words, words) for words in self.edits))

    def to_json(self) -> dict[str, Any]:
        return {"score": round(self.score, 4), "why": self.why, "edits": list(self.edits)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Link":
        return cls(data["score"], data["why"], tuple(data["edits"]))


MAX_GROUP = 50
_OPPOSITE = {"cropped": "part of a larger picture", "part of a larger picture": "cropped"}
_SAME = Link(1.0, "copy")


class Grouping:
    """The pictures of an audit so far: what links them, and their groups.

    A picture is compared with those before it as the check compares it with references, and the
    other way round, because a part and its whole are near duplicates whichever comes first.
    """

    def __init__(self, checker: Checker, pictures: Pictures) -> None:
        """`pictures` are the checker's index."""
        self._checker, self._pictures, self._policy = checker, pictures, checker.policy
        self._links: dict[str, dict[str, Link]] = {}
        self._groups: list[list[str]] = []
        self._group_of: dict[str, int] = {}

    def add(self, picture: Fingerprint) -> dict[str, Link]:
        """What links a picture to those before it, by their content hashes.

        Nothing does where it has too little detail.
        """
        content = picture.content
        if content not in self._group_of:
            detailed = picture.detail >= self._policy.min_detail
            self._join(content, self._search(picture) if detailed else {})
            self._place(content, picture)
            if detailed:
                self._pictures.keep(picture)
        return dict(self._links[content])

    def add_known(self, content: str, links: Mapping[str, Link]) -> None:
        """A picture whose links were found before the audit was stopped."""
        self._join(content, links)
        if content not in self._group_of:
            self._place(content)

    def told(self, pictures: Sequence[tuple[str, str | None]]) -> Iterator[dict[str, Any]]:
        """`group` and `near` of each picture: its path and content hash, which may be unknown."""
        paths: dict[str, list[str]] = {}
        for path, content in pictures:
            if content is not None:
                paths.setdefault(content, []).append(path)
        sizes = Counter(self._group_of[content] for _, content in pictures if content is not None)
        seen: dict[int, tuple[int, str]] = {}  # of each group its id and its first picture
        for path, content in pictures:
            if content is None:
                yield {"group": None, "near": None}
                continue
            group = None
            if sizes[number := self._group_of[content]] > 1:
                found, lead = seen.setdefault(number, (len(seen) + 1, content))
                how = _SAME if lead == content else self._links[content][lead]
                group = {"id": found, "lead": paths[lead][0], **how.to_json()}
            yield {"group": group, "near": self._near(content, path, paths)}

    def _near(
        self, content: str, path: str, paths: Mapping[str, Sequence[str]]
    ) -> list[dict[str, Any]]:
        """The pictures nearest to one, best first."""
        links = {content: _SAME, **self._links[content]}
        found = [
            {"path": other, **link.to_json()}
            for to, link in links.items()
            for other in paths.get(to, ())[: MAX_MATCHES + 1]
            if other != path
        ]
        return sorted(found, key=lambda near: (-near["score"], near["path"]))[:MAX_MATCHES]

    def _search(self, picture: Fingerprint) -> dict[str, Link]:
        found = self._checker.candidates(picture)
        links = {near.reference.uri: self._link(picture, near) for near in found}
        return {to: link for to, link in links.items() if link and to != picture.content}

    def _join(self, content: str, links: Mapping[str, Link]) -> None:
        self._links.setdefault(content, {}).update(links)
        for other, link in links.items():
            self._links.setdefault(other, {})[content] = link.reversed()

    def _place(self, content: str, picture: Fingerprint | None = None) -> None:
        """Puts a picture into the first group that it fits, or into one of its own.

        With its fingerprint, those of a group that the search did not return are compared too.
        """
        near = {self._group_of[to] for to in self._links[content] if to in self._group_of}
        for number in sorted(near):
            full = len(self._groups[number]) == MAX_GROUP
            if not full and all(
                self._linked(content, other, picture) for other in self._groups[number]
            ):
                break
        else:
            number = len(self._groups)
            self._groups.append([])
        self._groups[number].append(content)
        self._group_of[content] = number

    def _linked(self, content: str, other: str, picture: Fingerprint | None) -> bool:
        if other not in self._links[content] and picture is not None:
            for near in self._pictures.compare(picture, other):
                close = score(near, self._policy) >= REVIEW_SCORE
                looked = near if close else self._checker.look(picture, [near])[0]
                if link := self._link(picture, looked):
                    self._join(content, {other: link})
        return other in self._links[content]

    def _link(self, picture: Fingerprint, near: Candidate) -> Link | None:
        match = as_match(near, self._policy)
        if match.score >= REVIEW_SCORE:
            return Link(match.score, match.why, match.edits)
        if (back := self._look_back(picture, near)) is None:
            return None
        match = as_match(back, self._policy)
        link = Link(match.score, match.why, match.edits).reversed()
        return link if match.score >= REVIEW_SCORE else None

    def _look_back(self, picture: Fingerprint, near: Candidate) -> Candidate | None:
        """The second look with the two changed about, where more of the picture could be found."""
        if not near.alignment or near.alignment.agreement.cells < ALIGNED:
            return None
        if (held := self._pictures.features(near.reference)) is None:
            return None
        mine = unpacked(picture.values[LOCAL.name].vector, KEPT)
        back = second_look(unpacked(held[0]), held[1], mine, (picture.width, picture.height))
        return with_fusion(near, back)

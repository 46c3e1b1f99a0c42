"""Which entries of a table are acted on."""

from collections.abc import Iterable

from mpiqe.apply.decisions import Entry, Table
from mpiqe.batch.selection import Chosen, Selection
from mpiqe.errors import ConfigError

STATES = ("pick", "reject", "undecided", *map(str, range(6)))
DEFAULT_STATE = {"move": "reject", "copy": "pick", "link": "pick"}


def states_of(asked: str) -> frozenset[str]:
    """The states in ``reject,1,2``; raises ``ConfigError`` for an unknown one."""
    states = frozenset(part.strip() for part in asked.split(","))
    if unknown := states - set(STATES):
        raise ConfigError(f"--act-on {asked!r}: {min(unknown)!r} is none of {', '.join(STATES)}")
    return states


def chosen(table: Table, *, action: str, act_on: str | None, selection: Selection | None) -> tuple[list[Entry], str]:
    """The entries to act on, and how they were chosen, in words.

    Decisions: those whose decision or rating is in ``act_on``; by default rejected ones are moved, picked ones copied
    or linked, and all that are decided or rated get a sidecar. ``selection`` narrows these by score. Scores: those that
    ``selection`` chooses; all of them get a sidecar by default, but are not moved, copied or linked without one. A list
    of paths: all. Raises ``ConfigError`` for a choice that the table has no columns for, or that is missing.
    """
    entries: Iterable[Entry] = table.entries
    words = []
    if act_on is not None or (table.kind == "decisions" and not (action == "xmp" and selection)):
        if table.kind != "decisions":
            raise ConfigError(f"{table.name} has no decisions and ratings, which --act-on chooses by; leave it out")
        default = DEFAULT_STATE.get(action)
        states = states_of(act_on) if act_on is not None else None if default is None else frozenset({default})
        entries = [entry for entry in entries if _is_in(entry, states)]
        words.append("decided or rated" if states is None else ", ".join(name for name in STATES if name in states))
    if selection is not None:
        if not any(entry.score is not None for entry in table.entries):
            raise ConfigError(f"{table.name} has no scores, and --min-score, --max-score, --worst and --best need them")
        by_score: Chosen[Entry] = Chosen(selection, higher_is_better=table.higher_is_better)
        for entry in entries:
            by_score.add(entry, entry.score)
        entries = list(by_score)
        words.append(_said(selection))
    elif table.kind == "scores" and action != "xmp":
        raise ConfigError(
            f"{table.name} has scores and no decisions: say which photos to {action}, with --max-score S, "
            "--min-score S, --worst N or --best N"
        )
    return list(entries), " and ".join(words) or "all"


def _is_in(entry: Entry, states: frozenset[str] | None) -> bool:
    """Whether the decision or the rating is one of the states; of ``None``, whether there is either."""
    own = {entry.decision or "", "" if entry.rating is None else str(entry.rating)} - {""}
    if states is None:
        return bool(own)
    return bool((own or {"undecided"}) & states)


def _said(selection: Selection) -> str:
    said = []
    if selection.min_score is not None:
        said.append(f"score {selection.min_score:g} or more")
    if selection.max_score is not None:
        said.append(f"score {selection.max_score:g} or less")
    if selection.worst is not None:
        said.append(f"worst {selection.worst}")
    if selection.best is not None:
        said.append(f"best {selection.best}")
    return ", ".join(said)

"""The transitions: one Lua file each, with a header that is a checked contract."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua file, as it is sent to the server."""

    name: str
    text: str
    sha: str


def load(name: str) -> Script:
    """The script in `redjobs/lua/<name>.lua`."""
    text = files(__name__).joinpath(f"{name}.lua").read_text(encoding="utf-8")
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

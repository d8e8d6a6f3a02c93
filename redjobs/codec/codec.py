"""`Codec`: the limits, the two hot paths, and the words of the errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgpack

from redjobs.codec.classes import Classes, Registered
from redjobs.codec.decoder import Decoder
from redjobs.codec.encoder import ELSEWHERE, SCALARS, Encoder, Refusal
from redjobs.errors import PayloadError

T = TypeVar("T")

_FRAME = 2
"""A call is `[args, kwargs]`: two levels, and two items, that do not count to the user's limits."""

_DEEPEST = 128
"""Each level is up to three Python frames, of the thousand that Python allows by default."""

# A new packer for each call, on purpose: `msgpack.Packer` may be used by one thread at a time
# and is not reentrant (a finalizer may enqueue), and a kept one would save 0.2 µs.
_packb: Callable[[Any], bytes] = msgpack.packb


class Codec:
    """Encodes arguments and results, and decodes them again. Safe to use from any thread.

    `modules` names the modules whose enums and dataclasses are known; the set is kept, not
    copied, and may grow. The limits hold at both ends, on what is encoded and on what is decoded.
    Everything that is refused raises `PayloadError`.
    """

    def __init__(
        self,
        modules: set[str] | None = None,
        *,
        max_bytes: int = 256 * 1024,
        max_depth: int = 32,
        max_items: int = 10_000,
    ) -> None:
        if not 1 <= max_depth <= _DEEPEST:
            raise ValueError(f"max_depth={max_depth}: from 1 to {_DEEPEST}")
        self.modules: set[str] = set() if modules is None else modules
        self.max_bytes = max_bytes
        self.max_depth = max_depth
        self.max_items = max_items
        self._classes = Classes(self.modules)
        self._decoder = Decoder(self._classes, max_bytes=max_bytes, max_depth=max_depth, max_items=max_items)
        # Each item takes a byte: what is this short needs no counting.
        self._short = min(max_bytes, max_items)

    def register(
        self,
        cls: type[T],
        *,
        name: str,
        encode: Callable[[T], object],
        decode: Callable[[Any], T],
    ) -> None:
        """Let payloads hold instances of exactly `cls`, as `name` and what `encode` returns.

        Call it in the web process and in the worker. `encode` returns anything that the codec can
        encode; `decode` gets that back, from bytes that may be forged, and returns a `cls`.
        Raises ValueError if the name or the class is taken.
        """
        self._classes.register(Registered(cls, name, encode, decode))

    # -- calls -------------------------------------------------------------------------------------

    def encode_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """`[args, kwargs]`, or no bytes at all for a call without arguments. O(size)."""
        if not args and not kwargs:
            return b""
        # The common call, in about a microsecond: a few plain values, which msgpack gets right.
        for value in args:
            if type(value) not in SCALARS:
                return self._encode_call(args, kwargs)
        for name, value in kwargs.items():
            if type(value) not in SCALARS or type(name) is not str:
                return self._encode_call(args, kwargs)
        try:
            data = _packb((args, kwargs))
        except (OverflowError, TypeError, ValueError):  # a long int, a Mapping, half a surrogate
            return self._encode_call(args, kwargs)
        return data if len(data) <= self._short else self._encode_call(args, kwargs)

    def decode_call(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call. Imports nothing; raises PayloadError for anything else."""
        if not data:
            return (), {}
        args = self._decoder.plain_args(data)
        if args is not None:
            return tuple(args), {}
        frame = self._decoder.decode(data, _FRAME)
        if type(frame) is list and len(frame) == 2:
            args, kwargs = frame
            if type(args) is list and type(kwargs) is dict:
                for name in kwargs:
                    if type(name) is not str:
                        break
                else:
                    return tuple(args), kwargs
        raise PayloadError("cannot decode: not the arguments of a call")

    def _encode_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Any other call: walks through the values, and knows what to say."""
        for name in kwargs:
            if type(name) is not str or not _is_text(name):
                raise PayloadError(f"kwargs: cannot encode the name {name!r}; names are plain str")
        parts = [(f"args[{index}]", value) for index, value in enumerate(args)]
        parts += [(f"kwargs[{name!r}]", value) for name, value in kwargs.items()]
        split = len(args)
        return self._encode_parts(
            parts,
            items=split + 2 * len(kwargs),
            frame=lambda plain: (plain[:split], dict(zip(kwargs, plain[split:], strict=True))),
        )

    # -- single values -----------------------------------------------------------------------------

    def encode(self, value: object, *, path: str = "result") -> bytes:
        """One value; `path` is what an error calls it. O(size)."""
        if type(value) in SCALARS:
            try:
                data = _packb(value)
            except (OverflowError, ValueError):  # as above
                data = b""
            if 0 < len(data) <= self._short:
                return data
        return self._encode_parts([(path, value)], items=0, frame=lambda plain: plain[0])

    def decode(self, data: bytes) -> Any:
        """The value that was encoded. Imports nothing; raises PayloadError for anything else."""
        return self._decoder.decode(data)

    # -- the slow path -----------------------------------------------------------------------------

    def _encode_parts(
        self,
        parts: list[tuple[str, object]],
        *,
        items: int,
        frame: Callable[[list[object]], object],
    ) -> bytes:
        """Pack the `parts`, each named by its path, as `frame` puts them together."""
        try:
            try:
                plain = self._plain(parts, items, careful=False)
                data = _packb(frame(plain))
            except (OverflowError, UnicodeEncodeError):
                # msgpack met a long int or half a surrogate and does not say where. Both are rare.
                plain = self._plain(parts, items, careful=True)
                data = _packb(frame(plain))
        except Refusal as refusal:
            raise PayloadError(f"{refusal.path}: {refusal.reason}") from refusal.__cause__
        if len(data) > self.max_bytes:
            sizes = [len(_packb(value)) for value in plain]
            path = parts[sizes.index(max(sizes))][0]
            share = "the largest part of " if len(parts) > 1 else ""
            raise PayloadError(
                f"{path}: {share}{len(data):,} bytes when encoded,"
                f" more than {self.max_bytes:,} (max_bytes); {ELSEWHERE}"
            )
        return data

    def _plain(self, parts: list[tuple[str, object]], items: int, *, careful: bool) -> list[object]:
        encoder = Encoder(
            self._classes,
            max_bytes=self.max_bytes,
            max_depth=self.max_depth,
            max_items=self.max_items,
            careful=careful,
        )
        plain: list[object] = []
        path = "arguments"
        try:
            encoder.count(items)
            for path, value in parts:  # noqa: B007 - the handler below needs the last one
                plain.append(encoder.value(value, 0))
        except Refusal as refusal:
            refusal.within(path)
            raise
        return plain


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True

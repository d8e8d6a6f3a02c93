"""Payloads: what goes into a job comes out equal and of the same type, or is refused.

    codec = Codec(modules={"shop.tasks"})
    data = codec.encode_call((7, "welcome"), {"at": datetime.now(timezone.utc)})
    args, kwargs = codec.decode_call(data)

The form is msgpack with a closed set of types (`docs/payloads.md`), and opaque to Lua. Nothing
in a payload is code: decoding imports nothing, and the only classes it builds are enums and
dataclasses of the modules that the operator named, and types that were registered.

    ext      the ext codes, and the scalars that msgpack does not know
    classes  which classes are known, and how their instances are taken apart and rebuilt
    encoder  a value to what msgpack can pack; refuses, and names the path
    decoder  bytes to a value
    limits   depth and number of items, proven on the bytes, before anything is built
"""

from __future__ import annotations

from redjobs.codec.codec import Codec

__all__ = ["Codec"]

"""Every operation on a queue as a value: which script, keys and arguments, and how to read the reply.

Pure: no client is imported here. `Queue` runs a command, `AsyncQueue` awaits it, the worker
sends several in one round trip. The functions have the names of the Lua files, whose headers
say what each does and costs.
"""

from redjobs.commands.claims import (
    Begun,
    Finished,
    Taken,
    begin,
    bury,
    cancels,
    claim_from_fields,
    complete,
    discard,
    release,
    retry,
    take,
)
from redjobs.commands.command import BATCH, ENQUEUE_BYTES, SCRIPTS, Arg, Command
from redjobs.commands.queues import (
    Duplicate,
    cancel,
    delete,
    enqueue,
    fields,
    holder,
    peek,
    requeue,
    reschedule,
)
from redjobs.commands.together import Round
from redjobs.commands.upkeep import PROMPT_MS, Swept, heartbeat, listed, recover, retire, stranded, sweep

__all__ = [
    "BATCH",
    "ENQUEUE_BYTES",
    "PROMPT_MS",
    "SCRIPTS",
    "Arg",
    "Begun",
    "Command",
    "Duplicate",
    "Finished",
    "Round",
    "Swept",
    "Taken",
    "begin",
    "bury",
    "cancel",
    "cancels",
    "claim_from_fields",
    "complete",
    "delete",
    "discard",
    "enqueue",
    "fields",
    "heartbeat",
    "holder",
    "listed",
    "peek",
    "recover",
    "release",
    "requeue",
    "reschedule",
    "retire",
    "retry",
    "stranded",
    "sweep",
    "take",
]

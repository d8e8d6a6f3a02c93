"""Which functions may be jobs, and under which names.

A handler is a function that the operator named: decorated, or defined in a module that was
given to the worker. A name from a payload is only ever looked up here, never imported.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import FunctionType, ModuleType
from typing import Any, Generic, ParamSpec, TypeVar

from redjobs.codec import Codec
from redjobs.errors import HandlerError, PayloadError
from redjobs.hooks import Hooks
from redjobs.ids import check_name, whole_of
from redjobs.jobs import JobOptions, make_options
from redjobs.retry import BackoffFunction

P = ParamSpec("P")
R = TypeVar("R")


class Handler(Generic[P, R]):
    """A decorated function: called, it is the function; enqueued, it is a job."""

    def __init__(
        self,
        fn: Callable[P, R],
        options: JobOptions = JobOptions(),  # noqa: B008 - frozen
        backoff: BackoffFunction | None = None,
    ) -> None:
        self.fn = fn
        self.name = name_of(fn)
        self.defaults = options
        self.backoff = backoff
        self.is_async = inspect.iscoroutinefunction(fn)
        self._signature = inspect.signature(fn)
        self._arity = _plain_arity(self._signature)
        self.__doc__ = fn.__doc__
        self.__name__ = fn.__name__
        self.__qualname__ = fn.__qualname__
        self.__module__ = fn.__module__
        self.__wrapped__ = fn

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """A plain call, here and now."""
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<job {self.name}>"

    def check_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raises PayloadError where the arguments do not fit the function's signature."""
        if not kwargs and self._arity[0] <= len(args) <= self._arity[1]:
            return
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise PayloadError(f"{self.name}{self._signature} cannot be called so: {error}") from None


def _plain_arity(signature: inspect.Signature) -> tuple[int, int]:
    """How many positional arguments alone always fit: the quick answer for most calls."""
    least = most = 0
    for parameter in signature.parameters.values():
        required = parameter.default is parameter.empty
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            least, most = least + required, most + 1
        elif parameter.kind is parameter.KEYWORD_ONLY and required:
            return 1, 0
    return least, most


def name_of(fn: Callable[..., Any]) -> str:
    """The name under which a worker finds this function. Raises HandlerError where none could."""
    if not isinstance(fn, FunctionType):
        # Not its repr: a partial shows its arguments there, and a method its object.
        raise HandlerError(
            f"{getattr(fn, '__qualname__', 'this')} is a {type(fn).__name__}, not a function of a module;"
            " write a function that calls it"
        )
    module, qualname = fn.__module__, fn.__qualname__
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise HandlerError(f"{qualname} is a generator: a call of it would run nothing of it")
    if "<lambda>" in qualname:
        raise HandlerError("a lambda has no name that a worker could find; define a function")
    if "<locals>" in qualname:
        raise HandlerError(
            f"{qualname} is defined inside a function, where no worker can find it; define it at"
            " the top of a module (and if a decorator made it, let that use functools.wraps)"
        )
    if "." in qualname:
        raise HandlerError(f"{qualname} belongs to a class; define a function of the module")
    if module == "__main__":
        raise HandlerError(
            f"{qualname} is defined in the program that was started (__main__), which a worker"
            " knows under another name; move it to a module and import it"
        )
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise HandlerError(f"{module}:{qualname} is Python's own; define a function of yours that calls it")
    return f"{module}:{qualname}"


class Registry:
    """The handlers and the payload types of one program."""

    def __init__(self) -> None:
        #: Modules that the operator named, or that define a decorated handler.
        self.modules: set[str] = set()
        self.codec = Codec(self.modules)
        self.hooks = Hooks()
        #: Options of all jobs of a queue, where neither the job nor its handler says anything.
        self.queue_options: dict[str, JobOptions] = {}
        self._handlers: dict[str, Handler[..., Any]] = {}
        self._seen: dict[Callable[..., Any], Handler[..., Any]] = {}

    def add(self, handler: Handler[..., Any]) -> None:
        """Let a worker run this handler."""
        self._handlers[handler.name] = handler
        self.modules.add(handler.fn.__module__)

    def add_module(self, module: ModuleType) -> int:
        """Let a worker run every function that this module defines; returns how many handlers it has.

        Functions that it only imported are not its own and stay out.
        """
        self.modules.add(module.__name__)
        count = 0
        for name, value in list(vars(module).items()):
            if isinstance(value, Handler):
                count += 1
            elif (
                isinstance(value, FunctionType)
                and (value.__module__, value.__qualname__) == (module.__name__, name)
                and not inspect.isgeneratorfunction(value)
                and not inspect.isasyncgenfunction(value)
            ):
                self._handlers.setdefault(name_of(value), self.handler_of(value))
                count += 1
        return count

    def get(self, name: str) -> Handler[..., Any] | None:
        """The handler that a worker may run under this name."""
        return self._handlers.get(name)

    def set_queue_options(
        self,
        queue: str,
        *,
        priority: int | None = None,
        max_attempts: int | None = None,
        backoff: timedelta | float | list[float] | None = None,
        timeout: timedelta | float | None = None,
        result_ttl: timedelta | float | None = None,
    ) -> None:
        """Options of all jobs of a queue, in the programs that enqueue as well as in the workers."""
        self.queue_options[check_name("queue", queue)] = make_options(
            priority=priority,
            max_attempts=max_attempts,
            backoff=backoff,
            timeout=timeout,
            result_ttl=result_ttl,
        )

    def defaults(self, handler: Handler[..., Any], queue: str) -> JobOptions:
        """The options of a handler's job in a queue, where the job itself says nothing."""
        of_queue = self.queue_options.get(whole_of(queue)) if self.queue_options else None
        return handler.defaults if of_queue is None else handler.defaults.over(of_queue)

    @property
    def names(self) -> list[str]:
        """The names of all handlers that a worker may run, sorted."""
        return sorted(self._handlers)

    def handler_of(self, fn: Callable[..., Any]) -> Handler[..., Any]:
        """The handler for a function that is to be enqueued. Raises HandlerError.

        This does not let a worker run it: what a producer enqueues, an operator must have named.
        """
        if isinstance(fn, Handler):
            return fn
        handler = self._seen.get(fn) if isinstance(fn, FunctionType) else None
        if handler is None:
            name = name_of(fn)
            found = getattr(sys.modules.get(fn.__module__), fn.__qualname__, None)
            if isinstance(found, Handler) and found.fn is fn:
                return found
            if found is not fn:
                raise HandlerError(
                    f"{name} is another function by now: what {fn.__module__} calls"
                    f" {fn.__qualname__!r} is {found!r:.200}"
                )
            registered = self._handlers.get(name)
            if registered is not None and registered.fn is fn:
                return registered
            handler = self._seen[fn] = Handler(fn)
            self.modules.add(fn.__module__)
        return handler


#: The registry that queues and workers of this process share.
registry = Registry()

#: A decorator that calls a function at an event of a job's life: see `redjobs.hooks`.
on = registry.hooks.on
#: Calls the methods of an object at the events of their names.
add_plugin = registry.hooks.add_plugin
#: Lets arguments and results hold a type of yours: see docs/payloads.md.
register_type = registry.codec.register
#: Default options of all jobs of a queue: `queue_options("mail", priority=-5, timeout=30)`.
queue_options = registry.set_queue_options

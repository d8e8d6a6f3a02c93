"""The two drivers with a client that answers as it is told: what is sent, and which error is raised.

The truth matters most when a reply is lost: "nothing answers" is said only while nothing can have
been enqueued.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
import redis

from redjobs import AsyncQueue, Queue, call
from redjobs.aiodriver import AsyncDriver
from redjobs.commands import BATCH, SCRIPTS
from redjobs.connect.sentinel import UnknownPrimary
from redjobs.drivers import Driver
from redjobs.errors import EnqueueUnknown, NotReplicated, PayloadError, ServerUnavailable, SettingsError
from redjobs.settings import Server
from tests.waiting import wait_until

SERVER = Server("redis://:hunter2@nowhere:6379/0", "argument")
NOW = 1_700_000_000_000
READY = [NOW, [b"ready"], []]

AnyQueue = Any


def send(user_id: int) -> None:
    """A job."""


class Client:
    """Answers each call with the next of `answers`; raises those that are errors."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[Any, ...]] = []

    def answer(self, *call: Any) -> Any:
        self.calls.append(call)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def execute_command(self, word: str, *args: Any) -> Any:
        return self.answer(word.lower(), *args)

    @property
    def names(self) -> list[str]:
        return [call[0] for call in self.calls]


class AsyncClient(Client):
    async def execute_command(self, word: str, *args: Any) -> Any:
        return self.answer(word.lower(), *args)


Make = Callable[..., tuple[Any, Client]]


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Make:
    """A queue of either kind whose client gives these answers; and the client."""

    def make(*answers: Any, server: Server | None = SERVER, replicas: int = 0) -> tuple[Any, Client]:
        if request.param == "sync":
            client: Any = Client(*answers)
            queue: AnyQueue = Queue("mail", client=fakeredis.FakeRedis())
            queue._driver = Driver(client, server, replicas)
        else:
            client = AsyncClient(*answers)
            queue = AsyncQueue("mail", client=fakeredis.FakeAsyncRedis())
            queue._driver = AsyncDriver(client, server, replicas)
        return queue, client

    return make


def run(result: Any) -> Any:
    """The result of a call to either kind of queue."""

    async def wait() -> Any:
        return await result

    return asyncio.run(wait()) if inspect.iscoroutine(result) else result


def enqueue(queue: AnyQueue) -> Any:
    """Call it within, so that what a coroutine raises is raised here for both."""
    return run(queue.enqueue(send, 7))


def in_a_cluster(
    queue: AnyQueue, monkeypatch: pytest.MonkeyPatch, near: Callable[[str], Client], *, known: bool
) -> None:
    """Its server is a cluster; `near` has the client of each key. `known`: a node has told who has what."""
    central = SimpleNamespace(neighbours=SimpleNamespace(are_known=known))
    monkeypatch.setattr(queue._driver, "_central", central)
    monkeypatch.setattr(queue._driver._heard, "_central", central)
    monkeypatch.setattr("redjobs.connect.near", lambda _, key: near(key))


# What is sent ---------------------------------------------------------------------------------


def test_a_command_is_one_call_by_the_scripts_hash(make: Make) -> None:
    queue, client = make(1, READY)
    job = enqueue(queue)
    assert client.names == ["sadd", "evalsha"]
    _, sha, count, *rest = client.calls[1]
    assert (sha, count) == (SCRIPTS["enqueue"].sha, 5)
    assert job.id in rest


def test_a_script_that_the_server_does_not_have_is_sent_whole(make: Make) -> None:
    queue, client = make(1, redis.exceptions.NoScriptError("NOSCRIPT"), READY, 1)
    enqueue(queue)
    assert client.names == ["sadd", "evalsha", "eval", "sadd"], "who lost the script may have lost the name"
    assert client.calls[2][1] == SCRIPTS["enqueue"].text
    assert client.calls[2][2:] == client.calls[1][2:], "with the same id: it is the same job"


def test_what_a_node_of_a_cluster_did_not_answer_may_be_done(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is the first that this process has asked: some node has said where the queue is."""
    queue, client = make(redis.ConnectionError("lost"))
    in_a_cluster(queue, monkeypatch, lambda _: client, known=True)
    with pytest.raises(EnqueueUnknown):
        enqueue(queue)


def test_when_no_node_of_a_cluster_ever_answered_nothing_is_done(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, client = make(redis.ConnectionError("lost"))
    in_a_cluster(queue, monkeypatch, lambda _: client, known=False)
    with pytest.raises(ServerUnavailable):
        enqueue(queue)
    assert client.names == ["evalsha"]


def test_the_name_of_a_queue_is_announced_once(make: Make) -> None:
    queue, client = make(1, READY, READY, 1, READY)
    enqueue(queue)
    enqueue(queue)
    assert client.names == ["sadd", "evalsha", "evalsha"]
    enqueue(queue.options(queue="other"))
    assert client.calls[3] == ("sadd", "redjobs:queues", "other")


def test_after_a_while_it_is_announced_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may have been started anew without it, and another process have been the one to notice."""
    queue, client = make(1, READY, 1, READY, READY)
    enqueue(queue)
    later = time.monotonic() + 31
    monkeypatch.setattr("redjobs.drivers.time", SimpleNamespace(monotonic=lambda: later))
    enqueue(queue)
    enqueue(queue)
    assert client.names == ["sadd", "evalsha", "sadd", "evalsha", "evalsha"]


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.OutOfMemoryError("OOM"),
        redis.ConnectionError("lost"),
        ServerUnavailable("nothing was done"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_name_that_cannot_be_announced_again_makes_no_accepted_job_a_refused_one(
    make: Make, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    queue, client = make(1, redis.exceptions.NoScriptError("NOSCRIPT"), READY, error, READY)
    assert enqueue(queue).created
    assert "could not say that queue mail is in use" in caplog.text
    assert enqueue(queue).created
    assert client.names == ["sadd", "evalsha", "eval", "sadd", "evalsha"]
    many = [NOW, [b"ready"], []]
    queue, _ = make(1, redis.exceptions.NoScriptError("NOSCRIPT"), many, error)
    assert len(run(queue.enqueue_many([call(send, 1)]))) == 1


def test_whoever_is_interrupted_while_it_announces_has_not_done_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, client = make(1, READY)
    answer, interrupts = client.answer, [KeyboardInterrupt()]

    def interrupted(*call: Any) -> Any:
        if interrupts:
            raise interrupts.pop()
        return answer(*call)

    monkeypatch.setattr(client, "answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        enqueue(queue)
    enqueue(queue)
    assert client.names == ["sadd", "evalsha"]


def test_the_node_that_has_the_names_holds_no_other_one_up(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, client = make(READY, READY)
    gone = type(client)(ServerUnavailable("nothing was done"))
    in_a_cluster(queue, monkeypatch, lambda key: gone if key == "redjobs:queues" else client, known=True)
    enqueue(queue)
    enqueue(queue)
    assert (gone.names, client.names) == (["sadd"], ["evalsha", "evalsha"]), "nor is it asked again at once"


def test_nothing_is_sent_for_what_cannot_be_a_job(make: Make) -> None:
    queue, client = make(1)
    with pytest.raises(PayloadError):
        run(queue.enqueue(send, "7", "8"))
    assert client.names in ([], ["sadd"])


def test_neighbours_of_a_duplicate_are_enqueued_in_their_order(make: Make) -> None:
    holder = [b"ready", 0, [b"name", b"shop.mail:send"]]
    queue, client = make(1, [NOW, [b"ready", b"duplicate", b"ready"], [2, b"holder"]], holder)
    jobs = run(queue.enqueue_many([call(send, 1), call(send, 2).with_options(key="a"), call(send, 3)]))
    assert [job.id in client.calls[1] for job in jobs] == [True, False, True]
    assert [job.created for job in jobs] == [True, False, True]


# What is raised -------------------------------------------------------------------------------

LOST = [redis.ConnectionError("refused"), redis.TimeoutError("timed out")]
lost = pytest.mark.parametrize("error", LOST, ids=["refused", "timed out"])


@lost
def test_when_nothing_ever_answered_the_error_says_how_to_get_going(make: Make, error: Exception) -> None:
    queue, client = make(error)
    with pytest.raises(ServerUnavailable, match="Three ways to get going") as caught:
        enqueue(queue)
    assert "hunter2" not in str(caught.value)
    assert client.names == ["sadd"], "so nothing can have been enqueued"


@lost
def test_the_first_look_at_a_job_says_it_too(make: Make, error: Exception) -> None:
    queue, _ = make(error)
    with pytest.raises(ServerUnavailable):
        run(queue.get("reminder:7"))


@lost
def test_a_reply_that_was_lost_leaves_open_whether_the_job_is_there(make: Make, error: Exception) -> None:
    # The very first enqueue of a process, too: the server had answered, so it may have the job.
    queue, client = make(1, error)
    with pytest.raises(EnqueueUnknown, match=r"may or may not be enqueued; queue\.get\(id\) tells") as caught:
        enqueue(queue)
    (job_id,) = caught.value.job_ids
    assert job_id in client.calls[1]
    assert job_id in str(caught.value)


@lost
def test_so_it_does_when_the_script_had_to_be_sent_whole(make: Make, error: Exception) -> None:
    queue, _ = make(1, redis.exceptions.NoScriptError("NOSCRIPT"), error)
    with pytest.raises(EnqueueUnknown):
        enqueue(queue)


def test_of_many_jobs_all_that_were_sent_are_named(make: Make) -> None:
    queue, _ = make(1, [NOW, [b"ready"] * BATCH, []], redis.TimeoutError("timed out"))
    sent = 2 * BATCH - 1
    with pytest.raises(EnqueueUnknown, match=f"{sent} jobs") as caught:
        run(queue.enqueue_many(call(send, n) for n in range(sent)))
    assert len(set(caught.value.job_ids)) == sent


def test_many_jobs_of_which_some_were_sent_are_not_called_undone(make: Make) -> None:
    """A cluster that does not serve a slot says that nothing was done: of one call of several."""
    undone = ServerUnavailable("nothing was done")
    queue, _ = make(1, [NOW, [b"ready"] * BATCH, []], undone)
    with pytest.raises(EnqueueUnknown, match=f"{2 * BATCH} jobs") as caught:
        run(queue.enqueue_many(call(send, n) for n in range(2 * BATCH)))
    assert caught.value.__cause__ is undone
    queue, _ = make(1, undone)
    with pytest.raises(ServerUnavailable, match="nothing was done"):
        run(queue.enqueue_many(call(send, n) for n in range(3)))


def test_many_jobs_of_which_the_only_call_was_answered_are_not_called_undone(make: Make) -> None:
    queue, _ = make(1, [NOW, [b"ready", b"duplicate"], [2, b"holder"]], ServerUnavailable("nothing was done"))
    with pytest.raises(EnqueueUnknown, match="2 jobs"):
        run(queue.enqueue_many([call(send, 1), call(send, 2).with_options(key="a")]))


def test_nor_where_the_reply_was_lost_and_then_nobody_knew_the_primary(make: Make) -> None:
    queue, _ = make(1, UnknownPrimary("no Sentinel watches it"))
    with pytest.raises(EnqueueUnknown):
        run(queue.enqueue_many([call(send, 1)]))


def test_a_job_that_is_there_already_is_not_called_replicated_where_it_is_not(make: Make) -> None:
    """Its first enqueue may have been the one that was not confirmed."""
    taken = [NOW, [b"duplicate"], [1, b"holder"]]
    queue, client = make(1, taken, 0, 0, replicas=1)
    with pytest.raises(NotReplicated) as caught:
        run(queue.options(key="a").enqueue(send, 7))
    assert caught.value.job_ids == ("holder",)
    assert client.names == ["sadd", "evalsha", "hincrby", "wait"]


def test_replicas_are_not_waited_for_longer_than_the_connection_waits() -> None:
    client = redis.Redis(socket_timeout=0.5)
    assert Driver(client, SERVER, 1)._wait == ("WAIT", 1, 250)
    assert Driver(redis.Redis(socket_timeout=5), SERVER, 1)._wait == ("WAIT", 1, 1_000)
    assert Driver(redis.Redis(socket_timeout=None), SERVER, 1)._wait == ("WAIT", 1, 1_000)


def test_what_follows_many_jobs_that_are_not_replicated_is_sent_too(make: Make) -> None:
    """Else nobody could tell which of them are accepted, and "accepted" is what the error says."""
    batch = [NOW, [b"ready"] * BATCH, []]
    taken = [NOW, [b"duplicate"], [1, b"holder"]]
    # The holder of the unique key is over when it is looked for, so that its job is enqueued after all.
    answers = [batch, 0, 0, batch, 0, 1, taken, 0, 1, [b"missing", 0, []], READY, 0, 0]
    queue, client = make(1, *answers, replicas=1)
    calls = [call(send, n) for n in range(2 * BATCH)]
    with pytest.raises(NotReplicated, match=f"{BATCH + 1} jobs are accepted") as caught:
        run(queue.enqueue_many([*calls, call(send, 0).with_options(key="a")]))
    first, last = client.calls[1], client.calls[-3]
    assert all(job_id in (*first, *last) for job_id in caught.value.job_ids)
    assert client.names.count("wait") == 4


@lost
def test_other_calls_raise_what_redis_py_raises(make: Make, error: Exception) -> None:
    queue, _ = make(1, READY, error)
    enqueue(queue)
    with pytest.raises(type(error)):
        run(queue.get("reminder:7"))


@lost
def test_a_client_of_ones_own_is_not_explained(make: Make, error: Exception) -> None:
    queue, _ = make(error, server=None)
    with pytest.raises(type(error)):
        enqueue(queue)


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.OutOfMemoryError("OOM"),
        redis.exceptions.ReadOnlyError("READONLY"),
        redis.exceptions.NoPermissionError("NOPERM"),
        redis.ResponseError("WRONGTYPE"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_server_refuses_is_said_in_its_own_words(make: Make, error: Exception) -> None:
    queue, _ = make(1, error)
    with pytest.raises(type(error), match=str(error)):
        enqueue(queue)


# Threads --------------------------------------------------------------------------------------


def test_all_threads_of_a_round_hear_that_nothing_was_done() -> None:
    """What a cluster says that does not serve the slot is true for all whose calls went together."""

    class Node(Client):
        def answer(self, *call: Any) -> Any:
            if len(self.calls) == 1:  # the others come while this one is under way
                self.calls.append(call)
                assert wait_until(lambda: len(driver._waiting) == 3)
                return READY
            return super().answer(*call)

    queue, client = (
        Queue("mail", client=fakeredis.FakeRedis()),
        Node(1, ServerUnavailable("nothing was done")),
    )
    driver: Any = Driver(client, SERVER)  # type: ignore[arg-type]
    queue._driver = driver
    driver.announce(queue._shards)
    heard: list[Exception] = []

    def work() -> None:
        try:
            queue.enqueue(send, 7)
        except (ServerUnavailable, EnqueueUnknown) as error:
            heard.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(error) for error in heard] == [ServerUnavailable] * 3


def test_no_thread_of_a_child_takes_the_locks_of_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(Client(1, 1), SERVER)  # type: ignore[arg-type]
    driver._pid = -1
    driver._lock.acquire()  # as a thread of the parent did that is not here
    second = threading.Thread(target=driver._call, args=([("PING",)],), daemon=True)

    def lock() -> Any:
        if second.ident is None:
            second.start()
            second.join(1)
        return threading.Lock()

    monkeypatch.setattr("redjobs.drivers.threading", SimpleNamespace(Lock=lock))
    driver._call([("PING",)])
    assert not second.is_alive()


# Clients of the wrong kind --------------------------------------------------------------------


def test_each_queue_refuses_the_others_client() -> None:
    with pytest.raises(SettingsError, match=r"for coroutines, and so is redjobs\.AsyncQueue"):
        Queue(client=fakeredis.FakeAsyncRedis())  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"for others, use redjobs\.Queue"):
        AsyncQueue(client=fakeredis.FakeRedis())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("queue", "client"),
    [
        (Queue, fakeredis.FakeRedis(decode_responses=True)),
        (AsyncQueue, fakeredis.FakeAsyncRedis(decode_responses=True)),
        (Queue, object()),
        (AsyncQueue, "redis://localhost"),
    ],
)
def test_a_client_that_cannot_work_is_refused(queue: Any, client: Any) -> None:
    with pytest.raises(SettingsError, match=r"decode_responses=True|must be a redis-py client"):
        queue(client=client)

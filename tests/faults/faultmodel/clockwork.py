"""Simulated time, and processes that run in it one at a time: whoever waits lets the others go on.

A process is ordinary synchronous code: a Lambda invocation, a program of the head node. It gives way only in `advance`
and `join`, so that every run of one seed is the same. One baton goes round among threads. Changing threads is slow, so
most processes that begin while another waits run on top of it, on its thread: it goes on when they have ended, as if it
had stood still. `share_of_threads` of them get a thread of their own, and the two take turns as time has it.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from typing import Any

_CALL, _RESUME, _START, _PAUSE = range(4)


class Killed(BaseException):
    """The schedule is over; whatever still runs ends."""


class Crash(BaseException):
    """The process dies here: Lambda's sandbox is gone, or the head node."""


class Process:
    """Something that runs in simulated time. calls: how many calls of AWS or Slurm it has made."""

    __slots__ = (
        "_wake",
        "attributes",
        "buried",
        "calls",
        "crash_after",
        "crash_at",
        "deadline",
        "done",
        "doomed",
        "freezes_at",
        "joiner",
        "kind",
        "live",
        "name",
        "overdue",
        "suspended",
        "token",
    )

    def __init__(self, kind: str, name: str, *, deadline: float = float("inf"), **attributes: Any) -> None:
        self.kind, self.name, self.deadline = kind, name, deadline
        self.attributes = attributes
        self.calls = 0
        self.crash_at = self.freezes_at = 0
        self.crash_after = False
        self.live = self.done = self.doomed = self.suspended = self.buried = self.overdue = False
        self.joiner: Process | None = None
        self.token = 0
        self._wake: Any = None


class _Slot:
    """A thread that may hold the baton."""

    def __init__(self) -> None:
        self.wake = threading.Lock()
        self.wake.acquire()
        self.job: tuple[Clockwork, Process, Callable[[], None]] | None = None


_idle: list[_Slot] = []


def _work(slot: _Slot) -> None:
    while True:
        slot.wake.acquire()
        assert slot.job is not None
        clockwork, process, body = slot.job
        slot.job = None
        clockwork.work(slot, process, body)


class Clockwork:
    """The clock and everything that is to happen.

    inline: whether processes may run on the thread that drives the clock, or on top of each other; a driver that wants control back between
    processes (`run_until`) says no.
    """

    def __init__(self, now: float, *, inline: bool = True) -> None:
        self.now = now
        self.current: Process | None = None
        self.finished = False
        self.error: BaseException | None = None
        self._inline = inline
        self.random: Callable[[], float] = lambda: 0.0
        self.share_of_threads = 1.0
        self._heap: list[tuple[float, int, int, Any, Any]] = []
        self._seq = 0
        self._live: dict[Process, None] = {}
        self._main = _Slot()
        self._paused = False

    def at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        """Call the action then."""
        self._seq += 1
        heapq.heappush(self._heap, (when if when > self.now else self.now, self._seq, _CALL, action, arguments))

    def start(self, when: float, process: Process, body: Callable[[], None]) -> None:
        """Run the body as a process from then on."""
        self._seq += 1
        heapq.heappush(self._heap, (when if when > self.now else self.now, self._seq, _START, process, body))

    def advance(self, seconds: float) -> None:
        """Let time pass for the process that runs, and the world go on meanwhile."""
        process = self.current
        if self.finished or process is None:
            raise Killed
        until = self.now + seconds
        heap = self._heap
        if heap and heap[0][0] <= until:
            self._resume_at(until, process)
            self._pump(process)
        else:
            self.now = until
        if process.doomed or self.now > process.deadline:
            raise Crash

    def join(self, other: Process, *, timeout: float) -> bool:
        """Wait for another process to end; False when it has not after so long."""
        process = self.current
        if self.finished or process is None:
            raise Killed
        if not other.done:
            other.joiner = process
            self._resume_at(self.now + timeout, process)
            self._pump(process, joined=other)
            other.joiner = None
        if process.doomed or self.now > process.deadline:
            raise Crash
        return other.done

    def doom(self, process: Process) -> None:
        """It dies when it would go on."""
        process.doomed = True

    def live(self) -> list[Process]:
        """Processes that have begun and not ended."""
        return list(self._live)

    def finish(self) -> None:
        """End it all; to be called from an action."""
        self.finished = True

    def fail(self, error: BaseException) -> None:
        """The model itself is wrong: end it all, and let the driver know."""
        self.error = self.error or error
        self.finished = True

    def run(self) -> None:
        """Go on until an action calls `finish`."""
        self._bottom(self._main, main=True)
        if self.error is not None:
            raise self.error

    def run_until(self, when: float) -> None:
        """Go on until then, and come back; processes may be in the middle of something."""
        self._seq += 1
        heapq.heappush(self._heap, (when, self._seq, _PAUSE, None, None))
        self._paused = False
        self._bottom(self._main, main=True)
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """End what still runs."""
        self.finished = True
        self._bottom(self._main, main=True)

    def work(self, slot: _Slot, process: Process, body: Callable[[], None]) -> None:
        """What a thread of the pool does once it has the baton."""
        self._run(slot, process, body)
        self._bottom(slot, main=False)

    def _resume_at(self, when: float, process: Process) -> None:
        process.token += 1
        self._seq += 1
        heapq.heappush(self._heap, (when, self._seq, _RESUME, process, process.token))

    def _run(self, slot: _Slot, process: Process, body: Callable[[], None]) -> None:
        process.live = True
        process._wake = slot.wake
        self._live[process] = None
        self.current = process
        try:
            body()
        except (Killed, Crash):
            # Its work is lost, which whoever started it finds out by what is missing.
            process.doomed = True
        except BaseException as error:  # the model itself is wrong: the driver shall say so
            self.error = self.error or error
            self.finished = True
        process.live, process.done = False, True
        del self._live[process]
        self.current = None
        if process.joiner is not None:
            self._resume_at(self.now, process.joiner)

    def _pump(self, me: Process, *, joined: Process | None = None) -> None:
        """Do what is to be done until `me` goes on."""
        heap = self._heap
        me.suspended = True
        while True:
            if self.finished:
                raise Killed
            self.now, _, kind, a, b = heapq.heappop(heap)
            if kind == _CALL:
                self.current = None
                try:
                    a(*b)
                except Exception as error:  # never into the code under test, which would catch it
                    self.error = self.error or error
                    self.finished = True
            elif kind == _RESUME:
                if a is me:
                    if b == me.token:
                        break
                elif a.live and b == a.token:
                    if a.buried:
                        a.overdue = True
                        continue
                    self._hand_over(a._wake, me)
                    break
            elif kind == _START:
                # Never on top of a program, which may have a lock that what is above it waits for.
                if a is joined or (me.kind == "lambda" and self.random() > self.share_of_threads):
                    me.suspended, me.buried = False, True
                    self._run(_slot_of(me), a, b)
                    me.suspended, me.buried = True, False
                    if (me.overdue or (joined is not None and joined.done)) and not self.finished:
                        break
                else:
                    self._start_elsewhere(a, b)
                    me._wake.acquire()
                    self._came_back()
                    break
            else:
                self._paused = True
                self._hand_over(self._main.wake, me)
                break
        me.suspended = me.overdue = False
        me.token += 1
        self.current = me

    def _hand_over(self, wake: Any, me: Process) -> None:
        wake.release()
        me._wake.acquire()
        self._came_back()

    def _came_back(self) -> None:
        if self.finished:
            raise Killed

    def _start_elsewhere(self, process: Process, body: Callable[[], None]) -> None:
        slot = _idle.pop() if _idle else None
        if slot is None:
            slot = _Slot()
            threading.Thread(target=_work, args=(slot,), daemon=True).start()
        slot.job = (self, process, body)
        slot.wake.release()

    def _bottom(self, slot: _Slot, *, main: bool) -> None:
        """The loop of a thread that has nothing of its own to go back to. Returns when somebody else has the baton."""
        heap = self._heap
        while True:
            if self.finished:
                victim = next((process for process in self._live if process.suspended), None)
                wake = victim._wake if victim is not None else None if main else self._main.wake
                if wake is None:
                    return
            else:
                try:
                    self.now, _, kind, a, b = heapq.heappop(heap)
                    if kind == _CALL:
                        a(*b)
                        continue
                except Exception as error:  # as above
                    self.error = self.error or error
                    self.finished = True
                    continue
                if kind == _START:
                    if not main or self._inline:
                        self._run(slot, a, b)
                        continue
                    self._start_elsewhere(a, b)
                    wake = None
                elif kind == _RESUME:
                    if not a.live or b != a.token:
                        continue
                    if a.buried:
                        a.overdue = True
                        continue
                    wake = a._wake
                elif main:
                    return
                else:
                    self._paused = True
                    wake = self._main.wake
            if not main:
                _idle.append(slot)
            if wake is not None:
                wake.release()
            if not main:
                return
            slot.wake.acquire()
            if self._paused and not self.finished:
                self._paused = False
                return


class _Same:
    """Stands for the thread a process runs on, for one that runs on top of it."""

    def __init__(self, wake: Any) -> None:
        self.wake = wake


def _slot_of(process: Process) -> Any:
    return _Same(process._wake)

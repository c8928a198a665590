"""The load on Celery: reads a job from standard input and reports, as cmd/load does.

Celery's client is Python, so the load is too: threads, each of which submits with apply_async and
waits with get, as the documentation shows.
"""

import json
import math
import re
import sys
import threading
import time
from queue import Queue

import tasks

TAIL = 60.0
FILLER = "the quick brown fox jumps over the lazy dog 0123456789 "


def payload(n, size):
    """Task n's payload: a JSON object of size bytes."""
    head = '{"n":%d,"pad":"' % n
    room = max(0, size - len(head) - 2)
    return head + (FILLER * (room // len(FILLER) + 1))[:room] + '"}'


def percentile(values, p):
    """The nearest-rank percentile of sorted values."""
    return values[min(max(math.ceil(p / 100 * len(values)), 1), len(values)) - 1]


def summary(seconds):
    """Describes latencies in milliseconds."""
    if not seconds:
        return {"n": 0, "mean": 0, "p50": 0, "p90": 0, "p99": 0, "max": 0}
    values = sorted(s * 1000 for s in seconds)
    return {
        "n": len(values),
        "mean": sum(values) / len(values),
        "p50": percentile(values, 50),
        "p90": percentile(values, 90),
        "p99": percentile(values, 99),
        "max": values[-1],
    }


def threads(n, work):
    """Starts n threads."""
    started = [threading.Thread(target=work, daemon=True) for _ in range(n)]
    for thread in started:
        thread.start()
    return started


def join(started):
    """Waits for threads."""
    deadline = time.time() + 2 * TAIL
    for thread in started:
        thread.join(max(0, deadline - time.time()))


def say(event):
    """Prints an event."""
    print(json.dumps(event), flush=True)


class Load:
    """One job."""

    def __init__(self, job):
        self.job = job
        self.lock = threading.Lock()
        self.start = time.time()
        self.begin = self.start + job["warm"] / 1e9
        self.end = self.begin + job["for"] / 1e9
        self.tasks = self.all = self.failed = 0
        self.error = ""
        self.lag = 0.0
        self.submit, self.total, self.wake = [], [], []

    def fail(self, error):
        """Notes a failure."""
        with self.lock:
            self.failed += 1
            self.error = self.error or repr(error)

    def one(self, n, due):
        """Takes a task from its submission to its result."""
        try:
            result = tasks.post.apply_async((payload(n, self.job["size"]),))
            submitted = time.time()
            answer = result.get(timeout=TAIL)
            now = time.time()
        except Exception as error:  # noqa: BLE001 - any failure is one of this task
            self.fail(error)
            return
        found = re.match(r'\{"n": ?(\d+), ?"t": ?(\d+),', answer)
        if not found or int(found[1]) != n:
            self.fail(ValueError("task %d has the result %.200r" % (n, answer)))
            return
        with self.lock:
            self.all += 1
            if self.begin <= now < self.end:
                self.tasks += 1
            if self.begin <= due < self.end:
                self.submit.append(submitted - due)
                self.total.append(now - due)
                self.wake.append(now - int(found[2]) / 1e9)

    def windows(self):
        """Marks the begin and the end of the measured time."""
        for at, mark in ((self.begin, "begin"), (self.end, "end")):
            time.sleep(max(0, at - time.time()))
            say({"mark": mark})

    def closed(self):
        """Each submitter waits for its task before it begins the next one."""
        numbers = iter(range(1, sys.maxsize))

        def submitter():
            while time.time() < self.end and self.failed < 100:
                self.one(next(numbers), time.time())

        workers = threads(self.job["submitters"], submitter)
        self.windows()
        join(workers)

    def open(self):
        """Submits by a schedule. A fixed set of threads keeps its connections; what waits for
        one of them counts from when it was due."""
        queue = Queue()

        def submitter():
            for n, due in iter(queue.get, None):
                self.one(n, due)

        workers = threads(self.job["submitters"] // 2, submitter)
        marks = threads(1, self.windows)
        rate = self.job["rate"]
        for n in range(math.ceil((self.end - self.start) * rate)):
            due = self.start + n / rate
            time.sleep(max(0, due - time.time()))
            self.lag = max(self.lag, time.time() - due)
            if queue.qsize() > self.job["submitters"] or self.failed >= 100:
                self.fail(RuntimeError("too slow for this rate"))
                break
            queue.put((n, due))
        for _ in workers:
            queue.put(None)
        join(workers + marks)

    def report(self):
        """Says what was measured."""
        say(
            {
                "report": {
                    "tasks": self.tasks,
                    "all": self.all,
                    "seconds": self.end - self.begin,
                    "submit": summary(self.submit),
                    "total": summary(self.total),
                    "wake": summary(self.wake),
                    "lag": self.lag * 1000,
                    "failed": self.failed,
                    "error": self.error,
                }
            }
        )


def main():
    """Does the job."""
    job = json.loads(sys.stdin.readline())
    load = Load(job)
    {"closed": load.closed, "open": load.open}[job["kind"]]()
    load.report()
    sys.stdin.read()  # till then this process can be looked at


main()

"""Celery as a peer of the bench: one task, which posts its payload to the handler.

Settings are those that Celery's own guide to optimizing asks for, as far as they concern tasks
that wait for others: a pool of threads, prefetch, a session that keeps its connections.
"""

import os
import sys

import requests
from celery import Celery
from celery.signals import worker_ready

app = Celery(
    "bench",
    broker=os.environ["BENCH_AMQP_URL"],
    backend=os.environ["BENCH_REDIS_URL"],
)
app.conf.update(
    task_acks_late=True,  # at least once, as the others
    worker_prefetch_multiplier=4,  # the default
    broker_pool_limit=64,
    result_expires=86400,
    worker_send_task_events=False,
    task_track_started=False,
    worker_hijack_root_logger=False,
)

url = os.environ["BENCH_HANDLER_URL"] + "/"
session = requests.Session()
session.trust_env = False  # no look for proxies and .netrc at each request
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=256))


@app.task(name="post")
def post(payload):
    """Posts a payload and returns the answer."""
    answer = session.post(
        url, data=payload, headers={"Content-Type": "application/json"}, timeout=30
    )
    answer.raise_for_status()
    return answer.text


@worker_ready.connect
def ready(**_):
    """Says the word that the bench waits for."""
    print("ready", file=sys.__stdout__, flush=True)  # Celery takes sys.stdout for its log

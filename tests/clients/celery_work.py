"""Celery with real workers, broker and results on one node: retries, a chord, a worker that is killed over its task.

Usage: celery_work.py PORT     The workers import this file, and find the port in BALAS_PORT.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from celery import Celery, chain, chord, group

PORT = os.environ.get("BALAS_PORT") or sys.argv[1]
PATIENCE_S = 90
# What a worker has taken and not acknowledged for so long is given to another. Only the one that takes over is to be
# quick: a task that is done twice because the machine is slow would be counted twice.
VISIBILITY_S = int(os.environ.get("BALAS_VISIBILITY_S", "3600"))
TAKES_OVER_S = 3

app = Celery("celery_work", broker=f"redis://127.0.0.1:{PORT}/0", backend=f"redis://127.0.0.1:{PORT}/1")
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "visibility_timeout": VISIBILITY_S,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
    result_expires=600,
    task_track_started=True,
)


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=5)
def works_the_third_time(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return self.request.retries


@app.task
def fails(text):
    raise ValueError(text)


@app.task(bind=True)
def ends_only_when_delivered_again(self, marker):
    """Hangs the first time, until its worker is killed."""
    if not self.request.delivery_info.get("redelivered") and not os.path.exists(marker):
        Path(marker).touch()
        while True:
            time.sleep(0.1)
    return "done by another"


def start_worker(name, log, visibility_s=VISIBILITY_S):
    command = [sys.executable, "-m", "celery", "--app", "celery_work", "worker", "--hostname", name]
    command += ["--concurrency", "2", "--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    environment = {**os.environ, "BALAS_PORT": PORT, "PYTHONDONTWRITEBYTECODE": "1"}
    environment["BALAS_VISIBILITY_S"] = str(visibility_s)
    # A session of its own, so that the process and its children are killed together.
    return subprocess.Popen(
        command, cwd=Path(__file__).parent, env=environment, stdout=log, stderr=log, start_new_session=True
    )


def end(worker, how):
    if worker.poll() is None:
        os.killpg(worker.pid, how) if how == signal.SIGKILL else worker.send_signal(how)
    return worker.wait(timeout=PATIENCE_S)


def every_kind_of_task():
    assert add.delay(2, 3).get(timeout=PATIENCE_S) == 5
    assert group(add.s(n, n) for n in range(40))().get(timeout=PATIENCE_S) == [2 * n for n in range(40)]
    assert chord(add.s(n, 1) for n in range(20))(total.s()).get(timeout=PATIENCE_S) == 210
    assert chain(add.s(1, 2), add.s(3), add.s(4))().get(timeout=PATIENCE_S) == 10
    # One chord behind another.
    steps = chain(add.s(1, 1), group(add.s(n) for n in range(5)), total.s(), add.s(100))
    assert steps().get(timeout=PATIENCE_S) == 120
    assert works_the_third_time.delay().get(timeout=PATIENCE_S) == 2
    failed = fails.delay("of no use")
    try:
        failed.get(timeout=PATIENCE_S)
        raise AssertionError("a failure is told")
    except ValueError as failure:
        assert str(failure) == "of no use" and failed.status == "FAILURE"
    assert add.apply_async((1, 1), countdown=0.5).get(timeout=PATIENCE_S) == 2


def a_worker_is_killed_over_its_task(worker, folder, log):
    marker = os.path.join(folder, "taken")
    task = ends_only_when_delivered_again.delay(marker)
    deadline = time.monotonic() + PATIENCE_S
    while not os.path.exists(marker):
        assert time.monotonic() < deadline, "nobody takes the task"
        time.sleep(0.02)
    assert task.status in ("PENDING", "STARTED")
    end(worker, signal.SIGKILL)
    other = start_worker("second@localhost", log, TAKES_OVER_S)
    try:
        assert task.get(timeout=PATIENCE_S) == "done by another"
    finally:
        # It ends on being asked, when its tasks are done.
        assert end(other, signal.SIGTERM) == 0
    client = app.backend.client
    broker = app.connection().default_channel.client
    assert broker.hlen("unacked") == 0 and broker.zcard("unacked_index") == 0 and broker.llen("celery") == 0
    assert client.ttl(f"celery-task-meta-{task.id}") > 0


def main():
    # Also when it is ended from outside, its worker ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, open(os.path.join(folder, "log"), "w+b") as log:
        worker = start_worker("first@localhost", log)
        try:
            every_kind_of_task()
            print(f"tasks: {time.monotonic() - started:.2f} s")
            a_worker_is_killed_over_its_task(worker, folder, log)
            print(f"and a worker killed: {time.monotonic() - started:.2f} s")
        except BaseException:
            log.seek(0)
            print(log.read().decode(errors="replace"))
            raise
        finally:
            end(worker, signal.SIGKILL)


if __name__ == "__main__":
    main()

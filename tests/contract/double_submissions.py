"""One of several processes that give the same one-time codes at the same time: the child of a test."""

import multiprocessing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

from kmsgw.authn import totp
from kmsgw.authn.second_factor import SecondFactorOfOfficers
from kmsgw.errors import AccessDenied, Reason
from kmsgw.model.officer import Lockout
from kmsgw.operations.verb import Trail
from kmsgw.storage import Database
from kmsgw.storage.officers import open_officers
from tests.contract.key_store_backends import PATIENT
from tests.contract.second_factor_bench import RULES, OpenSecrets

PROCESSES = 3
TOGETHER = 20
"""Codes after which the processes wait for each other, so that none runs ahead."""

Told = tuple[list[int], int]


def submit(database: Database, secret: bytes, first: int, count: int, start: Barrier, told: "Queue[Told]") -> None:
    """Give the codes of `count` steps in step with the others; tell the accepted steps, and how many were refused."""
    store = open_officers(database, PATIENT)
    # Two in three submissions are refused: no lock must do the refusing.
    rules = replace(RULES, lockout=Lockout(10**9, timedelta(seconds=1)))
    factor = SecondFactorOfOfficers(store, OpenSecrets(), rules)
    accepted: list[int] = []
    refused = 0
    for step in range(first, first + count):
        code, now = totp.code_at(secret, step), datetime.fromtimestamp(step * totp.STEP_SECONDS + 7, UTC)
        if (step - first) % TOGETHER == 0:
            start.wait(300)
        try:
            factor.spend("amira", code, now, Trail())
            accepted.append(step)
        except AccessDenied as error:
            assert error.reason is Reason.CODE_REFUSED, error.reason
            refused += 1
    store.close()
    told.put((accepted, refused))


def submit_doubles(database: Database, secret: bytes, first: int, count: int) -> list[Told]:
    """Run the processes and return what each tells."""
    context = multiprocessing.get_context("spawn")
    start, told = context.Barrier(PROCESSES), context.Queue()
    arguments = (database, secret, first, count, start, told)
    children = [context.Process(target=submit, args=arguments) for _ in range(PROCESSES)]
    for child in children:
        child.start()
    answers = [told.get(timeout=300 + count) for _ in children]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    told.close()
    return answers

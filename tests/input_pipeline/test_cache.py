"""The in-memory cache: items are read once, within its memory, by any number of threads."""

import threading
import time

from input_pipeline.cache import MemoryCache


def counting(n_bytes=10, memory=100, delay=0.0):
    reads = []

    def read(i):
        time.sleep(delay)
        reads.append(i)
        return [i]

    return MemoryCache(read, lambda item: n_bytes, memory), reads


def test_an_item_is_read_when_it_is_first_asked_for_and_kept():
    once, reads = counting()
    assert reads == []
    assert once[3] is once[3]
    assert once[3] == [3]
    assert reads == [3]


def test_what_has_no_room_is_read_again_and_what_is_kept_stays():
    once, reads = counting(n_bytes=40, memory=100)
    for _ in range(2):
        for i in range(3):
            assert once[i] == [i]
    assert reads == [0, 1, 2, 2]


def test_nothing_is_kept_without_memory():
    once, reads = counting(memory=0)
    assert once[0] == once[0] == [0]
    assert reads == [0, 0]


def test_threads_that_ask_for_one_item_share_one_reading():
    once, reads = counting(delay=0.02)
    threads = [threading.Thread(target=once.__getitem__, args=(5,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reads == [5]

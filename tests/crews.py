"""A crew of several processes as threads of this one, for tests of what is shared out."""

import threading

from torch.distributed import HashStore

from wend.errors import ToldError
from wend.launch.crew import Crew


class ThreadCrew(Crew):
    """A process of a crew that is a thread."""

    def __init__(self, rank, size, store):
        super().__init__()
        self.rank, self.size, self._store = rank, size, store

    def __enter__(self):
        return self


def together(size, task):
    """The results of ``task(crew)`` of each process; the first error of one is raised."""
    store, results, errors = HashStore(), [None] * size, []

    def run(rank):
        try:
            results[rank] = task(ThreadCrew(rank, size, store))
        except BaseException as error:
            errors.append((isinstance(error, ToldError), rank, error))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise min(errors)[2]
    return results

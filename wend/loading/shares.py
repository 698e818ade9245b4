"""How several processes share out the images of an evaluation."""

from __future__ import annotations

from wend.processes import rank, world_size


def own_share(total: int, batch: int) -> range:
    """The images that this process evaluates: batches that a single process would make, too.

    So each image is in a batch with the same others however many processes there are, and gathered
    in the order of processes all are in their order.

    Args:
        total: images of the data set.
        batch: images of a batch.
    """
    batches = -(-total // batch)
    first, last = (batches * index // world_size() * batch for index in (rank(), rank() + 1))
    return range(min(first, total), min(last, total))

"""The statements that are put to the test, each with the runs and the quantity that decide it.

They are those of an example program for tensor-parallel training, in our words: it runs the two modes
of one linear layer on two GPUs with torch.distributed.
"""

from tools.observations import patterns, performance, profiling
from tools.observations.statement import Settings, Statement


def statements(settings: Settings) -> list[Statement]:
    makers = performance.STATEMENTS + patterns.STATEMENTS + profiling.STATEMENTS
    return [make(settings) for make in makers]

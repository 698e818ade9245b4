"""Ends a process at a milestone of STARTUP_MILESTONE; Python imports this first of all.

``step``: the first step of an optimizer is done. ``forward``: the first images have gone through a
network that evaluates. Unset: the process ends by itself. Nothing is imported for it: torch's
modules get their hook when they are imported.
"""

import importlib.util
import os
import sys


def end(*_):
    """End this process."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def after_a_step(module):
    """Hook into ``torch.optim.optimizer``."""
    module.register_optimizer_step_post_hook(end)


def after_a_forward(module):
    """Hook into ``torch.nn.modules.module``."""
    depth = 0

    def enter(*_):
        nonlocal depth
        depth += 1

    def leave(layer, *_):
        nonlocal depth
        depth -= 1
        if not depth and not layer.training:
            end()

    module.register_module_forward_pre_hook(enter)
    module.register_module_forward_hook(leave)


MILESTONES = {
    "step": ("torch.optim.optimizer", after_a_step),
    "forward": ("torch.nn.modules.module", after_a_forward),
}


class Watch:
    """Finds one module as others would, and calls a function once it is imported."""

    def __init__(self, name, done):
        self.name, self.done = name, done

    def find_spec(self, name, path=None, target=None):
        """The module's spec, whose loader calls the function."""
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            self.done(module)

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get("STARTUP_MILESTONE"):
    sys.meta_path.insert(0, Watch(*MILESTONES[os.environ["STARTUP_MILESTONE"]]))

"""Lets Accelerate use FSDP on processors without a GPU, which torch can and it refuses.

On the path of the processes that a test starts; Python runs this file first.
"""

import os

if os.environ.get("ACCELERATE_USE_FSDP") == "true" and "RANK" in os.environ:
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    as_it_is = AcceleratorState.__init__

    def with_fsdp(self, *args, fsdp_plugin=None, **kwargs) -> None:
        """As it is, and then what it does where there are GPUs."""
        as_it_is(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        self.distributed_type = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin or self._shared_state.get("fsdp_plugin")
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = with_fsdp

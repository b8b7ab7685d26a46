"""Keys and values of tokens that were read, in memory that has room for more of them."""

from torch import Tensor
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

ROOM = 64  # tokens that can follow before keys and values are copied again


class RoomyLayer(DynamicLayer):
    """One block's cache: a token is written behind the others, which stay in place.

    transformers' own makes a new tensor of all tokens for each one that follows. What
    selects rows or cuts tokens works as there, and costs one copy at the next token.
    """

    def lazy_initialization(self, keys: Tensor, values: Tensor) -> None:
        super().lazy_initialization(keys, values)
        self.keys, self.values = keys[:, :, :0], values[:, :, :0]
        self.rooms = {"keys": self.keys, "values": self.values}

    def update(self, keys: Tensor, values: Tensor, *_, **__) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self.keys = self._followed("keys", self.keys, keys)
        self.values = self._followed("values", self.values, values)
        return self.keys, self.values

    def _followed(self, name: str, held: Tensor, new: Tensor) -> Tensor:
        """The held tokens (B, heads, L, D) and the new ones behind them."""
        start, stop = held.shape[2], held.shape[2] + new.shape[2]
        room = self.rooms[name]
        if held.data_ptr() != room.data_ptr() or room.shape[2] < stop:
            room = new.new_empty(*new.shape[:2], stop + ROOM, new.shape[3])
            room[:, :, :start] = held
            self.rooms[name] = room
        room[:, :, start:stop] = new
        return room[:, :, :stop]


def roomy_cache(config: PretrainedConfig) -> DynamicCache:
    """A cache for generation; blocks that keep a window of tokens only have their own."""
    cache = DynamicCache(config=config)
    cache.layers = [
        RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache

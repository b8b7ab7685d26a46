"""Policy and critic, two parts of one model, with rates and clipping of their own."""

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_


class InParts:
    """Mix-in for a `Trainer` whose model names the parameters of its `parts()`."""

    def create_optimizer(self, model: nn.Module | None = None):
        """The optimiser that the arguments name, with a learning rate for each part."""
        if self.optimizer is None:
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = kind(self.groups(), **settings)
        return self.optimizer

    def groups(self) -> list[dict]:
        """The parameters by part, and by whether `weight_decay` holds for them.

        It holds for those that `Trainer.get_decay_parameter_names` names: all but norms
        and biases, so embeddings too.
        """
        rates = {
            "policy": self.args.learning_rate,
            "critic": self.args.critic_learning_rate,
        }
        names = set(self.get_decay_parameter_names(self.model))
        decays = {id(p) for name, p in self.model.named_parameters() if name in names}
        groups = []
        for name, part in self.model.parts().items():
            for own, decay in ((True, self.args.weight_decay), (False, 0.0)):
                params = [p for p in part if (id(p) in decays) == own]
                common = {"lr": rates[name], "weight_decay": decay}
                groups.append({"params": params, **common})
        return [group for group in groups if group["params"]]

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """Clip policy and critic each by itself: one must not slow the other down."""
        if self.accelerator.sync_gradients:
            self.accelerator.unscale_gradients()
        norms = [
            clip_grad_norm_(part, self.args.max_grad_norm)
            for part in self.model.parts().values()
        ]
        return torch.stack(norms).norm()

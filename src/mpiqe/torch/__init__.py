"""MP-IQE in a training script: a metric and a loss on batches of tensors, differentiable to the pixels; a reward.

::

    metric = mpiqe.torch.create_metric()
    scores = metric(images)  # (N, 3, H, W) in [0, 1] -> (N,)
    loss = mpiqe.torch.create_metric(as_loss=True)
    loss(generator(noise).clamp(0, 1)).backward()
"""

from mpiqe.extras import needing

with needing("as a PyTorch module"):
    from mpiqe.torch.factory import create_metric
    from mpiqe.torch.loss import QualityLoss
    from mpiqe.torch.metric import Images, QualityMetric

__all__ = ["Images", "QualityLoss", "QualityMetric", "create_metric"]

"""What happens inside a recurrent layer: how far back the gradient of a loss reaches, and what each step adds to it."""

from rnnapps.inspect.flow import GradientFlow, gradient_flow

__all__ = ["GradientFlow", "gradient_flow"]

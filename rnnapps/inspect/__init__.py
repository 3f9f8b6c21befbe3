"""What happens inside a recurrent layer: how far back gradients reach, and the program that XLA makes of a model."""

from rnnapps.inspect.flow import GradientFlow, gradient_flow
from rnnapps.inspect.program import counts, custom_calls, gradient_hlo, hlo

__all__ = ["GradientFlow", "counts", "custom_calls", "gradient_flow", "gradient_hlo", "hlo"]

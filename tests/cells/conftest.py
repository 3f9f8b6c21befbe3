"""Tests that run as plain Python, and traced in the full tier."""

from traced import eager_and_traced as eager_and_traced

"""Parametric objects with parts and normals, for runs without a download."""

from mae3d.datasets.simulators.objects import devices, furniture, household, vehicles
from mae3d.datasets.simulators.objects.categories import CATEGORIES, Category

__all__ = ["CATEGORIES", "Category", "devices", "furniture", "household", "vehicles"]

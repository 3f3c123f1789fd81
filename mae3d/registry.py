"""Registries: the names that configs and command lines use.

All are children of mmengine's, so ``type="PointPatchEmbed"`` and ``type=PointPatchEmbed`` both build.
"""

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope="mae3d", locations=list(locations))


MODELS = _child("model", mmengine_registry.MODELS, "mae3d.models", "mae3d.datasets.preprocessor")
DATASETS = _child("dataset", mmengine_registry.DATASETS, "mae3d.datasets")
DATA_SAMPLERS = _child("data sampler", mmengine_registry.DATA_SAMPLERS, "mae3d.engine")
TRANSFORMS = _child("transform", mmengine_registry.TRANSFORMS, "mae3d.datasets.transforms")
METRICS = _child("metric", mmengine_registry.METRICS, "mae3d.evaluation")
HOOKS = _child("hook", mmengine_registry.HOOKS, "mae3d.engine")
LOOPS = _child("loop", mmengine_registry.LOOPS, "mae3d.engine")
OPTIM_WRAPPERS = _child("optim wrapper", mmengine_registry.OPTIM_WRAPPERS, "mae3d.engine")
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    "optim wrapper constructor", mmengine_registry.OPTIM_WRAPPER_CONSTRUCTORS, "mae3d.engine"
)
PARAM_SCHEDULERS = _child("parameter scheduler", mmengine_registry.PARAM_SCHEDULERS, "mae3d.engine")
STRATEGIES = _child("strategy", mmengine_registry.STRATEGIES, "mae3d.engine")
OPTIMIZERS = _child("optimizer", mmengine_registry.OPTIMIZERS, "mae3d.engine")
MODEL_WRAPPERS = _child("model wrapper", mmengine_registry.MODEL_WRAPPERS, "mae3d.engine")
VISUALIZERS = _child("visualizer", mmengine_registry.VISUALIZERS, "mae3d.engine")
VISBACKENDS = _child("vis_backend", mmengine_registry.VISBACKENDS, "mae3d.engine")
LOG_PROCESSORS = _child("log processor", mmengine_registry.LOG_PROCESSORS, "mae3d.engine")
EVALUATOR = _child("evaluator", mmengine_registry.EVALUATOR, "mae3d.evaluation")
FUNCTIONS = _child("function", mmengine_registry.FUNCTIONS, "mae3d.engine")
WEIGHT_INITIALIZERS = _child("weight initializer", mmengine_registry.WEIGHT_INITIALIZERS, "mae3d.models")

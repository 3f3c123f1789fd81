"""Overall accuracy, for the engine's tests."""

from mmengine.evaluator import BaseMetric


class Accuracy(BaseMetric):
    def process(self, data_batch, data_samples) -> None:
        self.results += [int(sample["pred"].argmax()) == int(sample["label"]) for sample in data_samples]

    def compute_metrics(self, results) -> dict[str, float]:
        return {"accuracy": sum(results) / len(results)}

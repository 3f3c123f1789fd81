import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from mae3d.errors import DataError
from mae3d.visualization.curves import line_chart, read_scalars
from mae3d.visualization.report import Report


def test_report_escapes_text_and_embeds_pictures(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    report = Report("a < b")
    report.heading("x & y")
    report.table(["name", "value"], [["<script>", 3.5]])
    report.image(picture, "a picture")
    report.figure(line_chart({"loss": [(0, 1.0), (1, 0.5)]}, x_label="step", y_label="loss"), "a curve")
    text = report.save(tmp_path / "sub" / "report.html").read_text()

    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "http" not in text  # nothing is loaded from elsewhere
    pictures = [base64.b64decode(data) for data in re.findall(r"base64,([^\"]+)", text)]
    assert len(pictures) == 2
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(pictures[0]))), picture)
    assert not list(tmp_path.glob("sub/*.tmp"))


def test_scalars_are_read_by_name_and_step(tmp_path):
    path = tmp_path / "scalars.json"
    path.write_text('{"loss": 2.0, "step": 1}\n{"loss": 1.0, "lr": 0.1, "note": "x", "step": 2}\n')
    assert read_scalars(path) == {"loss": [(1, 2.0), (2, 1.0)], "lr": [(2, 0.1)]}


@pytest.mark.parametrize("content", ['{"loss": 1.0}\n', "not json\n", "[1]\n"])
def test_malformed_scalars_name_the_line(tmp_path, content):
    path = tmp_path / "scalars.json"
    path.write_text('{"loss": 2.0, "step": 1}\n' + content)
    with pytest.raises(DataError, match="line 2"):
        read_scalars(path)


def test_missing_scalars_name_the_file(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.json"):
        read_scalars(tmp_path / "nothing.json")

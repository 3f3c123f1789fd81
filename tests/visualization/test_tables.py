"""Tables as text."""

from mae3d.visualization.tables import markdown_table, plain_table

ROWS = [["labels", "mAP"], ["5 %", "1.5"], ["100 %", "32.0 ± 0.4"]]


def test_columns_are_aligned():
    assert plain_table(ROWS).splitlines() == ["labels  mAP", "5 %     1.5", "100 %   32.0 ± 0.4"]


def test_markdown():
    expected = ["| labels | mAP |", "| --- | ---: |", "| 5 % | 1.5 |", "| 100 % | 32.0 ± 0.4 |"]
    assert markdown_table(ROWS).splitlines() == expected

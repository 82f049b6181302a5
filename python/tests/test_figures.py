import tempfile
import unittest
from pathlib import Path
from unittest import mock

from stpn import figures


class FiguresTest(unittest.TestCase):
    def assert_spread(self, heights, gap, expected):
        for got, wanted in zip(figures.spread(heights, gap), expected, strict=True):
            self.assertAlmostEqual(got, wanted)

    def test_names_move_apart_as_little_as_needed(self):
        self.assert_spread([], 0.1, [])
        self.assert_spread([0.7], 0.1, [0.7])
        self.assert_spread([0.5, 0.2], 0.1, [0.5, 0.2])
        self.assert_spread([0.5, 0.5], 0.1, [0.45, 0.55])
        self.assert_spread([0.52, 0.48, 0.9], 0.1, [0.55, 0.45, 0.9])
        # The lower two move apart and onto the third: all three are centred on their mean, 0.42.
        self.assert_spread([0.39, 0.39, 0.48], 0.1, [0.32, 0.42, 0.52])

    def test_names_stay_inside(self):
        self.assert_spread([1, 1, 1], 0.1, [0.8, 0.9, 1])
        self.assert_spread([0, 0, 0.05], 0.1, [0, 0.1, 0.2])
        self.assert_spread([1] * 5, 0.5, [0, 0.25, 0.5, 0.75, 1])

    def test_every_format_can_be_written(self):
        self.assertIn("png", figures.formats())
        with tempfile.TemporaryDirectory() as folder:
            for name in figures.formats():
                figure, axes = figures.plt.subplots(figsize=(1, 1))
                axes.plot([1, 2])
                path = Path(folder) / f"a.{name}"
                figures.check_format(path)
                figures.save(figure, path)
                self.assertGreater(path.stat().st_size, 0, name)

    def test_a_figure_that_fails_leaves_the_one_before(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.png"
            path.write_text("before")
            figure, axes = figures.plt.subplots(figsize=(1, 1))
            axes.plot([1, 2])
            with mock.patch("PIL.Image.open", side_effect=OSError), self.assertRaises(OSError):
                figures.save(figure, path)
            self.assertEqual([file.name for file in Path(folder).iterdir()], ["a.png"])
            self.assertEqual(path.read_text(), "before")

    def test_names_at_the_ends_of_lines_do_not_overlap(self):
        figure, axes = figures.plt.subplots(layout="constrained")
        self.addCleanup(figures.plt.close, figure)
        axes.plot([0, 1])
        figures.name_ends(axes, [(f"name {i}", 1, 0.5 + 0.001 * i, "k") for i in range(12)])
        figure.draw_without_rendering()
        boxes = sorted((figures.matplotlib.text.Text.get_window_extent(text) for text in axes.texts),
                       key=lambda box: box.y0)  # without the thin lines
        self.assertEqual(len(boxes), 12)
        for below, above in zip(boxes, boxes[1:]):
            self.assertLessEqual(below.y1, above.y0 + 1)  # pixel
        self.assertLessEqual(boxes[0].x1, figure.bbox.x1)


if __name__ == "__main__":
    unittest.main()

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from golden_study import golden_study
from golden_tables import golden_table
from made_up import MadeUpStudy, whole_study

from depthcheck.pipeline.scores import AUC, R2
from depthcheck.reports import figures
from depthcheck.reports.compare.comparison import compare_study
from depthcheck.reports.compare.study_data import Factor, StudyDesign
from depthcheck.reports.figures import all_drawings, curves, differences, predictions, trials
from depthcheck.reports.figures.style import COLORS, LINES, MARKERS, new_figure, picture, share_scale
from depthcheck.reports.text.answer import answer
from depthcheck.reports.text.context import confusion, first_layer_gradient
from depthcheck.reports.text.report import sections
from depthcheck.reports.write import make_report

SVG = "{http://www.w3.org/2000/svg}"


compared = compare_study


@pytest.fixture(scope="module")
def study():
    return whole_study(epochs=4, depths=(0, 1, 2))


@pytest.fixture(scope="module")
def comparison(study):
    return compared(study)


def test_all_figures_of_the_protocol_are_there(study, comparison):
    names = [one.name for one in all_drawings(study, comparison)]
    assert names == [
        "effort-by-depth",
        "effort-by-optimizer",
        "trials-by-depth",
        "trials-by-optimizer",
        "curves",
        "gradients",
        "learning-rate",
        "cost",
        "confusion",
    ]


def test_the_recipe_for_another_figure_gives_one_in_the_report(study, comparison, monkeypatch):
    recipe = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8").split("```python\n")[1]
    toy: dict[str, object] = {}
    exec(recipe.split("figures.FIGURES.append")[0], toy)
    monkeypatch.setattr(figures, "FIGURES", [*figures.FIGURES, toy["sizes"]])
    report = make_report(study, comparison)
    assert ET.fromstring(picture(report.figures["figures/sizes.svg"].draw)).tag == f"{SVG}svg"
    caption = f"*Figure {len(report.figures)}.* Of {len(study.records)} trials."
    assert f"![Seconds by parameters](figures/sizes.svg)\n\n{caption}" in report.appendix


def test_every_figure_is_an_svg_and_the_same_bytes_again(study, comparison):
    for first, again in zip(all_drawings(study, comparison), all_drawings(study, comparison), strict=True):
        content = picture(first.draw)
        assert ET.fromstring(content).tag == f"{SVG}svg"
        assert content == picture(again.draw), first.name
        assert b"mathdefault" not in content, first.name  # formulas are switched off


def test_every_caption_says_of_how_many(study, comparison):
    for one in all_drawings(study, comparison):
        assert any(character.isdigit() for character in one.caption) or one.name in ("gradients",), one.name
        assert one.caption.endswith("."), one.name


def test_drawing_leaves_matplotlib_as_it_was(study, comparison):
    before = dict(mpl.rcParams)
    picture(all_drawings(study, comparison)[0].draw)
    assert dict(mpl.rcParams) == before


def test_series_differ_in_more_than_colour():
    looks = list(zip(MARKERS, map(str, LINES), strict=True))
    assert len(COLORS) == len(looks) == len(set(looks))


def test_trials_are_of_the_compare_phase_and_the_best_is_marked(study):
    of = next(of for of in trials.compute_trials(study.design.factors[0], study) if of.level == "2")
    at = [r for r in study.records if r.phase == "compare" and r.config.model.depth == 2 and r.state != "failed"]
    assert len(of.scores) == len(at)
    assert of.scores[of.best] == of.scores.max()


def test_stuck_trials_are_told_apart():
    levels = trials.compute_trials(golden_study().design.factors[0], golden_study())
    assert [int(of.stuck.sum()) for of in levels] == [0, 0, 0, 8]


def test_effort_is_drawn_from_the_comparison_scores_above_and_differences_below(study, comparison):
    question = comparison.questions[0]
    assert (comparison.search.subset, comparison.search.n_settings) == (3, 8)
    above, below = differences.draw_effort(question, comparison, comparison.search).axes
    reference = next(curve for curve in question.curves if curve.level == "1")
    line = next(line for line in above.lines if line.get_label() == "1")
    assert list(line.get_ydata()) == pytest.approx([one.estimate for one in reference.scores])
    assert {line.get_label() for line in above.lines} >= {"0", "1", "2"}
    assert "1" not in {line.get_label() for line in below.lines}
    drawn = next(line for line in below.lines if line.get_label() == "2")
    other = next(curve for curve in question.curves if curve.level == "2")
    assert list(drawn.get_ydata()) == pytest.approx([100 * one.estimate for one in other.differences])


def test_effort_is_read_where_the_answer_is(study, comparison):
    question = comparison.questions[0]
    for contrast in question.contrasts:
        curve = next(curve for curve in question.curves if curve.level == contrast.level)
        assert curve.differences[curve.subsets.index(comparison.search.subset)] == contrast.difference


def test_effort_is_not_drawn_before_every_network_is_scored(study):
    unscored = dataclasses.replace(study, predictions={})
    assert list(differences.effort(unscored, compared(unscored))) == []


def test_more_levels_than_colours_keep_the_reference_and_the_best_in_colour():
    made = MadeUpStudy(depths=tuple(range(1, 12)), optimizers=("sgd",), common_settings=4, epochs=2).run(
        failed=0, diverged=0
    )
    comparison = compared(made.data())
    levels = differences.told_apart(comparison.questions[0])
    ends = {curve.level: curve.scores[-1].estimate for curve in comparison.questions[0].curves}
    assert len(levels) == len(COLORS)
    assert {"1", max(ends, key=ends.get)} <= set(levels)
    assert "Grey: the other 4 levels." in next(differences.effort(made.data(), comparison)).caption


def test_differences_of_a_search_are_drawn_by_effort_alone(study, comparison):
    assert list(differences.paired_differences(study, comparison)) == []


def test_differences_of_chosen_configurations_are_those_of_the_comparison():
    study = MadeUpStudy(epochs=2).chosen()
    comparison = compared(study)
    (drawing,) = differences.paired_differences(study, comparison)
    assert "paired by seed. Each circle is one of 5 seeds" in drawing.caption
    assert picture(drawing.draw)
    axes = drawing.draw().axes[0]
    contrasts = comparison.questions[0].contrasts
    assert [label.get_text() for label in axes.get_yticklabels()] == [of.level for of in contrasts]
    assert [of.verdict.word for of in contrasts] == ["helps"]
    assert [text.get_text() for text in axes.texts] == ["better"]
    diamonds = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"]
    assert diamonds == [100 * of.difference.estimate for of in contrasts]


def test_an_interval_of_scores_alone_names_no_examples():
    study = MadeUpStudy(epochs=2).chosen()
    blind = dataclasses.replace(study, predictions={}, design=dataclasses.replace(study.design, metric=AUC))
    (drawing,) = differences.paired_differences(blind, compared(blind))
    assert "their mean with its 95 % interval over seeds alone." in drawing.caption
    assert "5 seeds alone)" in answer(compared(blind))[0]


def test_curves_hold_every_run_of_a_finalist(study, comparison):
    finalists = curves.compute_curves(study, comparison.finalists)
    assert len(finalists) == len(study.finalists) == 2
    assert all(of["valid_loss"].shape == (5, 4) for _, _, of in finalists)
    once = [r for r in study.records if r.phase != "confirm" or r.config.fit.seed == study.facts.seeds[0]]
    drawing = next(curves.training_curves(dataclasses.replace(study, records=tuple(once)), comparison))
    assert "by epoch: mean over 1 fresh seed each, with the range" in drawing.caption


def test_curves_of_a_diverged_run_are_drawn_as_far_as_they_are_finite(study):
    first = next(r for r in study.records if r.phase == "confirm")
    loss = (1.0, float("inf"), float("nan"), float("nan"))
    history = dataclasses.replace(first.history, train_loss=loss, valid_loss=loss)
    bad = dataclasses.replace(first, state="diverged", history=history)
    changed = dataclasses.replace(study, records=tuple(bad if r is first else r for r in study.records))
    assert picture(next(curves.training_curves(changed, compared(changed))).draw)


def test_gradients_are_means_over_runs_in_the_order_of_layers(study, comparison):
    finalists = curves.compute_gradients(study, comparison.finalists)
    legend = curves.draw_gradients(finalists, study.design.metric).legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["hidden 1", "hidden 2", "output"]
    assert "the output black" in next(curves.gradients(study, comparison)).caption
    deep = next(one for one in finalists if "depth 2" in one.label)
    run = next(iter(study.confirm_runs(deep.label.split("\n")[0])))
    epochs, values = deep.norms["hidden_1"]
    assert epochs == (1, 2, 3, 4)
    assert values == pytest.approx(tuple(study.diagnostics[run.run_id]["gradient_norm/hidden_1"].values()))
    assert set(deep.saturation) == {"hidden_1", "hidden_2"}


@pytest.mark.parametrize(
    ("hidden", "output", "named", "black"),
    [
        ("hidden_{}", "number", ["hidden 1", "hidden 2", "output"], 1),
        ("dense_{}", "dense", ["dense", "dense 1", "dense 2"], 0),
    ],
)
def test_output_is_known_by_its_name_alone(study, hidden, output, named, black):
    names = {"logits": output, "hidden_1": hidden.format(1), "hidden_2": hidden.format(2)}
    diagnostics = {
        run_id: {f"gradient_norm/{names[key.split('/')[1]]}": of for key, of in found.items() if key.startswith("grad")}
        for run_id, found in study.diagnostics.items()
    }
    other = dataclasses.replace(study, diagnostics=diagnostics)
    finalists = curves.compute_gradients(other, compared(other).finalists)
    figure = curves.draw_gradients(finalists, study.design.metric)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == named
    assert [line.get_color() for line in figure.legends[0].get_lines()].count("black") == black
    assert {text.get_text() for axes in figure.axes for text in axes.texts} == {"no activation to watch"}
    told = [first_layer_gradient(other, one.id) for one in other.finalists]
    assert any(told) == (black == 1)


def test_learning_rates_show_the_range_of_each_optimizer_that_has_one(study):
    optimizers = trials.compute_learning_rates(study, study.design.factors[0])
    assert {name: searched for name, searched, _ in optimizers} == {"sgd": (3e-3, 0.5), "adam": (1e-4, 1e-2)}
    caption = next(trials.learning_rates(study, None)).caption
    assert "range that was searched for that optimizer. Markers tell the depth." in caption
    lists = dataclasses.replace(study, design=dataclasses.replace(study.design, ranges=()))
    assert "white area" not in next(trials.learning_rates(lists, None)).caption


def test_markers_of_learning_rates_are_the_levels_that_the_tables_count(study):
    factor = Factor.of("activation", ("relu", "tanh"))
    records = tuple(
        dataclasses.replace(r, tags={**r.tags, "activation": "tanh"}) for r in study.records if not r.config.model.depth
    )
    optimizers = trials.compute_learning_rates(dataclasses.replace(study, records=records), factor)
    assert {level for _, _, points in optimizers for *_, level in points} == {"tanh"}


def test_fixed_learning_rate_has_no_figure(study):
    fixed = [
        dataclasses.replace(
            r,
            config=dataclasses.replace(r.config, optimizer=dataclasses.replace(r.config.optimizer, learning_rate=0.01)),
        )
        for r in study.records
    ]
    assert list(trials.learning_rates(dataclasses.replace(study, records=tuple(fixed)), None)) == []


def test_no_trial_is_faster_and_better_than_the_front(study, comparison):
    axes = next(trials.costs(study, comparison)).draw().axes[0]
    drawn = {line.get_label(): line for line in axes.lines}
    front = drawn["no trial is faster and better"].get_xydata()
    for seconds, score in drawn["trial"].get_xydata():
        assert max(best for at, best in front if at <= seconds) >= score


def test_crosses_of_costs_are_those_that_learned_nothing_of_their_training_part(study, comparison):
    def costs(records):
        return next(trials.costs(dataclasses.replace(study, records=tuple(records)), comparison))

    first = next(r for r in study.records if r.phase == "compare" and r.state == "finished")
    others = [r for r in study.records if r is not first]
    valid = dataclasses.replace(
        first.evaluation("valid"), score=0.05
    )  # its training part was learned by heart, perhaps
    poor = costs([dataclasses.replace(first, evaluations=(valid,)), *others])
    assert "cross" not in poor.caption
    drawn = next(line for line in poor.draw().axes[0].lines if line.get_label() == "trial")
    assert 0.05 in drawn.get_xydata()[:, 1].round(6)
    flat = dataclasses.replace(first.history, train_score=(0.1,) * first.history.n_epochs)
    stuck = dataclasses.replace(first, history=flat, evaluations=(valid,))
    assert "A cross never beat the dummy baseline." in costs([stuck, *others]).caption


def test_confusion_is_of_the_recommended_model_over_its_runs(study, comparison):
    finalist = comparison.recommendation.recommended.finalist.id
    runs = study.confirm_runs(finalist)
    table, names, n_runs = confusion(study, runs)
    assert n_runs == 5
    assert table.sum() == 5 * 10_000
    right = np.mean([(study.predictions[r.run_id].predicted == study.predictions[r.run_id].y).mean() for r in runs])
    assert np.trace(table) / table.sum() == pytest.approx(right)
    (drawing,) = predictions.confusion_matrix(study, comparison)
    assert drawing.caption.startswith(f"What {finalist}, the recommended model, takes for what")
    assert "10,000 test examples in all, mean over 5 runs." in drawing.caption
    drawn = drawing.draw().axes[0].images[0].get_array()
    assert drawn.shape == (len(names), len(names))
    assert drawn.filled(0).sum(axis=1) == pytest.approx(100 * (1 - np.diag(table) / table.sum(axis=1)))


def test_errors_are_the_mean_of_the_runs_that_have_predictions_and_know_no_weights(study, comparison):
    finalist = comparison.recommendation.recommended.finalist.id
    said = {run.run_id: study.predictions[run.run_id] for run in study.confirm_runs(finalist)[1:]}
    said = {run_id: dataclasses.replace(of, weight=np.ones(len(of.y))) for run_id, of in said.items()}
    study = dataclasses.replace(study, predictions=said)
    (drawing,) = predictions.confusion_matrix(study, comparison)
    over = "mean over 4 runs; each row counts once, whatever it weighs."
    assert over in drawing.caption
    assert over in " ".join(sections(comparison, study)["appendix"].split())


def test_scores_that_span_little_are_spaced_evenly_and_others_by_the_error():
    for values, is_log in (((0.80, 0.85), False), ((0.2, 0.98), True), ((-1.0, 0.5), False), ((1.0, 1.0), False)):
        axes = new_figure(2).subplots()
        scale = share_scale(axes, values)
        assert scale.is_log is is_log
        low, high = axes.get_ylim()
        if min(values) >= 0:
            assert low < min(values)
            assert high >= max(values)


def test_a_perfect_score_has_its_place_on_an_axis_of_errors():
    axes = new_figure(2).subplots()
    assert share_scale(axes, (0.7, 0.95, 1.0)).is_log
    low, ninety, nearly, perfect, high = axes.yaxis.get_transform().transform(
        [axes.get_ylim()[0], 0.9, 0.9998, 1.0, axes.get_ylim()[1]]
    )
    assert low < ninety < nearly < perfect < high


def test_the_place_for_what_is_stuck_lies_below_every_score():
    axes = new_figure(2).subplots()
    scale = share_scale(axes, (0.8, 0.9), gutter=True)
    assert axes.get_ylim()[0] < scale.gutter < 0.8


def test_stuck_trials_have_their_place_whatever_the_perfect_score_is():
    axes = new_figure(2).subplots()
    scale = share_scale(axes, (-30_000.0, -20_000.0), metric=dataclasses.replace(R2, perfect=0.0), gutter=True)
    assert axes.get_ylim()[0] < scale.gutter < -30_000
    assert (scale.is_log, axes.get_yticklabels()[0].get_text()) == (False, "stuck")


def test_levels_without_an_interval_have_no_band(comparison):
    bare = {"low": None, "high": None, "p": None, "df": None}
    drawn = [
        dataclasses.replace(curve, scores=tuple(dataclasses.replace(one, **bare) for one in curve.scores))
        for curve in comparison.questions[0].curves
    ]
    question = dataclasses.replace(comparison.questions[0], curves=tuple(drawn))
    above = differences.draw_effort(question, comparison, comparison.search).axes[0]
    assert not any(np.isfinite(path.vertices).any() for of in above.collections for path in of.get_paths())


@pytest.mark.parametrize("n_levels", [1, 40])
def test_any_number_of_levels_can_be_drawn(n_levels):
    made = MadeUpStudy(depths=tuple(range(n_levels)), optimizers=("sgd",), common_settings=3, epochs=2).run(n_exploit=1)
    finalists = made.finalists()
    data = made.confirm(finalists, seeds=2).data(finalists)
    for one in all_drawings(data, compared(data)):
        assert picture(one.draw)


def test_a_study_without_trials_has_no_figures():
    empty = MadeUpStudy().data(records=())
    assert all_drawings(empty, compared(empty)) == []


def test_a_factor_that_no_trial_has_is_left_out():
    made = MadeUpStudy(common_settings=1, epochs=2).run().data()
    design = StudyDesign(name="x", factors=(Factor.of("momentum", ("0.1", "0.9")),), dummy_score=0.1)
    names = [one.name for one in all_drawings(dataclasses.replace(made, design=design), compared(made))]
    assert "trials-by-momentum" not in names


def test_a_regression_is_drawn_in_its_own_way():
    study = golden_table("r2")
    drawings = {one.name: one for one in all_drawings(study, compared(study))}
    assert "confusion" not in drawings
    assert picture(drawings["regression"].draw)
    finalist = compared(study).recommendation.recommended.finalist.id
    runs = {r.run_id: r.evaluation("test").score for r in study.confirm_runs(finalist)}
    _, _, middle, next_best, _ = sorted(runs, key=runs.get)
    points = drawings["regression"].draw().axes[0].lines[1]
    assert np.array_equal(points.get_ydata(), study.predictions[middle].predicted)
    diverged = tuple(dataclasses.replace(r, state="diverged") if r.run_id == middle else r for r in study.records)
    (drawing,) = predictions.fit(dataclasses.replace(study, records=diverged), compared(study))
    points = drawing.draw().axes[0].lines[1]
    assert np.array_equal(points.get_ydata(), study.predictions[next_best].predicted)


def test_only_some_points_of_many_are_drawn():
    shown = predictions.evenly(100_000)
    assert len(shown) == 1500
    assert (shown[0], shown[-1]) == (0, 99_999)


def test_references_are_lines_among_the_trials():
    study = golden_table("auc")
    axes = next(trials.trials_by_level(study, compared(study))).draw().axes[0]
    (legend,) = axes.figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["logistic regression", "random forest", "HistGradientBoosting"]
    low, high = axes.get_xlim()
    assert all(low < one.valid < high for one in study.facts.references)


def test_r2_below_zero_keeps_its_place_on_an_axis():
    axes = new_figure(2).subplots()
    scale = share_scale(axes, (-30.0, 0.2, 0.9), metric=R2)
    assert scale.is_log
    assert axes.get_ylim()[0] < -30
    assert next(label.get_text() for label in axes.get_yticklabels()).startswith("-")


@pytest.mark.filterwarnings("error")
def test_names_in_figures_are_no_formulas():
    names = ["$x^{", "$a$ $b$", "🚀\u202e\n", "x" * 300]
    for draw in (
        lambda: predictions.draw_confusion(np.eye(4) + 1, names),
        lambda: predictions.draw_fit(np.arange(9.0), np.arange(9.0), "$x^{ $"),
    ):
        assert picture(draw).startswith(b"<?xml")

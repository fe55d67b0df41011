from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest
from golden_study import golden_study
from golden_tables import golden_table
from made_up import MadeUpStudy, whole_study

from reports.compare import compare_study
from reports.context import context_of
from reports.design import Factor, Finalist, StudyDesign
from reports.render import answer, plain, render
from reports.study import Reference, StudyData
from reports.words import WIDTH
from reports.write import make_report

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_STUDIES = {
    "report": golden_study,
    "regression": lambda: golden_table("r2"),
    "auc": lambda: golden_table("auc"),
    "folds": lambda: golden_table("accuracy", folds=True),
}
SECTIONS = (
    "Answer",
    "Recommended model",
    "Design",
    "Results by level",
    "Figures",
    "Against what is known",
    "Can you trust this?",
    "Appendix: descriptive, no basis for a comparison",
    "Reproduce",
)
VERDICTS = ("helps", "hurts", "practically equal", "inconclusive", "not enough evidence", "never trained")


compared = compare_study


def rendered(study: StudyData) -> str:
    comparison = compared(study)
    return render(comparison, context_of(study, comparison))


def answers(study: StudyData) -> str:
    return " ".join(answer(compared(study)))


def headings(markdown: str) -> list[str]:
    return re.findall(r"^## \d+\. (.+)$", markdown, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def whole() -> StudyData:
    return whole_study(epochs=4)


@pytest.mark.parametrize("name", GOLDEN_STUDIES)
def test_report_is_the_golden_one(name):
    markdown, golden = make_report(GOLDEN_STUDIES[name]()).markdown, GOLDEN / f"{name}.md"
    if os.environ.get("WRITE_GOLDEN"):  # then read it, as a reader would
        golden.write_text(markdown, encoding="utf-8")
    assert markdown == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize(("metric", "folds"), [("r2", False), ("r2", True), ("auc", True)])
def test_no_word_of_accuracy_or_of_a_test_part_where_there_is_none(metric, folds):
    markdown = make_report(golden_table(metric, folds=folds, references=False)).markdown.replace("\n", " ")
    if metric == "r2":
        assert "accuracy" not in markdown
        assert " points" not in markdown
        assert " %" not in markdown.replace("95 %", "").split("parameters.")[0].split("## 3.")[0]
    if folds:
        assert "seed by seed" not in markdown
        assert "test examples" not in markdown
        assert "| test " not in markdown


def test_a_reference_that_does_better_is_said_to():
    def said(**scores):
        study = golden_table("r2")
        references = (Reference(name="a tree", **scores),)
        facts = dataclasses.replace(study.facts, references=references)
        return rendered(dataclasses.replace(study, facts=facts)).split("## 3.")[0].replace("\n", " ")

    assert "**A tree of scikit-learn, untuned, does better on the same split**: 0.990 against" in said(test=0.99)
    assert "A tree of scikit-learn, untuned, comes within 0.01 of R²" in said(test=0.735)
    assert "The best of scikit-learn's untuned models on the same split is a tree" in said(test=0.1)
    assert "tree" not in said(valid=0.9)


def test_data_with_nothing_to_learn_are_not_called_a_failure_of_optimization():
    study = golden_table("r2")
    flat = dataclasses.replace(study.records[0].history, train_score=(0.0, 0.001))
    records = tuple(dataclasses.replace(r, history=flat) for r in study.records)
    text = rendered(dataclasses.replace(study, records=records)).replace("\n", " ")
    assert "it is open whether these data have anything to learn" in text
    assert "failure of optimization" not in text


def test_a_network_that_guesses_is_called_so():
    def said(chance):
        study = golden_table("auc", folds=True)
        return rendered(dataclasses.replace(study, design=dataclasses.replace(study.design, chance=chance)))

    assert "No better than guessing" not in said(0.5)
    text = said(0.99).split("## 2.")[0].replace("\n", " ")
    assert "**No better than guessing.** The best network found has " in text
    assert "and the AUC of giving every example the same probability is 99.0" in text


def test_sections_come_in_the_order_of_the_protocol(whole):
    assert tuple(headings(rendered(whole))) == SECTIONS


def test_answer_gives_effect_interval_seeds_budget_and_cost(whole):
    text = answers(whole)
    assert re.search(r"Depth \d \*\*helps\*\*: \+\d\.\d+ points of test accuracy over depth 1 \(95 % interval ", text)
    assert "5 seeds, 10,000 test examples" in text
    assert "each the best of 10 trials" in text
    assert re.search(r"parameters \([\d,]+ against [\d,]+\)", text)
    assert re.search(r"[\d.]+ s of training against [\d.]+ s", text)


def test_verdicts_of_the_report_are_those_of_the_comparison(whole):
    markdown, comparison = rendered(whole), compared(whole)
    for question in comparison.questions:
        for contrast in question.contrasts:
            assert contrast.verdict.word in VERDICTS
            assert re.search(rf"^\| {contrast.level} +\|.*\*\*{contrast.verdict.word}\*\* +\|$", markdown, re.MULTILINE)


def test_a_level_that_never_trained_is_told_apart_and_the_gradient_named():
    text = rendered(golden_study())
    assert "depth 5 never left chance on the training part: a failure of optimization" in text.replace("\n", " ") or (
        "never trained: depth 5" in text.replace("\n", " ")
    )
    assert "0.1 % for depth 5" in text.replace("\n", " ")


def test_the_word_significant_never_occurs(whole):
    for study in (whole, golden_study()):
        assert "significan" not in rendered(study).lower()
        assert "no difference" not in rendered(study).lower()


def test_every_plus_minus_says_of_how_many(whole):
    markdown = rendered(whole)
    assert "mean ± standard deviation over fresh seeds (5 planned)" in markdown.replace("\n", " ")


def test_all_figures_are_numbered_and_have_captions(whole):
    report = make_report(whole)
    pictures = re.findall(r"^!\[(.+)\]\((figures/[\w-]+\.svg)\)$", report.markdown, flags=re.MULTILINE)
    captions = re.findall(r"^\*Figure (\d+)\.\* ", report.markdown, flags=re.MULTILINE)
    assert [path for _, path in pictures] == list(report.figures)
    assert captions == [str(at + 1) for at in range(len(pictures))]


def test_prose_is_wrapped_and_tables_are_aligned(whole):
    markdown = rendered(whole)
    prose = [line for line in markdown.splitlines() if not line.startswith(("|", "!", "#", "mlflow", "- "))]
    assert max(map(len, prose)) <= WIDTH
    for block in markdown.split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            assert len({len(line) for line in lines}) == 1


def test_no_html_is_needed(whole):
    assert not re.search(r"</?[a-z]+[ >]", rendered(whole))


def test_study_without_confirm_runs_says_what_is_missing():
    study = MadeUpStudy(twins=2, epochs=2).run()
    text = rendered(study.data()).replace("\n  ", " ")
    assert "phase confirm has no runs: without fresh seeds there is no verdict" in text
    assert "**not enough evidence**" in text
    assert "no model is recommended" in text
    assert tuple(headings(text)) == SECTIONS


def test_half_finished_study_says_what_is_missing():
    study = MadeUpStudy(twins=2, epochs=2).run()
    finalists = study.finalists()
    study.confirm(finalists[:3], seeds=2)
    data = study.data(finalists)
    planned = {**data.facts.planned, "confirm": 5 * len(finalists)}
    facts = dataclasses.replace(data.facts, state="interrupted", planned=planned)
    text = rendered(dataclasses.replace(data, facts=facts)).replace("\n  ", " ")
    assert f"not yet run: {5 * len(finalists) - 6} of confirm trials" in text
    assert "its last session was interrupted; the same command goes on with it" in text
    assert "2 of 5 fresh seeds" in text


def test_level_whose_trials_all_failed_is_named():
    study = MadeUpStudy(depths=(1, 2), twins=2, epochs=2).run()
    study.records = [
        dataclasses.replace(r, state="failed", evaluations=(), failure="ValueError: no")
        if r.config.model.depth == 2
        else r
        for r in study.records
    ]
    finalists = study.finalists()
    text = rendered(study.confirm(finalists).data(finalists)).replace("\n", " ")
    assert "depth 2: all 4 trials failed" in text
    assert "ValueError: no" in text


def test_one_level_has_nothing_to_be_held_against():
    study = MadeUpStudy(depths=(2,), twins=3, epochs=2).run()
    finalists = study.finalists()
    text = rendered(study.confirm(finalists).data(finalists))
    assert "Only one level, 2: there is nothing to hold it against." in text


def test_a_hundred_levels_are_counted_in_the_answer_and_listed_in_the_tables():
    study = MadeUpStudy(twins=1, epochs=2).run()
    levels = tuple(map(str, range(16, 116)))
    design = StudyDesign(name="many", factors=(Factor.of("units", levels),), chance=0.1)
    text = rendered(study.data(design=design))
    assert "The other 98 levels: 98 not enough evidence" in text.replace("\n", " ")
    assert len(re.findall(r"^\| 115 ", text, flags=re.MULTILINE)) == 3


@pytest.mark.parametrize("factor", ["activation", "batch_size", "learning_rate"])
def test_any_dimension_can_be_compared(factor):
    study = MadeUpStudy(twins=4, epochs=2).run()
    seen = {str(r.config.to_params().get(factor)) for r in study.records} - {"None"}
    design = StudyDesign(name="other", factors=(Factor.of(factor, tuple(sorted(seen))),), chance=0.1)
    assert f"### {factor.replace('_', ' ').capitalize()}" in rendered(study.data(design=design))


def test_chosen_configurations_are_compared_without_a_search():
    study = MadeUpStudy(epochs=2)
    chosen = [
        Finalist(
            id=f"abcd-{depth}",
            config=study.config(depth, "adam", activation="relu", share=0.5),
            selected_score=0.88,
            selected_number=depth,
            stands_for=(("configuration", f"abcd-{depth}"),),
            origin="chosen",
        )
        for depth in (1, 3)
    ]
    design = StudyDesign(name="duel", factors=(Factor.of("configuration", ("abcd-1", "abcd-3")),), chance=0.1)
    text = rendered(study.confirm(chosen).data(chosen, design=design))
    assert "Configuration abcd-3" in text
    assert "best of" not in text.split("## 2.")[0]
    assert "The configurations:" in text


def test_nothing_at_all_still_makes_a_report():
    study = MadeUpStudy().data(records=())
    assert tuple(headings(rendered(study))) == SECTIONS
    nothing = study.facts.data.__class__(name="?", sha256="")
    empty = dataclasses.replace(
        study,
        design=StudyDesign(name="x", factors=(), chance=0.0),
        facts=dataclasses.replace(study.facts, data=nothing),
    )
    text = rendered(empty)
    assert tuple(headings(text)) == SECTIONS
    assert "Nothing was compared in this study" in text


def test_study_without_a_test_part_is_judged_on_validation_and_says_so(whole):
    records = tuple(
        dataclasses.replace(r, evaluations=tuple(e for e in r.evaluations if e.part != "test")) for r in whole.records
    )
    text = rendered(dataclasses.replace(whole, records=records, predictions={}))
    assert "of validation accuracy" in text.replace("\n", " ")
    assert "no test part was opened" in text.replace("\n", " ")


def test_accuracy_beyond_belief_calls_for_a_look_for_a_leak(whole):
    records = tuple(
        dataclasses.replace(
            r, evaluations=tuple(dataclasses.replace(e, score=min(e.score + 0.06, 1.0)) for e in r.evaluations)
        )
        for r in whole.records
    )
    assert "look for a leak" in rendered(dataclasses.replace(whole, records=records, predictions={})).replace("\n", " ")
    assert "look for a leak" not in rendered(whole).replace("\n", " ")


def test_terminal_gets_the_answer_without_marks(whole):
    text = plain(" ".join(answer(compared(whole))))
    assert "*" not in text
    assert "helps: +" in text


def test_diverged_confirm_runs_are_not_dropped(whole):
    first = next(r for r in whole.records if r.phase == "confirm")
    bad = dataclasses.replace(first, state="diverged")
    records = tuple(bad if r is first else r for r in whole.records)
    text = rendered(dataclasses.replace(whole, records=records))
    assert "1 fresh runs diverged" in text

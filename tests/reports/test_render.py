from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from pathlib import Path

import pytest
from golden_study import golden_study
from golden_tables import golden_table
from made_up import MadeUpStudy, whole_study
from study_records import finalist_of

from depthcheck.experiments.planning.definition import find, read
from depthcheck.experiments.planning.design import SearchRound, plan
from depthcheck.pipeline.scores import AUC, R2
from depthcheck.reports.compare.comparison import compare_study
from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.compare.study_data import Factor, ReferenceScores, StudyData, StudyDesign
from depthcheck.reports.text.answer import answer, as_table, plain, sentence, verdicts
from depthcheck.reports.text.report import TEXTS, check_template, render, sections
from depthcheck.reports.text.words import WIDTH
from depthcheck.reports.write import make_report, numbers

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
    "Results by level",
    "Design",
    "Can you trust this?",
    "Reproduce",
    "Figures",
    "Against what is known",
    "Checks that pass",
    "The search",
    "What it ran on",
)
VERDICTS = ("helps", "hurts", "practically equal", "inconclusive", "not enough evidence", "never trained")


compared = compare_study


def rendered(study: StudyData) -> str:
    """Return the report and its appendix."""
    comparison = compared(study)
    texts = sections(comparison, study)
    return f"{render(texts, ())}\n{render(texts, (), of='appendix')}"


def answers(study: StudyData) -> str:
    return " ".join(answer(compared(study)))


def headings(markdown: str) -> list[str]:
    return re.findall(r"^## (?:\d|[A-E])\. (.+)$", markdown, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def whole() -> StudyData:
    return whole_study(epochs=4)


@pytest.mark.parametrize("name", GOLDEN_STUDIES)
def test_report_is_the_golden_one(name):
    report, golden = make_report(GOLDEN_STUDIES[name]()), GOLDEN / f"{name}.md"
    markdown = f"{report.markdown}\n{report.appendix}"
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
        references = (ReferenceScores(name="a tree", **scores),)
        facts = dataclasses.replace(study.facts, references=references)
        return rendered(dataclasses.replace(study, facts=facts)).split("## 3.")[0].replace("\n", " ")

    assert "**A tree of scikit-learn, untuned, does better on the same split**: 0.990 against" in said(test=0.99)
    assert "A tree of scikit-learn, untuned, comes within 0.01 of R²" in said(test=0.735)
    assert "The best of scikit-learn's untuned models on the same split is a tree" in said(test=0.1)
    assert "tree" not in said(valid=0.9)


def test_trials_that_were_not_compiled_are_told_in_the_design_and_among_the_checks():
    study = golden_table("r2")
    first, *others = study.records
    by_steps = dataclasses.replace(first, engine="step by step (XLA cannot compile PyFunc)")
    text = rendered(dataclasses.replace(study, records=(by_steps, *others))).replace("\n", " ")
    said = f"1 of {len(study.records)} trials was trained step by step (XLA cannot compile PyFunc)"
    assert f"- **engine**: {said}" in " ".join(text.split())
    assert f"{said}, the others by compiled epochs" in " ".join(text.split())


def test_data_with_nothing_to_learn_are_not_called_a_failure_of_optimization():
    study = golden_table("r2")
    flat = dataclasses.replace(study.records[0].history, train_score=(0.0, 0.001))
    records = tuple(
        dataclasses.replace(
            r, history=flat, evaluations=tuple(dataclasses.replace(of, score=0.001) for of in r.evaluations)
        )
        for r in study.records
    )
    text = rendered(dataclasses.replace(study, records=records)).replace("\n", " ")
    assert "it is open whether these data have anything to learn" in text
    assert "failure of optimization" not in text


def test_a_network_that_guesses_is_called_so():
    def said(dummy_score, metric="auc", class_weight=None, *, stuck=False, but=""):
        study = golden_table(metric, folds=True)
        records = tuple(record for record in study.records if record.phase != but)
        fits = [dataclasses.replace(one.config.fit, class_weight=class_weight) for one in study.finalists]
        finalists = tuple(
            dataclasses.replace(one, config=dataclasses.replace(one.config, fit=fit))
            for one, fit in zip(study.finalists, fits, strict=True)
        )
        design = dataclasses.replace(study.design, dummy_score=dummy_score, dummy_train=None if stuck else 0.0)
        return rendered(dataclasses.replace(study, design=design, finalists=finalists, records=records))

    assert "No better than guessing" not in said(0.5)
    # Where classes weigh the same, sound networks are less accurate than the commonest class.
    assert "No better than guessing" not in said(0.99, "accuracy", "balanced")
    assert "No better than guessing" in said(0.99, "accuracy", "balanced", stuck=True)
    assert "No better than guessing" not in said(0.99, "accuracy", "balanced", but="compare")
    assert "No better than guessing" in said(0.99, "auc", "balanced")
    text = said(0.99).split("## 2.")[0].replace("\n", " ")
    assert "**No better than guessing.** The best network found has " in text
    assert "and the AUC of giving every example the same probability is 99.0" in text


def test_what_guessing_scores_by_an_own_metric_has_the_digits_that_matter():
    study = golden_table("r2")
    own = dataclasses.replace(R2, key="cost-0123", name="cost", perfect=0.0, equivalence=0.0005, finest=0.0005)
    design = dataclasses.replace(study.design, metric=own, dummy_score=-0.0475)
    assert "- **score of the dummy baseline**: −0.0475 (" in rendered(dataclasses.replace(study, design=design))


def test_what_guessing_scores_is_one_number_throughout_a_report():
    study = golden_study()
    text = rendered(dataclasses.replace(study, design=dataclasses.replace(study.design, dummy_score=0.083)))
    assert "- **score of the dummy baseline**: 8.3 % (" in text
    assert re.search(r"\| always the commonest class +\| +– \| +8\.3 \|", text)


def test_a_template_of_the_users_own_says_what_goes_where(whole):
    template = (
        "# Mine: {{ title }}\n\n{{ answer }}\n{% for one in figures if 'cost' in one.path %}{{ one.path }}{% endfor %}"
    )
    study = dataclasses.replace(whole, facts=dataclasses.replace(whole.facts, question="<b>Does</b> it?"))
    markdown = make_report(study, template=template).markdown
    assert markdown.startswith("# Mine: \\<b\\>Does\\</b\\> it?\n\nDepth. Depth ".replace("Depth. D", "**Depth.** D"))
    assert markdown.endswith("figures/cost.svg")
    assert headings(markdown) == []


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{ anwser }} {{ title }}", "use title, byline, answer, "),
        ("a\n{% for %}", "be one of Jinja's, got in line 2: "),
        ("{{ answer | proze }}", "be one of Jinja's, got in line 1: No filter named 'proze'"),
        ("{{ ''.__class__.__mro__ }}", "render, got SecurityError"),
        ("{% include 'other' %}", "render, got TypeError: no loader"),
        ("{{ 1 / 0 }}", "render, got ZeroDivisionError"),
    ],
)
def test_a_template_that_cannot_be_used_is_one_line(template, complaint):
    def use():
        check_template(template)
        render({"answer": "yes"}, (), template)

    with pytest.raises(ValueError, match=rf"^template must {complaint}") as raised:
        use()
    assert "\n" not in str(raised.value)


def test_a_template_may_use_every_text(whole):
    assert tuple(sections(compared(whole), whole)) == TEXTS
    check_template("{{ " + " ~ ".join(TEXTS) + " }}{% for one in figures %}{{ one.path }}{% endfor %}")


def test_sections_come_in_the_order_of_the_protocol(whole):
    assert tuple(headings(rendered(whole))) == SECTIONS


def test_answer_gives_effect_interval_settings_and_what_was_found(whole):
    text = answers(whole)
    assert re.search(r"Depth \d \*\*helps\*\*: \+\d\.\d+ points of test accuracy over depth 1 \(95 % interval ", text)
    assert "each tuned with 3 of 8 settings, 10,000 test examples" in text
    found = r"Best single network at depth \d: .+ \([\d,]+ parameters\); at depth 1: .+ \([\d,]+ parameters\)\."
    assert re.search(found, text)


def test_the_recommended_model_comes_second_and_says_nothing_of_levels(whole):
    *levels, model = answer(compared(whole))
    assert len(levels) == 2
    assert re.match(r"\*\*Recommended model\.\*\* trial-\d+, .+ % of test accuracy over 5 fresh seeds", model)
    assert model.endswith("two configurations, which says nothing of levels.")


def test_the_answer_says_what_a_level_is(whole):
    text = rendered(whole).replace("\n", " ")
    assert "A level is what tuning it gives: 3 settings are tried" in text
    assert "the mean over all such subsets of the 8 settings" in text


def told(study: StudyData, level: str = "2") -> str:
    comparison = compared(study)
    question = comparison.questions[0]
    return sentence(next(c for c in question.contrasts if c.level == level), question, comparison)


@pytest.mark.parametrize(
    ("n_settings", "there", "more", "budget"),
    [
        (1, "There is 1 setting", "5 more settings (63 trials,", 75),
        (4, "there are 4 settings", "2 more settings (25 trials,", 75),
        (5, "there are 5 settings", "1 more setting (12 trials,", 75),
    ],
)
def test_not_enough_evidence_counts_settings_and_names_the_command(n_settings, there, more, budget):
    study = MadeUpStudy(common_settings=n_settings, epochs=2).run(
        n_exploit={1: 1, 4: 9, 5: 12}[n_settings], diverged=0, failed=0
    )
    text = told(study.data())
    assert "**not enough evidence**" in text
    assert f"{there}, and at least 6 are asked for" in text
    assert more in text
    assert re.search(rf"of training on 2 cores\) would give a verdict: `--trials {budget}` goes on from here\.", text)
    assert "about" not in text


def test_settings_that_are_planned_already_need_no_other_command():
    study = MadeUpStudy(common_settings=4, epochs=2).run(n_exploit=0, diverged=0, failed=0).data()
    design = dataclasses.replace(study.design, budgets={"baseline": 1, "compare": 80, "exploit": 19})
    text = told(dataclasses.replace(study, design=design))
    assert "2 more settings would give a verdict, and are planned already: the same command goes on." in text


def test_a_study_before_its_first_setting_says_how_many_it_needs():
    study = MadeUpStudy(common_settings=8, epochs=2).data(records=())
    text = told(study)
    assert "**not enough evidence**. There are no settings, and at least 6 are asked for" in text
    assert "are planned already" in text
    assert "A level is what tuning it gives" not in rendered(study)


def test_unscored_networks_are_told_with_what_goes_on():
    study = whole_study(epochs=2, depths=(1, 2), optimizers=("sgd",))
    lost = [r.run_id for r in study.records if r.phase == "compare" and r.state == "finished"][:2]
    predictions = {run_id: of for run_id, of in study.predictions.items() if run_id not in lost}
    records = tuple(
        dataclasses.replace(r, evaluations=r.evaluations[:1]) if r.run_id in lost else r for r in study.records
    )
    broken = dataclasses.replace(study, predictions=predictions, records=records)
    assert "2 networks of the search have not been scored on the test part yet." in told(broken)
    assert "2 searched networks not yet scored on the test part; the same command goes on" in rendered(broken)


@pytest.mark.parametrize(("folds", "of"), [(False, "examples of the test part"), (True, "rows held out")])
def test_networks_without_scores_of_single_examples_wait_for_nothing(folds, of):
    text = rendered(dataclasses.replace(golden_table("r2", folds=folds), predictions={}))
    assert f"- 24 searched networks without scores of single {of}\n" in text
    assert "not yet scored" not in text


def test_a_reference_that_does_best_is_said_to_where_levels_can_be_told_apart(whole):
    assert "Depth 1, the reference, does best by validation when tuned." in answers(golden_table("r2"))
    assert "has the best mean validation score" not in answers(untuned())
    turned = untuned()
    factor = dataclasses.replace(turned.design.factors[0], reference="2")
    turned = dataclasses.replace(turned, design=dataclasses.replace(turned.design, factors=(factor,)))
    assert "Depth 2, the reference, has the best mean validation score over fresh seeds." in answers(turned)
    alone = tuple(r for r in turned.records if r.phase != "confirm" or r.config.model.depth == 2)
    assert "the reference, has" not in answers(dataclasses.replace(turned, records=alone))
    diverged = tuple(dataclasses.replace(r, state="diverged") for r in whole.records if r.phase != "confirm")
    for records in ((), diverged):
        assert "the reference, does" not in answers(dataclasses.replace(whole, records=records, finalists=()))


def with_verdict(study: StudyData, **changes: object) -> Comparison:
    """Return the comparison with another verdict on its first contrast."""
    comparison = compared(study)
    question = comparison.questions[0]
    verdict = dataclasses.replace(question.contrasts[0].verdict, **changes)
    contrasts = (dataclasses.replace(question.contrasts[0], verdict=verdict), *question.contrasts[1:])
    return dataclasses.replace(comparison, questions=(dataclasses.replace(question, contrasts=contrasts),))


def test_an_open_verdict_counts_settings_trials_minutes_and_names_the_command():
    comparison = with_verdict(golden_study(), word="inconclusive", because="it is open", more=20)
    question = comparison.questions[0]
    # 28 settings of 4 trials are 92 % of 122; 35 are there. A setting trains for 8 s.
    assert (
        "The reason: it is open; about 20 more settings (87 trials, 1 minute of training on 2 cores) would tell a "
        "difference of 0.3 points from none four times in five: `-P trials=122` goes on from here."
    ) in sentence(question.contrasts[0], question, comparison)


def test_an_open_verdict_that_no_setting_settles_says_what_would():
    text = told(golden_table("r2"))
    assert "**inconclusive**" in text
    assert "more settings cannot settle it, more test examples can." in text
    assert "-P trials" not in text
    assert "more settings cannot settle it, more rows can." in told(golden_table("accuracy", folds=True))


@pytest.mark.parametrize("more", [1, 2, 7, 30])
@pytest.mark.parametrize("share", [1.0, 0.8, 0.3])
def test_the_command_gives_the_settings_that_it_promises(more, share):
    experiment = read(find("digits"))
    experiment = dataclasses.replace(
        experiment,
        compare={"depth": (0, 1, 2), "optimizer": ("sgd", "adam")},
        budget=dataclasses.replace(experiment.budget, compare=share),
    )
    budgets = Counter(trial.phase for trial in plan(experiment, [SearchRound(trials=40)]))
    n_settings = budgets["compare"] // 6
    design = StudyDesign(name="x", factors=(), dummy_score=0.1, budgets=budgets, compare_share=share)
    budget = design.trials_for(n_settings + more, 6)
    longer = plan(experiment, [SearchRound(trials=40), SearchRound(trials=budget)])
    assert Counter(trial.phase for trial in longer)["compare"] // 6 >= n_settings + more


def test_verdicts_of_the_report_are_those_of_the_comparison(whole):
    markdown, comparison = rendered(whole), compared(whole)
    for question in comparison.questions:
        for contrast in question.contrasts:
            assert contrast.verdict.word in VERDICTS
            assert re.search(rf"^\| {contrast.level} +\|.*\*\*{contrast.verdict.word}\*\* +\|$", markdown, re.MULTILINE)


def test_a_finalist_with_too_few_fresh_seeds_is_named_and_takes_no_part():
    made = MadeUpStudy(epochs=2).run()
    best, other = made.finalists()
    text = rendered(made.confirm([best]).data([best])).replace("\n", " ")
    assert "Nothing stands beside it: one configuration was trained on fresh seeds." in text
    text = rendered(made.confirm([other], seeds=2).data([best, other])).replace("\n", " ")
    assert f"**Recommended: {best.id}**, the finalist with the best mean validation score over fresh seeds, of" in text
    assert "over fresh seeds, of those with at least 5." in text
    assert f"Nothing stands beside it yet: {other.id} has 2 fresh seeds, and 5 are asked for." in text


def test_a_level_that_never_trained_is_told_apart():
    text = rendered(golden_study()).replace("\n", " ")
    assert "never trained: depth 5" in text
    assert "depth 5 never trained: this is not the same as does not help" in text


def test_level_that_trains_where_the_reference_never_did_is_told_alike_everywhere():
    study = golden_study()
    factor = dataclasses.replace(study.design.factors[0], reference="5")
    study = dataclasses.replace(study, design=dataclasses.replace(study.design, factors=(factor,)))
    comparison, text = compared(study), rendered(study).replace("\n", " ")
    assert "Depth 2 **trains**, depth 5 never did" in text
    assert "The other levels – trains: depth 0 and depth 1." in text
    assert text.count("**trains**") == 4  # in the answer, and a row a level
    assert {said.split(": ")[0] for said in verdicts(comparison).values()} == {"trains"}
    assert as_table(comparison).count("| trains | +") == 3
    assert {*numbers(comparison)["contrasts"]["verdict"]} == {"trains"}
    assert "never trained**" not in text


def with_cells(study: StudyData, *cells: str) -> StudyData:
    """Return the study as one of a parameter of the user's own model, with these levels in place of the optimizers."""
    names = dict(zip(("sgd", "adam"), cells, strict=True))
    records = tuple(
        dataclasses.replace(r, tags={**r.tags, "cell": names[r.config.optimizer.name]}) for r in study.records
    )
    design = dataclasses.replace(study.design, factors=(Factor.of("cell", cells),))
    return dataclasses.replace(study, records=records, design=design)


def test_texts_of_a_users_own_model_are_shown_as_they_are_written(whole):
    study = with_cells(whole, "GRU<b>", "*LSTM*|x")
    report = make_report(study)
    text = " ".join(report.markdown.split())
    assert r"Cell \*LSTM\*|x against cell GRU\<b\> is **inconclusive**" in text
    assert r"Best single network at cell \*LSTM\*|x: 3 × " in text
    assert text.count(r"| \*LSTM\*\|x | ") == 2
    assert r"- **compared**: cell: GRU\<b\>, \*LSTM\*|x (reference GRU\<b\>)" in text
    assert r"the difference to cell GRU\<b\> at the same settings" in text
    assert "<b>" not in f"{report.markdown}{report.appendix}"
    assert "Cell *LSTM*|x against cell GRU<b> is inconclusive" in plain(answers(study))
    assert r"| cell \*LSTM\*\|x against GRU\<b\> | inconclusive |" in as_table(compared(study))


def test_why_a_chosen_configuration_stands_still_is_told_by_its_gradient():
    made = MadeUpStudy(epochs=2)
    text = rendered(made.chosen(activation="sigmoid", optimizer="sgd", depths=(1, 5))).replace("\n", " ")
    assert "Configuration run-5 never beat the dummy baseline on the training part: a failure of optimization" in text
    assert re.search(r"Why they stand still: .+ is 0\.0\d+ % for configuration run-5 \(run-5\)", text)


def test_the_word_significant_never_occurs(whole):
    for study in (whole, golden_study()):
        assert "significan" not in rendered(study).lower()
        assert "no difference" not in rendered(study).lower()


def test_every_plus_minus_says_of_how_many(whole):
    markdown = rendered(whole).replace("\n", " ")
    assert "over 5 fresh seeds (mean ± standard deviation)" in markdown
    chosen = rendered(MadeUpStudy(epochs=2).chosen()).replace("\n", " ")
    assert "mean ± standard deviation over the row's fresh seeds." in chosen


def test_a_search_has_no_word_of_the_confirm_runs_of_levels(whole):
    markdown = rendered(whole)
    for word in ("optimism", "P(better)", "confirmed", "winner's curse", "stands for", "half of its trials"):
        assert word not in markdown


def test_all_figures_are_numbered_and_have_captions(whole):
    report = make_report(whole)
    markdown = f"{report.markdown}\n{report.appendix}"
    images = re.findall(r"^!\[(.+)\]\((figures/[\w-]+\.svg)\)$", markdown, flags=re.MULTILINE)
    captions = re.findall(r"^\*Figure (\d+)\.\* ", markdown, flags=re.MULTILINE)
    assert [path for _, path in images] == list(report.figures)
    assert captions == [str(at + 1) for at in range(len(images))]


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


def test_study_without_confirm_runs_has_its_answer_and_no_model():
    study = MadeUpStudy(epochs=2).run()
    text = rendered(study.data()).replace("\n  ", " ")
    assert "**helps**" in text
    assert "no model is recommended" in text
    assert "**Recommended model.**" not in text
    assert tuple(headings(text)) == SECTIONS


def test_half_finished_study_says_what_is_missing():
    study = MadeUpStudy(common_settings=2, epochs=2).run()
    finalists = study.finalists()
    study.confirm(finalists, seeds=2)
    data = study.data(finalists)
    design = dataclasses.replace(data.design, budgets={**data.design.budgets, "confirm": 10})
    facts = dataclasses.replace(data.facts, state="interrupted")
    text = rendered(dataclasses.replace(data, facts=facts, design=design)).replace("\n  ", " ")
    assert "not yet run: 6 of confirm trials" in text
    assert "its last session was interrupted; the same command goes on with it" in text
    assert f"{finalists[0].id} has 2 of 5" in text


def test_fresh_runs_of_finalists_that_were_replaced_are_not_those_that_are_planned():
    study = MadeUpStudy(common_settings=2, epochs=2).run()
    finalists = study.finalists()
    study.confirm(finalists)
    others = tuple(finalist_of(study.records[number]) for number in (1, 2))
    assert not {one.id for one in others} & {one.id for one in finalists}
    for now, n_seeds, n_left in ((others, 5, 10), ((finalists[0], others[0]), 3, 3)):
        data = study.data(now)
        budgets = {**data.design.budgets, "confirm": 2 * n_seeds}
        design = dataclasses.replace(data.design, budgets=budgets, n_seeds=n_seeds)
        text = rendered(dataclasses.replace(data, design=design)).replace("\n  ", " ")
        assert f"not yet run: {n_left} of confirm trials" in text


def test_chosen_configurations_that_are_not_trained_yet_are_told():
    study = MadeUpStudy(epochs=2).chosen()
    text = rendered(dataclasses.replace(study, records=(), finalists=()))
    assert "phase confirm has no runs: without fresh seeds there is no verdict" in text


def test_level_whose_trials_all_failed_is_named():
    study = MadeUpStudy(depths=(1, 2), common_settings=2, epochs=2).run()
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


def with_epochs(study: StudyData, epochs, **facts) -> StudyData:
    """Return the study with other numbers of epochs, by trial."""
    records = [
        dataclasses.replace(r, config=dataclasses.replace(r.config, fit=dataclasses.replace(r.config.fit, epochs=n)))
        for r in study.records
        if (n := epochs(r))
    ]
    return dataclasses.replace(study, records=tuple(records), facts=dataclasses.replace(study.facts, **facts))


def test_epochs_are_those_that_the_trials_have(whole):
    def said(of: StudyData) -> str:
        return " ".join(rendered(of).split())

    compared = with_epochs(whole, lambda r: 5 * (1 + r.config.model.depth))
    design = dataclasses.replace(whole.design, factors=(Factor.of("epochs", ("5", "10", "15", "20")),))
    text = said(dataclasses.replace(compared, design=design))
    assert "**epochs**: as many as the level says, 5 to 30, but 10 in the baseline; the last one counts" in text
    assert "the ranges searched." in text.split("## 2.")[0]
    tuned = with_epochs(whole, lambda r: 5 + r.number % 4, tuned=("epochs 5 to 8",))
    assert "**epochs**: as many as the setting says, 5 to 8, but 5 in the baseline; the last one counts" in said(tuned)
    fixed = said(with_epochs(whole, lambda r: 30 if r.number else 20, fixed=("epochs 30",)))
    assert "**epochs**: 30 in every trial, but 20 in the baseline; the last one counts" in fixed
    assert "the ranges searched and 30 epochs of training." in fixed
    stops = tuple(dataclasses.replace(r, config=with_options(r.config, early_stopping=5)) for r in whole.records)
    assert "with early stopping the one of the lowest validation loss counts" in said(
        dataclasses.replace(whole, records=stops)
    )


def test_one_level_has_nothing_to_be_held_against():
    study = MadeUpStudy(depths=(2,), epochs=2).run()
    finalists = study.finalists()
    text = rendered(study.confirm(finalists).data(finalists))
    assert "Only one level, 2: there is nothing to hold it against." in text


def test_a_hundred_levels_are_counted_in_the_answer_and_listed_in_the_tables():
    study = MadeUpStudy(common_settings=1, epochs=2).run()
    levels = tuple(map(str, range(16, 116)))
    design = StudyDesign(name="many", factors=(Factor.of("units", levels),), dummy_score=0.1)
    text = rendered(study.data(design=design))
    assert "The other 98 levels: 98 not enough evidence" in text.replace("\n", " ")
    assert len(re.findall(r"^\| 115 ", text, flags=re.MULTILINE)) == 2


@pytest.mark.parametrize("factor", ["activation", "batch_size", "learning_rate"])
def test_any_dimension_can_be_compared(factor):
    study = MadeUpStudy(common_settings=4, epochs=2).run()
    seen = {str(r.config.to_params().get(factor)) for r in study.records} - {"None"}
    design = StudyDesign(name="other", factors=(Factor.of(factor, tuple(sorted(seen))),), dummy_score=0.1)
    assert f"### {factor.replace('_', ' ').capitalize()}" in rendered(study.data(design=design))


def test_chosen_configurations_are_compared_without_a_search():
    text = rendered(MadeUpStudy(epochs=2).chosen())
    head, design = text.split("## 2.")[0].replace("\n", " "), text.split("## 3.")[1].replace("\n", " ")
    assert re.search(r"run-3 \(depth 3, .+\) is \*\*(better|worse)\*\* than run-1 \(depth 1, .+\): [+−]", head)
    assert "*Better* or *worse*" in head
    assert "5 seeds, 10,000 test examples" in head
    assert re.search(r"\| run-3 +\| 3 × .+", text)
    assert "This holds for fashion-mnist, these configurations and 2 epochs of training." in head
    for word in ("best of", "Best single network", "tuned", "setting", "Recommended model.", "found"):
        assert word not in head
    assert "The configurations:" in design
    assert "*Confirm* trains each configuration on fresh seeds; every number of the answer is from it." in design
    assert "*Compare*" not in design
    assert "P(better)" in design


def untuned(*, seeds=None) -> StudyData:
    """Return a study in which nothing is tuned: a trial a level, and each on fresh seeds."""
    made = MadeUpStudy(depths=(1, 2), optimizers=("adam",), common_settings=1, epochs=2)
    made.run(n_exploit=0, diverged=0, failed=0)
    compared = [r for r in made.records if r.phase == "compare"]
    finalists = [finalist_of(r, (("depth", str(r.config.model.depth)),)) for r in compared]
    study = made.confirm(finalists, seeds=seeds).data(finalists if seeds != 0 else ())
    design = dataclasses.replace(study.design, factors=study.design.factors[:1], is_tuned=False)
    return dataclasses.replace(study, design=design)


def test_levels_without_tuning_are_told_by_their_fresh_seeds():
    text = rendered(untuned())
    tables, design = text.split("## 3.")[1].split("## 4.")[0], text.split("## 4.")[1].replace("\n", " ")
    assert "Fresh seeds, by depth (phase confirm):" in tables
    assert re.search(r"^\| 2 +\| trial-2 +\| +5 \| +8\d\.\d+ ± \d", tables, re.MULTILINE)
    assert "tuned" not in tables
    assert "The search" not in tables
    assert "*Compare* trains every combination of levels, with nothing tuned" in design
    assert "rest on it alone" not in design
    assert "the tables' scores and differences, and section 2, are from it alone" in design


@pytest.mark.parametrize(
    ("changes", "of"),
    [({}, "the test part"), ({"has_test": False}, "the validation part"), ({"folds": 5}, "cross-validated accuracy")],
)
def test_before_any_seed_the_tables_name_the_part_that_will_judge(changes, of):
    study = untuned(seeds=0)
    text = rendered(dataclasses.replace(study, design=dataclasses.replace(study.design, **changes)))
    assert f"Differences are of {of}" in text.replace("\n", " ")


def test_levels_without_tuning_ask_for_seeds_and_not_for_trials():
    said = answers(untuned(seeds=0))
    assert "No confirmed run of depth 2 and 1; 5 more seeds would give a verdict" in said
    assert "too few trials" not in said


def test_nothing_at_all_still_makes_a_report():
    made = MadeUpStudy().run()
    assert "### The best single score\n" in rendered(made.data(records=made.records[:1]))
    study = MadeUpStudy().data(records=())
    assert tuple(headings(rendered(study))) == SECTIONS
    nothing = study.facts.data.__class__(name="?", sha256="")
    empty = dataclasses.replace(
        study,
        design=StudyDesign(name="x", factors=(), dummy_score=0.0),
        facts=dataclasses.replace(study.facts, data=nothing),
    )
    text = rendered(empty)
    assert tuple(headings(text)) == SECTIONS
    assert "Nothing was compared in this study" in text


def test_study_without_a_test_part_says_that_no_level_is_judged(whole):
    records = tuple(
        dataclasses.replace(r, evaluations=tuple(e for e in r.evaluations if e.part != "test")) for r in whole.records
    )
    without = dataclasses.replace(whole.design, has_test=False)
    text = rendered(dataclasses.replace(whole, design=without, records=records, predictions={})).replace("\n", " ")
    assert "There is no test part, by which levels are judged." in text
    assert "no test part was opened: the recommended model's score is of the validation part" in text
    assert "not yet scored" not in text


def with_options(config, **options):
    return dataclasses.replace(config, model=dataclasses.replace(config.model, options=tuple(options.items())))


@pytest.mark.parametrize(("augmentation", "is_told"), [("none", True), ("shift", False)])
def test_accuracy_beyond_belief_calls_for_a_look_for_a_leak_in_plain_networks(whole, augmentation, is_told):
    records = tuple(
        dataclasses.replace(
            r,
            evaluations=tuple(dataclasses.replace(e, score=min(e.score + 0.06, 1.0)) for e in r.evaluations),
        )
        for r in whole.records
    )
    finalists = tuple(
        dataclasses.replace(one, config=with_options(one.config, augmentation=augmentation)) for one in whole.finalists
    )
    study = dataclasses.replace(whole, records=records, finalists=finalists, predictions={})
    assert ("look for a leak" in rendered(study).replace("\n", " ")) == is_told
    assert "look for a leak" not in rendered(whole).replace("\n", " ")


def test_accuracies_that_others_published_stand_beside_accuracies_alone(whole):
    assert "gradient boosting" in rendered(whole)
    text = rendered(dataclasses.replace(whole, design=dataclasses.replace(whole.design, metric=AUC)))
    assert "gradient boosting" not in text


def test_terminal_gets_the_answer_without_marks(whole):
    text = plain(" ".join(answer(compared(whole))))
    assert "*" not in text
    assert "helps: +" in text


def test_a_diverged_fresh_run_counts_and_says_nothing_of_what_the_model_errs_by():
    study = golden_table("r2")
    lost = {study.confirm_runs(one.id)[0].run_id for one in study.finalists}
    far = {"rmse": 1e30, "mae": 1e30}
    records = tuple(
        dataclasses.replace(
            r, state="diverged", evaluations=tuple(dataclasses.replace(e, secondary=far) for e in r.evaluations)
        )
        if r.run_id in lost
        else r
        for r in study.records
    )
    said = {
        run_id: dataclasses.replace(of, predicted=of.predicted + 1e30) if run_id in lost else of
        for run_id, of in study.predictions.items()
    }
    text = rendered(dataclasses.replace(study, records=records, predictions=said))
    assert "1 fresh run diverged" in text
    assert "the recommended model, on the test part; mean over 4 runs." in " ".join(text.split())
    assert "e+" not in text
    assert "000,000" not in text

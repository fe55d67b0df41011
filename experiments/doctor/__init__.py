"""Whether Optuna's study, MLflow's runs and the artifacts of a study agree, and how they are made to.

``sides`` reads what Optuna holds and what MLflow holds; ``trial_checks`` and ``study_checks`` compare the two and know
no store; ``repair`` writes. ``examine`` is the whole of it.
"""
